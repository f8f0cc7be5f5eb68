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

/* Has this page of the image other bytes than the image before? 1, 0, or -errno. One thread. */
typedef int (*pack_changed)(void *context, uint64_t page, struct err *e);

/* Makes a pack with the pages of an image's pack for another image of the same size, and with what they hold there. Segments in which no page
 * changed are taken over as they are. Else as pack_make(); -ENOENT, -EBADMSG where the old pack is not there, or damaged. */
int pack_remake(struct store *s, const struct profile *old, const struct tree *image,
	pack_changed changed, void *context, int level, struct profile *out, struct err *e);

#endif
