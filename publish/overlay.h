/* What was written over a disk: a copy-on-write file (format/cow.h), opened for reading. One thread at a time. */
#ifndef PUBLISH_OVERLAY_H
#define PUBLISH_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format/cow.h"
#include "publish/rescan.h"

#define OVERLAY_WINDOW (64u << 10) /* bytes of the bitmap that are looked at together */

struct overlay {
	int fd;
	const char *path; /* for messages; borrowed */
	struct cow_head head;
	bool bound;
	struct cow_binding binding; /* where bound */
	uint64_t window;	    /* offset in the bitmap of the bytes below */
	size_t window_len;
	uint8_t bits[OVERLAY_WINDOW];
};

/* Opens it, and locks it, so that no machine starts with it: -EBUSY where one runs. -EINVAL where it is none, or damaged. */
int overlay_open(struct overlay *o, const char *path, struct err *e);

/* The first range of written sectors at or behind `from`, which is the beginning of a sector or the disk's end. 1; 0: there is none; -errno.
 * It ends where its file has data instead of a hole or the other way round: what a guest discarded costs nothing. Where the bitmap is a hole, it is
 * not read. */
int overlay_next(struct overlay *o, uint64_t from, struct rescan_range *out, struct err *e);

/* Reads what was written. The range lies in ranges of overlay_next(). */
int overlay_read(struct overlay *o, void *buf, size_t len, uint64_t offset, struct err *e);

void overlay_close(struct overlay *o);

#endif
