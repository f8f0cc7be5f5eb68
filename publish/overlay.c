/* Reading copy-on-write files: see overlay.h. */
#include "publish/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static int lock(int fd, const char *path, struct err *e)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_SETLK, &lock))
		return 0;
	if (errno == EACCES || errno == EAGAIN)
		return err_set(e, -EBUSY, "%s is in use by a machine: shut that down first", path);
	return err_errno(e, "cannot lock %s", path);
}

static int load_head(struct overlay *o, struct err *e)
{
	uint8_t start[COW_START];
	struct stat st;
	ssize_t n;
	int r;

	if (fstat(o->fd, &st) < 0)
		return err_errno(e, "cannot look at %s", o->path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s is not a file", o->path);
	n = file_read(o->fd, start, sizeof(start));
	if (n < 0)
		return err_set(e, (int)n, "cannot read %s: %s", o->path, strerror((int)-n));
	r = cow_head_parse(&o->head, start, (size_t)n, e);
	if (!r && (uint64_t)st.st_size < cow_file_len(&o->head))
		r = err_set(e, -EINVAL, "a copy-on-write file that was cut off: %llu bytes of %llu",
			(unsigned long long)st.st_size, (unsigned long long)cow_file_len(&o->head));
	if (!r)
		r = cow_binding_parse(&o->binding, &o->head, start, (size_t)n, e);
	o->bound = r > 0;
	return r < 0 ? err_add(e, "%s", o->path) : 0;
}

int overlay_open(struct overlay *o, const char *path, struct err *e)
{
	int r;

	*o = (struct overlay){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
	if (o->fd < 0)
		return err_errno(e, "cannot open %s", path);
	r = lock(o->fd, path, e);
	if (!r)
		r = load_head(o, e);
	if (r < 0)
		overlay_close(o);
	return r;
}

void overlay_close(struct overlay *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}

/* Brings the bitmap's byte `at` into the window. */
static int look_at(struct overlay *o, uint64_t at, struct err *e)
{
	uint64_t left = o->head.bitmap_len - at;
	int r;

	if (at >= o->window && at - o->window < o->window_len)
		return 0;
	o->window = at;
	o->window_len = left < OVERLAY_WINDOW ? (size_t)left : OVERLAY_WINDOW;
	r = file_pread(o->fd, o->bits, o->window_len, o->head.bitmap + at);
	if (r < 0)
		o->window_len = 0;
	return r < 0 ? err_set(e, r, "cannot read %s: %s", o->path, strerror(-r)) : 0;
}

/* Where the bitmap has data again at or behind byte `at`, as far as the file system tells. */
static uint64_t skip_hole(const struct overlay *o, uint64_t at)
{
	off_t data = lseek(o->fd, (off_t)(o->head.bitmap + at), SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? o->head.bitmap_len : at;
	at = (uint64_t)data - o->head.bitmap;
	return at < o->head.bitmap_len ? at : o->head.bitmap_len;
}

/* The first sector from *sector on whose bit is `set`, or the number of sectors. */
static int find_bit(struct overlay *o, uint64_t *sector, bool set, struct err *e)
{
	uint64_t sectors = (o->head.size + COW_SECTOR - 1) / COW_SECTOR, i = *sector;
	uint8_t none = set ? 0 : 0xff;

	while (i < sectors) {
		uint64_t at = i / 8;
		int r = look_at(o, at, e);

		if (r < 0)
			return r;
		if (o->bits[at - o->window] == none) {
			i = (at + 1) * 8;
			if (set && at + 1 == o->window + o->window_len &&
				at + 1 < o->head.bitmap_len)
				i = skip_hole(o, at + 1) * 8;
		} else if ((o->bits[at - o->window] >> i % 8 & 1) == set) {
			break;
		} else {
			i++;
		}
	}
	*sector = i < sectors ? i : sectors;
	return 0;
}

/* Cuts a range off where the file's data begins or ends, as far as the file system tells. */
static void cut_at_hole(const struct overlay *o, struct rescan_range *range)
{
	uint64_t start = o->head.data + range->start, cut;
	off_t data = lseek(o->fd, (off_t)start, SEEK_DATA), hole;

	range->zeros = false;
	if (data < 0 && errno != ENXIO)
		return;
	cut = data < 0 ? UINT64_MAX : ((uint64_t)data - start) / COW_SECTOR * COW_SECTOR;
	if (!cut) {
		hole = lseek(o->fd, (off_t)start, SEEK_HOLE);
		cut = hole < 0 ? UINT64_MAX
			       : ((uint64_t)hole - start + COW_SECTOR - 1) / COW_SECTOR * COW_SECTOR;
	} else {
		range->zeros = true;
	}
	if (cut && cut < range->end - range->start)
		range->end = range->start + cut;
}

int overlay_next(struct overlay *o, uint64_t from, struct rescan_range *out, struct err *e)
{
	uint64_t sector = (from + COW_SECTOR - 1) / COW_SECTOR;
	int r = find_bit(o, &sector, true, e);

	out->start = sector * COW_SECTOR;
	if (r < 0 || out->start >= o->head.size)
		return r;
	r = find_bit(o, &sector, false, e);
	out->end = sector * COW_SECTOR < o->head.size ? sector * COW_SECTOR : o->head.size;
	if (r < 0)
		return r;
	cut_at_hole(o, out);
	return 1;
}

int overlay_read(struct overlay *o, void *buf, size_t len, uint64_t offset, struct err *e)
{
	int r = file_pread(o->fd, buf, len, o->head.data + offset);

	return r < 0 ? err_set(e, r, "cannot read %s: %s", o->path, strerror(-r)) : 0;
}
