/* The disk's processes: see feed.h. They report through a pipe, one line of JSON: {"error": TEXT} or {"cmdline": TEXT|null, "file": PATH|null,
 * "name": NAME, "version": NUMBER, "root": HASH}, the last three for an image in a store. */
#include "machine/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "export/image_mount.h"

/* The command line of the first boot entry for User-Mode Linux; other entries are for other machines. */
static const char *uml_cmdline(const struct manifest *m)
{
	for (size_t i = 0; i < m->boot_count; i++)
		if (!strcmp(m->boot[i].type, "uml"))
			return m->boot[i].cmdline;
	return NULL;
}

/* In the worker. */
static char *report(const struct image *image)
{
	const struct manifest *m = &image->manifest;
	char hex[HASH_HEX_MAX];
	json_t *text, *more;
	char *line;

	hash_hex(&m->image.root, hex);
	text = json_pack("{s:s?, s:s?}", "cmdline", uml_cmdline(m), "file", image->unpacked);
	more = image->in_store ? json_pack("{s:s, s:I, s:s}", "name", m->name, "version", (json_int_t)m->version, "root", hex) : NULL;
	json_object_update(text, more);
	line = text ? json_dumps(text, JSON_COMPACT) : NULL;
	json_decref(more);
	json_decref(text);
	return line;
}

static void send_report(void *context, const char *text)
{
	int *fd = context;

	file_write(*fd, text, strlen(text));
	close(steal_fd(fd));
}

char *feed_error_report(const struct err *e)
{
	json_t *about = json_pack("{s:s}", "error", e->text);
	char *text = about ? json_dumps(about, JSON_COMPACT) : NULL;

	json_decref(about);
	return text;
}

__attribute__((noreturn)) static void run(const char *link, const struct image_options *o, const char *record, const char *dir,
	int fd)
{
	struct err e = ERR_INIT;
	struct image_mount mount = {.link = link, .options = o, .dir = dir, .record = record, .report = report, .ready = send_report, .context = &fd};
	int r;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setsid(); /* what is typed to end the guest must not end its disk first */
	r = image_mount_run(&mount, &e);
	if (r < 0 && fd >= 0) {
		_cleanup_free_ char *text = feed_error_report(&e);

		if (text)
			send_report(&fd, text);
	}
	_exit(r < 0);
}

int feed_wait(int fd, uint64_t until_ms, struct err *e)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint64_t now;
	int r = 0;

	while (!r) {
		now = clock_ms();
		if (until_ms && now >= until_ms)
			return err_set(e, -ETIMEDOUT, "the disk was not there within the time limit");
		/* A minute at most: poll() takes an int. */
		r = poll(&wait, 1, until_ms && until_ms - now < 60000 ? (int)(until_ms - now) : 60000);
		if (r < 0 && errno == EINTR)
			r = 0;
	}
	return r < 0 ? err_errno(e, "cannot wait for the disk") : 0;
}

/* A plain file in the cache's folder for them? The worker says so, and it parses what comes from outside. */
static bool is_unpacked(const char *file, const struct image_options *o)
{
	_cleanup_free_ char *cache = image_cache_dir(o, NULL), *folder = cache ? file_path("%s/disks/", cache) : NULL;
	struct stat st;

	return folder && text_starts(file, folder) && !strchr(file + strlen(folder), '/') && !lstat(file, &st) && S_ISREG(st.st_mode);
}

static void read_image(const json_t *report, struct cow_binding *out)
{
	const char *name = json_string_value(json_object_get(report, "name")), *root = json_string_value(json_object_get(report, "root"));
	json_int_t version = json_integer_value(json_object_get(report, "version"));
	struct cow_binding b = {.version = (uint64_t)version};

	if (!name || !link_name_valid(name) || !root || version <= 0 || hex_decode(b.root.bytes, HASH_LEN, root, strlen(root)) < 0)
		return;
	snprintf(b.name, sizeof(b.name), "%s", name);
	*out = b;
}

int feed_take_report(struct feed *f, const char *text, size_t len, const struct image_options *o, struct err *e)
{
	json_t *report = len ? json_loadb(text, len, 0, NULL) : NULL;
	const char *error = json_string_value(json_object_get(report, "error"));
	const char *file = json_string_value(json_object_get(report, "file"));
	const char *words = json_string_value(json_object_get(report, "cmdline"));
	int r = 0;

	if (!report)
		r = err_set(e, -EIO, "the process that feeds the disk ended without a word");
	else if (error)
		r = err_set(e, -EIO, "%s", error);
	if (!r && words)
		f->cmdline = strdup(words);
	if (!r)
		read_image(report, &f->image);
	if (!r && file && is_unpacked(file, o))
		f->file = strdup(file);
	json_decref(report);
	return r;
}

static int read_report(int fd, struct feed *f, const struct image_options *o, struct err *e)
{
	ssize_t n;

	f->report = calloc(1, FEED_REPORT_MAX + 1);
	n = f->report ? file_read(fd, f->report, FEED_REPORT_MAX) : -ENOMEM;
	return feed_take_report(f, f->report, n > 0 ? (size_t)n : 0, o, e);
}

int feed_start(struct feed *f, const char *link, const struct image_options *o, const char *record, const char *dir, int messages,
	uint64_t until_ms, struct err *e)
{
	_cleanup_close_ int from = -1, to = -1;
	int fds[2], r;

	*f = (struct feed){.pid = -1, .disk = file_path("%s/disk", dir), .status = file_path("%s/status", dir)};
	if (!f->disk || !f->status || pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, "cannot start the disk");
	from = fds[0];
	to = fds[1];
	fflush(NULL);
	f->pid = fork();
	if (f->pid < 0)
		return err_errno(e, "cannot start the disk");
	if (!f->pid) {
		close(from);
		log_to(messages);
		run(link, o, record, dir, to);
	}
	close(steal_fd(&to));
	r = feed_wait(from, until_ms, e);
	if (!r)
		r = read_report(from, f, o, e);
	if (r < 0)
		feed_stop(f);
	return r;
}

void feed_stop(struct feed *f)
{
	if (f->pid > 0) {
		kill(f->pid, SIGTERM);
		while (waitpid(f->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(f->disk);
	free(f->status);
	free(f->cmdline);
	free(f->file);
	free(f->report);
	*f = (struct feed){.pid = -1};
}
