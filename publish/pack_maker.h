/* Making boot packs: compresses the pages of an image in a store, and puts the pack there. Uses
 * threads; one call at a time in a process. */
#ifndef PUBLISH_PACK_MAKER_H
#define PUBLISH_PACK_MAKER_H

#include "format/pack.h"
#include "publish/store.h"

#define PACK_LEVEL_DEFAULT 19 /* made once, sent at every boot */

/* extents: of pages, in order of use; they must be right. Writes the pack durably, and sets *out. A
 * pack that is there already, and good, is left as it is. cancel_request() ends it: -EINTR. */
int pack_make(struct store *s, const struct tree *image, const struct pack_extent *extents,
	uint32_t extent_count, int level, struct profile *out, struct err *e);

#endif
