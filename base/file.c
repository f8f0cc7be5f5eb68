/* Files: see file.h. A temporary name is PATH.tmp.PID.N, opened with O_EXCL, so that concurrent writers of one path never
 * share one. Where such a name is taken, by who had the same process number and was killed, the next N is. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define TEMPORARY ".tmp." /* then PID.N */
#define TEMPORARY_TRIES 1000

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

static int load(int fd, const char *path, struct buf *out, struct err *e)
{
	int r;

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

int file_load(int dirfd, const char *path, struct buf *out, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_errno(e, "cannot open %s", path) : load(fd, path, out, e);
}

int file_load_plain(int dirfd, const char *path, struct buf *out, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno != ELOOP && errno != ENXIO)
		return err_errno(e, "cannot open %s", path);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, -EBADMSG, "%s is no plain file", path);
	return load(fd, path, out, e);
}

static int open_temporary(int dirfd, const char *path, char **name, mode_t mode)
{
	static atomic_uint counter;
	int fd = -1;

	for (int i = 0; i < TEMPORARY_TRIES && fd < 0; i++) {
		free(*name);
		*name = file_path("%s" TEMPORARY "%ld.%u", path, (long)getpid(), counter++);
		if (!*name)
			return -ENOMEM;
		fd = openat(dirfd, *name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
		if (fd < 0 && errno != EEXIST)
			break;
	}
	return fd < 0 ? -errno : fd;
}

/* Closes fd. */
static int save_temporary(int fd, const void *data, size_t len, unsigned flags)
{
	int r = file_write(fd, data, len);

	if (!r && flags & FILE_SYNC && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && !r) /* network file systems report a full disk here */
		r = -errno;
	return r;
}

/* To a name that must be free. Few file systems lack both calls. */
static int move_exclusive(int dirfd, const char *from, const char *to)
{
	if (!renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (linkat(dirfd, from, dirfd, to, 0) < 0)
		return -errno;
	unlinkat(dirfd, from, 0);
	return 0;
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

/* Makes a new name durable. One that must have been free goes again where that fails: the caller was told that it is not there. */
static int sync_made(int dirfd, const char *path, unsigned flags)
{
	int r = sync_folder_of(dirfd, path);

	if (r < 0 && flags & FILE_EXCLUSIVE)
		unlinkat(dirfd, path, 0);
	return r;
}

int file_save(int dirfd, const char *path, const void *data, size_t len, unsigned flags, struct err *e)
{
	_cleanup_free_ char *temporary = NULL;
	int fd = open_temporary(dirfd, path, &temporary, flags & FILE_PRIVATE ? 0600 : 0644), r;

	if (fd < 0)
		return err_set(e, fd, "cannot create %s: %s", temporary ? temporary : path, strerror(-fd));
	r = save_temporary(fd, data, len, flags);
	if (!r && flags & FILE_EXCLUSIVE)
		r = move_exclusive(dirfd, temporary, path);
	else if (!r)
		r = renameat(dirfd, temporary, dirfd, path) < 0 ? -errno : 0;
	if (r < 0)
		unlinkat(dirfd, temporary, 0);
	else if (flags & FILE_SYNC)
		r = sync_made(dirfd, path, flags);
	return r < 0 ? err_set(e, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

bool file_is_temporary(const char *name)
{
	const char *at = strstr(name, TEMPORARY);
	size_t pid, count;

	if (!at || at == name)
		return false;
	at += strlen(TEMPORARY);
	pid = strspn(at, "0123456789");
	count = at[pid] == '.' ? strspn(at + pid + 1, "0123456789") : 0;
	return pid && count && !at[pid + 1 + count];
}

static int make_folder(const char *path, struct err *e)
{
	struct stat st;

	if (!mkdir(path, 0777))
		return 0;
	if (errno != EEXIST)
		return err_errno(e, "cannot make the folder %s", path);
	if (stat(path, &st) < 0)
		return err_errno(e, "cannot look at %s", path);
	return S_ISDIR(st.st_mode) ? 0 : err_set(e, -ENOTDIR, "%s is no folder", path);
}

int file_mkdirs(const char *path, struct err *e)
{
	_cleanup_free_ char *copy = strdup(path);
	int r;

	if (!copy)
		return err_set(e, -ENOMEM, "no memory for a path");
	for (char *p = copy + (*copy == '/');; p++) {
		char at = *p;

		if (at && at != '/')
			continue;
		*p = 0;
		r = *copy ? make_folder(copy, e) : 0;
		if (r < 0)
			return r;
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

char *file_absolute(const char *path)
{
	_cleanup_free_ char *here = *path == '/' ? NULL : getcwd(NULL, 0);

	if (*path == '/')
		return strdup(path);
	return here ? file_path("%s/%s", here, path) : NULL;
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

int file_lock(const char *path, int how)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	do
		r = flock(fd, how);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : steal_fd(&fd);
}
