/* A tree of a store (an image, a kernel, an initrd) as a source: walks the index, reads chunks, fills holes with zeros. */
#ifndef DISK_STORE_H
#define DISK_STORE_H

#include "disk/blocks.h"
#include "disk/source.h"
#include "format/manifest.h"

/* blocks is borrowed and must outlive the source. */
int store_source_open(struct source **out, struct blocks *blocks, const struct tree *tree, struct err *e);

typedef int (*store_visit)(void *context, uint64_t offset, const struct hash *hash, uint32_t len, struct err *e);

/* Calls `visit` for every chunk of [offset, offset + len) of a tree, a range inside it, but for holes. Stops at the first result that is not 0
 * and returns it. */
int store_visit_range(struct blocks *blocks, const struct tree *tree, uint64_t offset, uint64_t len, store_visit visit, void *context,
	struct err *e);

#define STORE_WALK_NODES (1 << 17) /* 6 MB to remember them; as many as 5 TB of image have */

/* Calls `visit` for every chunk of a tree in disk order, but for holes and what index nodes list that were gone through before. So a chunk
 * that stands twice may be visited once or twice. Stops at the first result that is not 0 and returns it; -EFBIG for a tree with
 * more than STORE_WALK_NODES different nodes. One thread. */
int store_walk(struct blocks *blocks, const struct tree *tree, store_visit visit, void *context, struct err *e);

#endif
