/* An image unpacked: its disk as a plain file in the cache, DIR/disks/NAME.ROOT, for reads that
 * cost what a local file's cost. Made on demand
 * (`pull --unpack`), and removed by a newer version's. It is checked as a whole, against the index,
 * each time before it is used: all data by its hashes, and that there is nothing where the index
 * has holes. After that whoever may write to the file could change what is read, so it has to be
 * the user's own, and nobody else's to write. */
#ifndef DISK_UNPACKED_H
#define DISK_UNPACKED_H

#include <stdbool.h>

#include "base/err.h"
#include "disk/source.h"

struct image;
struct image_options;

/* Makes it from the image's blocks: 0 also where it is there and right, as was found when the disk
 * was opened. The image has a cache, and its disk is open. */
int unpacked_make(struct image *image, struct err *e);

/* A file that was checked just now, open for reading, and its path, allocated. What is open is what
 * was checked; by that name there may be another one soon. -ENOENT: there is none, or it was wrong,
 * which is told, and gone then. Uses threads. */
int unpacked_find(struct image *image, char **path);

/* Is it one in the options' cache, open for reading only, and nobody's to write but ours? For who is
 * handed it by a process that parses what comes from outside; the content is not looked at. */
bool unpacked_is_one(int fd, const struct image_options *o);

/* Such a file as a source, over the source of the same image's blocks, which is read where the file
 * cannot be; both are taken over on success. */
int unpacked_source_open(
	struct source **out, int fd, const char *path, struct source *blocks, struct err *e);

#endif
