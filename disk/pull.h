/* Goes through all blocks of an image: brings them into the cache (pull), or reads each from where it is served (verify). */
#ifndef DISK_PULL_H
#define DISK_PULL_H

#include <stdint.h>

#include "disk/image.h"

struct pull_result {
	uint64_t chunks, bytes;	  /* gone through; uncompressed bytes */
	uint64_t fetched;	  /* chunks that came from the network */
	uint64_t fetched_bytes;	  /* the same in bytes, as they came */
	uint64_t bad;		  /* chunks that could not be had right */
};

struct pack;

/* The image must be one in a store. Shows progress as `what`. With `go_on`, bad blocks are logged and counted, else the first ends
 * it. most: bytes that may be fetched, -EFBIG for an image that needs more; 0: without bound. Uses threads; one call at a time on an image.
 * only: of the disk just the blocks that have pages of this boot pack; NULL: all. */
int pull_image(struct image *image, const char *what, bool go_on, const struct pack *only, uint64_t most, struct pull_result *out,
	struct err *e);

#endif
