/* Traces: see trace.h. Each line is written when its pages are read, so that a killed process loses
 * nothing. */
#include "disk/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define LINE_MAX_BYTES 512

struct trace {
	char *path;
	int fd;
	bool begun; /* the file has a head from before */
	uint64_t start_ms, pages;
	pthread_mutex_t lock; /* for what follows */
	uint8_t *seen;        /* a bit a page */
	bool failed;
};

/* The line that a writer was at when it was killed: the next one shall stand by itself. */
static int drop_cut_line(int fd, struct stat *st)
{
	char tail[LINE_MAX_BYTES];
	size_t len = (size_t)st->st_size < sizeof(tail) ? (size_t)st->st_size : sizeof(tail);
	const char *end;
	int r = file_pread(fd, tail, len, (uint64_t)st->st_size - len);

	if (r < 0)
		return r;
	end = memrchr(tail, '\n', len);
	st->st_size -= tail + len - (end ? end + 1 : tail);
	return ftruncate(fd, st->st_size) < 0 ? -errno : 0;
}

int trace_open(struct trace **out, const char *path, bool go_on, struct err *e)
{
	struct trace *t = calloc(1, sizeof(*t));
	struct stat st;

	if (!t || !(t->path = strdup(path))) {
		free(t);
		return err_set(e, -ENOMEM, "no memory for a trace");
	}
	pthread_mutex_init(&t->lock, NULL);
	t->start_ms = clock_ms();
	t->fd = open(
		path, (go_on ? O_RDWR : O_WRONLY | O_TRUNC) | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (t->fd < 0 || fstat(t->fd, &st) < 0 || (st.st_size && drop_cut_line(t->fd, &st) < 0)) {
		err_errno(e, "cannot write the trace %s", path);
		trace_close(t);
		return e ? e->code : -EIO;
	}
	t->begun = st.st_size;
	*out = t;
	return 0;
}

static void print(struct trace *t, const char *line, size_t len)
{
	if (!t->failed && file_write(t->fd, line, len) < 0) {
		t->failed = true;
		log_warning("the trace %s cannot be written: %s", t->path, strerror(errno));
	}
}

int trace_begin(struct trace *t, const struct manifest *m, struct err *e)
{
	char root[HASH_HEX_MAX], line[LINE_MAX_BYTES];
	int len;

	t->pages = (m->image.size + TRACE_PAGE - 1) / TRACE_PAGE;
	t->seen = calloc(t->pages / 8 + 1, 1);
	if (!t->seen)
		return err_set(
			e, -ENOMEM, "no memory to trace a disk of %" PRIu64 " pages", t->pages);
	hex_encode(root, m->image.root.bytes, HASH_LEN);
	len = snprintf(line, sizeof(line),
		"inetboot-trace 1\nimage %s %" PRIu64 " %s %" PRIu64 "\n", m->name, m->version,
		root, m->image.size);
	if (!t->begun)
		print(t, line, (size_t)len);
	return t->failed ? err_set(e, -EIO, "cannot write the trace %s", t->path) : 0;
}

static bool note(struct trace *t, uint64_t page)
{
	bool new = !(t->seen[page / 8] & 1u << page % 8);

	t->seen[page / 8] |= (uint8_t)(1u << page % 8);
	return new;
}

void trace_read(struct trace *t, uint64_t offset, uint64_t len)
{
	uint64_t page = offset / TRACE_PAGE, end = (offset + len + TRACE_PAGE - 1) / TRACE_PAGE,
		 first;
	char line[80];

	if (end > t->pages)
		end = t->pages;
	pthread_mutex_lock(&t->lock);
	while (page < end) {
		for (; page < end && !note(t, page); page++)
			;
		for (first = page++; page < end && note(t, page); page++)
			;
		if (first < end)
			print(t, line,
				(size_t)snprintf(line, sizeof(line),
					"%" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
					clock_ms() - t->start_ms, first,
					(page < end ? page : end) - first));
	}
	pthread_mutex_unlock(&t->lock);
}

void trace_close(struct trace *t)
{
	if (!t)
		return;
	if (t->fd >= 0)
		close(t->fd);
	pthread_mutex_destroy(&t->lock);
	free(t->seen);
	free(t->path);
	free(t);
}
