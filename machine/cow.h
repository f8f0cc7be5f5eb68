/* The overlay of a machine: a copy-on-write file of User-Mode Linux (format/cow.h) that fits its disk. */
#ifndef MACHINE_COW_H
#define MACHINE_COW_H

#include <sys/stat.h>

#include "base/err.h"
#include "format/cow.h"

/* Makes the overlay ready for this disk (its path). image: what the disk is, to bind a new overlay to it, or NULL where it is no image in a
 * store.
 *
 * One that is missing is made, bound; without an image User-Mode Linux will make it. One that is bound must be bound to an image
 * with the same root hash, wherever and whenever that was published. Any other is told by the disk's size and time, as User-Mode Linux does:
 * it would refuse a wrong one too, but with a machine that has no disk. -ESTALE: of another disk or version; -EBUSY: of a machine that
 * runs; -EINVAL: no such file at all. */
int cow_prepare(const char *overlay, const char *disk, const struct cow_binding *image, struct err *e);

/* For overlays of other engines, too. Is it a file that can be an overlay, and written to? -EBUSY: another machine has locked it, as User-Mode Linux and QEMU do. */
int cow_check_file(int fd, const char *overlay, const struct stat *st, struct err *e);
/* -ESTALE, always: it belongs to a disk of another size or time; to another image. */
int cow_refuse_disk(const char *overlay, uint64_t size, struct err *e);
int cow_refuse_version(const char *overlay, const struct cow_binding *bound, const struct cow_binding *image, struct err *e);

/* Brings what the guest wrote onto the disk, once it has ended: see docs/internals.md for what happens before. */
int cow_sync(const char *overlay, struct err *e);

#endif
