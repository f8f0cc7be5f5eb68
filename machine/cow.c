/* Checking a copy-on-write file: see cow.h. */
#include "machine/cow.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define COW_MAGIC 0x4f4f4f4d
#define COW_VERSION 3

struct cow_head {
	uint32_t magic, version, mtime;
	uint64_t size;
} __attribute__((packed));

static int check_head(const struct cow_head *h, const char *overlay, const struct stat *disk, struct err *e)
{
	if (be32toh(h->magic) != COW_MAGIC || be32toh(h->version) != COW_VERSION)
		return err_set(e, -EINVAL, "%s is no copy-on-write file of User-Mode Linux: name another file with --overlay", overlay);
	if (be64toh(h->size) != (uint64_t)disk->st_size || be32toh(h->mtime) != (uint32_t)disk->st_mtime)
		return err_set(e, -ESTALE,
			"%s holds what was written over another image, or another version of this one (a disk of %" PRIu64
			" bytes): boot the version that it belongs to (LINK@N), or name another file with --overlay",
			overlay, be64toh(h->size));
	return 0;
}

/* It will be made: can it be? */
static int check_folder(const char *overlay, struct err *e)
{
	const char *slash = strrchr(overlay, '/');
	_cleanup_free_ char *dir = slash ? strndup(overlay, slash == overlay ? 1 : (size_t)(slash - overlay)) : strdup(".");

	if (dir && access(dir, W_OK | X_OK) < 0)
		return err_errno(e, "cannot make the overlay %s", overlay);
	return 0;
}

/* Does another machine have it? User-Mode Linux locks it. */
static int check_unused(int fd, const char *overlay, struct err *e)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	return err_set(e, -EBUSY, "the overlay %s is in use by another machine: end that one, or name another file with --overlay", overlay);
}

int cow_check(const char *overlay, const char *disk, struct err *e)
{
	_cleanup_close_ int fd = open(overlay, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct cow_head head;
	struct stat st, disk_st;
	int r;

	if (fd < 0 && errno == ENOENT)
		return check_folder(overlay, e);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, "cannot open the overlay %s", overlay);
	if (stat(disk, &disk_st) < 0)
		return err_errno(e, "cannot look at the disk");
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "the overlay %s is not a file", overlay);
	if (access(overlay, W_OK) < 0)
		return err_errno(e, "cannot write to the overlay %s", overlay);
	if (!st.st_size)
		return err_set(e, -EINVAL, "the overlay %s is an empty file: remove it, and it will be made", overlay);
	r = check_unused(fd, overlay, e);
	if (r < 0)
		return r;
	r = file_pread(fd, &head, sizeof(head), 0);
	if (r < 0)
		return err_set(e, -EINVAL, "cannot read the overlay %s: %s", overlay, strerror(-r));
	return check_head(&head, overlay, &disk_st, e);
}
