/* What differs between two images, by their indexes: no block of either is fetched. */
#ifndef DISK_DIFFERENCE_H
#define DISK_DIFFERENCE_H

#include <stddef.h>
#include <stdint.h>

#include "disk/image.h"

#define DIFFERENCE_CHUNKS_MAX (4u << 20) /* of one image: some 256 GB of data, and 200 MB of memory */

struct difference_range {
	uint64_t start, end; /* bytes of the disk */
};

struct difference {
	uint64_t chunks;      /* different ones of b */
	uint64_t new_chunks;  /* of these, those that a has nowhere: who has all of a fetches them for b */
	uint64_t new_bytes;   /* uncompressed bytes of these */
	uint64_t file_bytes;  /* bytes of their files, where b's store is a folder; else 0 */
	uint64_t bytes;	      /* uncompressed bytes of `chunks` */
	struct difference_range *ranges; /* where the disks may differ, in order; owned */
	size_t range_count;
	uint64_t range_bytes;
};

/* Both must be images in stores. -EFBIG for more than DIFFERENCE_CHUNKS_MAX chunks. One thread. */
int image_difference(struct image *a, struct image *b, struct difference *out, struct err *e);
void difference_free(struct difference *d);

#endif
