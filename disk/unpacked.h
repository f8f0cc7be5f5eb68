/* An image unpacked: its disk as a plain file in the cache, DIR/disks/NAME.ROOT, for reads that
 * cost what a local file's cost. Made on demand
 * (`pull --unpack`), and removed by a newer version's. It is checked as a whole, against the index,
 * each time before it is used: all data by its hashes, and that there is nothing where the index
 * has holes. After that whoever may write to the file could change what is read, so it has to be
 * the user's own, and nobody else's to write. */
#ifndef DISK_UNPACKED_H
#define DISK_UNPACKED_H

#include "base/err.h"

struct image;

/* Makes it from the image's blocks: 0 also where it is there and right. The image has a cache. Uses
 * threads. */
int unpacked_make(struct image *image, struct err *e);

/* The path of a file that was checked just now, allocated. NULL: there is none, or it was wrong,
 * which is told, and gone then. Uses threads. */
char *unpacked_find(struct image *image);

#endif
