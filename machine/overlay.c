/* Overlays of QEMU: see overlay.h. */
#include "machine/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "format/qcow2.h"
#include "machine/cow.h"

static int encode(
	const struct stat *disk, const struct cow_binding *image, struct buf *out, struct err *e)
{
	struct qcow2 q = {
		.size = (uint64_t)disk->st_size, .mtime = (uint64_t)disk->st_mtime, .bound = image};

	if (image)
		q.image = *image;
	return qcow2_encode(&q, out, e);
}

/* To its whole length: what is missing is a hole. One that was interrupted while it was made grows
 * the next time. */
static int grow(const char *overlay, uint64_t disk_size, struct err *e)
{
	off_t least = (off_t)qcow2_file_len(disk_size);
	struct stat st;

	if (stat(overlay, &st) < 0 || (st.st_size < least && truncate(overlay, least) < 0))
		return err_errno(e, "cannot write to the overlay %s", overlay);
	return 0;
}

static int make(const char *overlay, const struct stat *disk, const struct cow_binding *image,
	struct err *e)
{
	_cleanup_buf_ struct buf start = BUF_INIT(QCOW2_START_MAX);
	int r = encode(disk, image, &start, e);

	if (!r)
		r = file_save(
			AT_FDCWD, overlay, start.data, start.len, FILE_SYNC | FILE_EXCLUSIVE, e);
	return r < 0 ? err_add(e, "cannot make the overlay %s", overlay)
		     : grow(overlay, (uint64_t)disk->st_size, e);
}

static int check_disk(const char *overlay, const struct qcow2 *q, const struct stat *disk,
	const struct cow_binding *image, struct err *e)
{
	bool as_large =
		q->size / COW_SECTOR == ((uint64_t)disk->st_size + COW_SECTOR - 1) / COW_SECTOR;

	if (q->bound && image)
		return as_large && hash_equal(&q->image.root, &image->root)
			       ? 0
			       : cow_refuse_version(overlay, &q->image, image, e);
	return as_large && q->mtime == (uint64_t)disk->st_mtime
		       ? 0
		       : cow_refuse_disk(overlay, q->size, e);
}

static int check(int fd, const char *overlay, const struct stat *disk,
	const struct cow_binding *image, struct err *e)
{
	_cleanup_free_ uint8_t *start = malloc(QCOW2_CLUSTER);
	ssize_t n = start ? file_read(fd, start, QCOW2_CLUSTER) : -ENOMEM;
	struct qcow2 q;
	int r;

	if (n < 0)
		return err_set(
			e, (int)n, "cannot read the overlay %s: %s", overlay, strerror((int)-n));
	r = qcow2_parse(&q, start, (size_t)n, e);
	if (r < 0)
		return err_add(e, "%s cannot be used, name another file with --overlay", overlay);
	r = check_disk(overlay, &q, disk, image, e);
	return r < 0 ? r : grow(overlay, (uint64_t)disk->st_size, e);
}

int overlay_prepare(
	const char *overlay, const char *disk, const struct cow_binding *image, struct err *e)
{
	_cleanup_close_ int fd = open(overlay, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	bool missing = fd < 0 && errno == ENOENT;
	struct stat st, disk_st;
	int r;

	if (!missing && (fd < 0 || fstat(fd, &st) < 0))
		return err_errno(e, "cannot open the overlay %s", overlay);
	if (stat(disk, &disk_st) < 0)
		return err_errno(e, "cannot look at the disk");
	if (missing)
		return make(overlay, &disk_st, image, e);
	r = cow_check_file(fd, overlay, &st, e);
	return r < 0 ? r : check(fd, overlay, &disk_st, image, e);
}

int overlay_temporary(const char *disk, struct err *e)
{
	const char *wanted = getenv("TMPDIR"), *dir = wanted && *wanted ? wanted : "/var/tmp";
	_cleanup_buf_ struct buf start = BUF_INIT(QCOW2_START_MAX);
	_cleanup_close_ int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct stat st;
	int r;

	if (fd < 0)
		return err_errno(
			e, "cannot make a temporary file in %s (TMPDIR names another folder)", dir);
	if (stat(disk, &st) < 0)
		return err_errno(e, "cannot look at the disk");
	r = encode(&st, NULL, &start, e);
	if (r < 0)
		return r;
	r = file_write(fd, start.data, start.len);
	if (r < 0 || ftruncate(fd, (off_t)qcow2_file_len((uint64_t)st.st_size)) < 0)
		return err_set(e, -EIO, "cannot write to a temporary file in %s", dir);
	return steal_fd(&fd);
}
