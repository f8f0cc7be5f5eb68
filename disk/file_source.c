/* A local file or block device as a source. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "disk/raw.h"

struct file_source {
	struct source source;
	int fd;
};

static int file_source_read(struct source *s, void *buf, size_t len, uint64_t offset, struct err *e)
{
	int r = file_pread(((struct file_source *)s)->fd, buf, len, offset);

	return r < 0 ? err_set(e, r, "cannot read the file at byte %llu: %s", (unsigned long long)offset, strerror(-r)) : 0;
}

static void file_source_prefetch(struct source *s, uint64_t offset, uint64_t len)
{
	posix_fadvise(((struct file_source *)s)->fd, (off_t)offset, (off_t)len, POSIX_FADV_WILLNEED);
}

/* A file that became shorter has no hole there: reading it has to fail. */
static bool has_whole_size(struct source *s)
{
	struct stat st;

	return !fstat(((struct file_source *)s)->fd, &st) && (uint64_t)st.st_size >= s->size;
}

static int file_source_extent(struct source *s, uint64_t offset, uint64_t len, struct extent *out, struct err *e)
{
	int fd = ((struct file_source *)s)->fd;
	off_t from = (off_t)offset, data = lseek(fd, from, SEEK_DATA), end;

	if (data < 0) { /* none behind it; or the file system, or the device, does not tell */
		out->hole = errno == ENXIO && has_whole_size(s);
		return 0;
	}
	out->hole = data > from;
	end = out->hole ? data : lseek(fd, from, SEEK_HOLE);
	if (end > from && (uint64_t)(end - from) < len)
		out->len = (uint64_t)(end - from);
	return 0;
}

static void file_source_close(struct source *s)
{
	close(((struct file_source *)s)->fd);
	free(s);
}

static const struct source_ops file_ops = {
	.name = "file",
	.read = file_source_read,
	.prefetch = file_source_prefetch,
	.extent = file_source_extent,
	.close = file_source_close,
};

int file_source_take(struct source **out, int fd, uint64_t size, struct err *e)
{
	struct file_source *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "no memory for a file");
	s->source = (struct source){.ops = &file_ops, .size = size};
	s->fd = fd;
	*out = &s->source;
	return 0;
}

int file_source_open(struct source **out, const char *path, struct file_version *version, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	off_t size;
	int r;

	if (fd < 0)
		return err_errno(e, "cannot open %s", path);
	if (fstat(fd, &st) < 0)
		return err_errno(e, "cannot look at %s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, -EINVAL, "%s is neither a file nor a block device", path);
	size = lseek(fd, 0, SEEK_END);
	if (size <= 0)
		return err_set(e, -EINVAL, "%s is empty", path);
	r = file_source_take(out, fd, (uint64_t)size, e);
	if (r < 0)
		return r;
	steal_fd(&fd);
	if (version)
		*version = (struct file_version){.size = (uint64_t)size};
	if (version && S_ISREG(st.st_mode)) {
		version->seconds = st.st_mtim.tv_sec;
		version->nanoseconds = st.st_mtim.tv_nsec;
	}
	return 0;
}
