/* Files: see file.h. A temporary name is PATH.tmp.PID.N, opened with O_EXCL, so that concurrent writers of one path never
 * share one. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

int file_pread(int fd, void *buf, size_t len, uint64_t offset)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

ssize_t file_read(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (uint8_t *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int file_write(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_pwrite(int fd, const void *data, size_t len, uint64_t offset)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int file_load(int dirfd, const char *path, struct buf *out, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_errno(e, "cannot open %s", path);
	for (;;) {
		size_t room = out->cap - out->len;
		size_t want = room >= 65536 ? 65536 : room + 1; /* one byte more tells that the file is too large */
		uint8_t chunk[65536];
		ssize_t n = file_read(fd, chunk, want);

		if (n < 0)
			return err_set(e, (int)n, "cannot read %s: %s", path, strerror((int)-n));
		r = buf_append(out, chunk, (size_t)n);
		if (r == -EFBIG)
			return err_set(e, r, "%s is larger than the %zu bytes that such a file may have", path,
				out->cap);
		if (r < 0)
			return err_set(e, r, "no memory to read %s", path);
		if ((size_t)n < want)
			return 0;
	}
}

static int save_temporary(int fd, const void *data, size_t len, unsigned flags)
{
	int r = file_write(fd, data, len);

	if (r < 0)
		return r;
	return flags & FILE_SYNC && fsync(fd) < 0 ? -errno : 0;
}

static int sync_folder_of(int dirfd, const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path))
					    : strdup(".");
	_cleanup_close_ int fd = -1;

	if (!folder)
		return -ENOMEM;
	fd = openat(dirfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_save(int dirfd, const char *path, const void *data, size_t len, unsigned flags, struct err *e)
{
	static atomic_uint counter;
	_cleanup_free_ char *temporary = file_path("%s.tmp.%ld.%u", path, (long)getpid(), counter++);
	_cleanup_close_ int fd = -1;
	int r;

	if (!temporary)
		return err_set(e, -ENOMEM, "no memory to write %s", path);
	fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, flags & FILE_PRIVATE ? 0600 : 0644);
	if (fd < 0)
		return err_errno(e, "cannot create %s", temporary);
	r = save_temporary(fd, data, len, flags);
	if (!r && flags & FILE_EXCLUSIVE)
		r = linkat(dirfd, temporary, dirfd, path, 0) < 0 ? -errno : 0;
	else if (!r)
		r = renameat(dirfd, temporary, dirfd, path) < 0 ? -errno : 0;
	if (r < 0 || flags & FILE_EXCLUSIVE)
		unlinkat(dirfd, temporary, 0);
	if (!r && flags & FILE_SYNC)
		r = sync_folder_of(dirfd, path);
	return r < 0 ? err_set(e, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int file_mkdirs(const char *path, struct err *e)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return err_set(e, -ENOMEM, "no memory for a path");
	for (char *p = copy + (*copy == '/');; p++) {
		char at = *p;

		if (at && at != '/')
			continue;
		*p = 0;
		if (*copy && mkdir(copy, 0777) < 0 && errno != EEXIST)
			return err_errno(e, "cannot make the folder %s", copy);
		*p = at;
		if (!at)
			return 0;
	}
}

char *file_xdg_dir(const char *variable, const char *fallback, struct err *e)
{
	const char *base = getenv(variable), *home = getenv("HOME");
	char *dir = NULL;

	if (base && *base == '/')
		dir = file_path("%s/inetboot", base);
	else if (home && *home == '/')
		dir = file_path("%s/%s/inetboot", home, fallback);
	else
		err_set(e, -ENOENT, "neither %s nor HOME is set: set one of them", variable);
	return dir;
}

char *file_path(const char *fmt, ...)
{
	char *out;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vasprintf(&out, fmt, ap);
	va_end(ap);
	return r < 0 ? NULL : out;
}

bool file_all_zero(const void *data, size_t len)
{
	const uint8_t *p = data;

	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}
