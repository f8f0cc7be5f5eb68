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

struct pull_options {
	const char *what;	 /* shown with the progress; NULL: none is shown */
	bool go_on;		 /* bad blocks are logged and counted, else the first ends it */
	const struct pack *only; /* of the disk just the blocks that have pages of this boot pack; NULL: all */
	uint64_t most;		 /* bytes that may be fetched, -EFBIG for an image that needs more; 0: without bound */
	unsigned workers;	 /* blocks at the same time; 0: as many as the network takes */
	int (*gate)(void *context); /* called by each worker before each block: may wait, and ends all by -ECANCELED. NULL: none */
	void *context;
};

/* -ENOSPC: all of an image, which has a cache, is more than that may take. */
int pull_check_room(const struct image *image, struct err *e);

/* The image must be one in a store. Uses threads; one call at a time on an image. */
int pull_image(struct image *image, const struct pull_options *o, struct pull_result *out, struct err *e);

#endif
