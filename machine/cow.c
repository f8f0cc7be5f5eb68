/* Preparing an overlay: see cow.h. */
#include "machine/cow.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"

#define COW_MTIME 8 /* offset in the header */

/* User-Mode Linux will make it: can it? */
static int check_folder(const char *overlay, struct err *e)
{
	const char *slash = strrchr(overlay, '/');
	_cleanup_free_ char *dir =
		slash ? strndup(overlay, slash == overlay ? 1 : (size_t)(slash - overlay))
		      : strdup(".");

	if (dir && access(dir, W_OK | X_OK) < 0)
		return err_errno(e, "cannot make the overlay %s", overlay);
	return 0;
}

/* To its whole length, which is a hole behind its beginning. */
static int grow(const char *overlay, const struct cow_head *head, struct err *e)
{
	_cleanup_close_ int fd = open(overlay, O_WRONLY | O_CLOEXEC);

	return fd < 0 || ftruncate(fd, (off_t)cow_file_len(head)) < 0
		       ? err_errno(e, "cannot write to the overlay %s", overlay)
		       : 0;
}

/* Its beginning as a whole or not at all; where that is all there is, as this was interrupted, it grows the next time. */
static int make(const char *overlay, const char *disk, const struct stat *disk_st,
	const struct cow_binding *image, struct err *e)
{
	uint8_t start[COW_START];
	struct cow_head head;
	int r = cow_start_encode(
		start, (uint64_t)disk_st->st_size, (uint32_t)disk_st->st_mtime, disk, image, e);

	if (!r)
		r = cow_head_parse(&head, start, sizeof(start), e);
	if (!r)
		r = file_save(
			AT_FDCWD, overlay, start, sizeof(start), FILE_SYNC | FILE_EXCLUSIVE, e);
	if (r < 0)
		return err_add(e, "cannot make the overlay %s", overlay);
	r = grow(overlay, &head, e);
	if (r < 0)
		unlink(overlay);
	return r;
}

int cow_check_file(int fd, const char *overlay, const struct stat *st, struct err *e)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (!S_ISREG(st->st_mode))
		return err_set(e, -EINVAL, "the overlay %s is not a file", overlay);
	if (access(overlay, W_OK) < 0)
		return err_errno(e, "cannot write to the overlay %s", overlay);
	if (!st->st_size)
		return err_set(e, -EINVAL,
			"the overlay %s is an empty file: remove it, and it will be made", overlay);
	if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	return err_set(e, -EBUSY,
		"the overlay %s is in use by another machine: end that one, or name another file "
		"with --overlay",
		overlay);
}

int cow_refuse_disk(const char *overlay, uint64_t size, struct err *e)
{
	return err_set(e, -ESTALE,
		"%s holds what was written over another image, or another version of this one (a "
		"disk of %" PRIu64 " bytes): boot the version that it belongs to (LINK@N), or name "
				   "another file with --overlay",
		overlay, size);
}

int cow_refuse_version(const char *overlay, const struct cow_binding *bound,
	const struct cow_binding *image, struct err *e)
{
	return err_set(e, -ESTALE,
		"%s holds what was written over %s version %" PRIu64
		", and this is %s version %" PRIu64 ": boot %s%s%s, or name another file "
		"with --overlay",
		overlay, bound->name, bound->version, image->name, image->version,
		*bound->link ? "'" : "that version (LINK@N)", bound->link, *bound->link ? "'" : "");
}

static int check_size_and_time(
	const char *overlay, const struct cow_head *head, const struct stat *disk, struct err *e)
{
	if (head->size == (uint64_t)disk->st_size && head->mtime == (uint32_t)disk->st_mtime)
		return 0;
	return cow_refuse_disk(overlay, head->size, e);
}

/* The same disk may have been published again, at another time: User-Mode Linux, which knows nothing of images, is told. */
static int adopt(
	const char *overlay, const struct cow_head *head, const struct stat *disk, struct err *e)
{
	_cleanup_close_ int fd = -1;
	uint8_t mtime[4];
	int r;

	if (head->mtime == (uint32_t)disk->st_mtime)
		return 0;
	store_be32(mtime, (uint32_t)disk->st_mtime);
	fd = open(overlay, O_WRONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : file_pwrite(fd, mtime, sizeof(mtime), COW_MTIME);
	return r < 0 ? err_set(e, r, "cannot write to the overlay %s: %s", overlay, strerror(-r))
		     : 0;
}

static int check_binding(const char *overlay, const struct cow_head *head,
	const struct cow_binding *bound, const struct cow_binding *image, const struct stat *disk,
	struct err *e)
{
	if (hash_equal(&bound->root, &image->root) && head->size == (uint64_t)disk->st_size)
		return adopt(overlay, head, disk, e);
	return cow_refuse_version(overlay, bound, image, e);
}

static int check(int fd, const char *overlay, const struct stat *st, const struct stat *disk,
	const struct cow_binding *image, struct err *e)
{
	uint8_t start[COW_START];
	struct cow_binding bound;
	struct cow_head head;
	ssize_t n = file_read(fd, start, sizeof(start));
	int r;

	if (n < 0)
		return err_set(
			e, (int)n, "cannot read the overlay %s: %s", overlay, strerror((int)-n));
	r = cow_head_parse(&head, start, (size_t)n, e);
	if (!r)
		r = cow_binding_parse(&bound, &head, start, (size_t)n, e);
	if (r < 0)
		return err_add(e, "%s cannot be used, name another file with --overlay", overlay);
	if (r > 0 && image)
		r = check_binding(overlay, &head, &bound, image, disk, e);
	else
		r = check_size_and_time(overlay, &head, disk, e);
	return r < 0 || st->st_size != COW_START ? r : grow(overlay, &head, e);
}

int cow_prepare(
	const char *overlay, const char *disk, const struct cow_binding *image, struct err *e)
{
	_cleanup_close_ int fd = open(overlay, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st, disk_st;
	bool missing = fd < 0 && errno == ENOENT;
	int r;

	if (missing && !image)
		return check_folder(overlay, e);
	if (!missing && (fd < 0 || fstat(fd, &st) < 0))
		return err_errno(e, "cannot open the overlay %s", overlay);
	if (stat(disk, &disk_st) < 0)
		return err_errno(e, "cannot look at the disk");
	if (missing)
		return make(overlay, disk, &disk_st, image, e);
	r = cow_check_file(fd, overlay, &st, e);
	return r < 0 ? r : check(fd, overlay, &st, &disk_st, image, e);
}

int cow_sync(const char *overlay, struct err *e)
{
	_cleanup_close_ int fd = open(overlay, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 || fsync(fd) < 0
		       ? err_errno(e, "cannot bring the overlay %s onto the disk", overlay)
		       : 0;
}
