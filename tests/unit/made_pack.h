/* Boot packs for tests, of images of random bytes; what they hold is known by the page. Failures
 * fail the running test. */
#ifndef UNIT_MADE_PACK_H
#define UNIT_MADE_PACK_H

#include "base/buf.h"
#include "format/pack.h"
#include "random.h"

struct made_pack {
	uint8_t *image; /* whole pages: the last one filled up with zeros */
	uint64_t size;  /* of the image, in bytes */
	uint32_t image_pages;
	uint32_t *place; /* of each page of the image; UINT32_MAX: not in the pack */
	struct pack_extent *extents;
	struct pack_segment *segments;
	uint32_t extent_count, segment_count, pages;
	size_t head_len;
	struct buf file;
	struct profile profile;
};

/* An image of `size` bytes, of which a third compresses, and a pack of about `share` of 16 of its
 * pages. The last page is always in it. */
void made_pack(struct made_pack *m, struct random *r, uint64_t size, unsigned share);
/* Makes the file and the profile again, from the extents and segments as they are now. */
void made_pack_again(struct made_pack *m);
void made_pack_free(struct made_pack *m);

#endif
