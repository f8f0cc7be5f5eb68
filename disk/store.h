/* A tree of a store (an image, a kernel, an initrd) as a source: walks the index, reads chunks, fills holes with zeros. */
#ifndef DISK_STORE_H
#define DISK_STORE_H

#include "disk/blocks.h"
#include "disk/source.h"
#include "format/manifest.h"

/* blocks is borrowed and must outlive the source. */
int store_source_open(struct source **out, struct blocks *blocks, const struct tree *tree, struct err *e);

/* Calls `visit` for every chunk of a tree in disk order (holes excepted; a chunk that stands twice is visited twice). Stops at the first
 * result that is not 0 and returns it. One thread. */
typedef int (*store_visit)(void *context, const struct hash *hash, uint32_t len, struct err *e);
int store_walk(struct blocks *blocks, const struct tree *tree, store_visit visit, void *context, struct err *e);

#endif
