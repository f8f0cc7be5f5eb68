/* Reading what a store's index trees say, in the store's own folder: for gc, verify, and looking
 * into what was just published. No caching, no network. */
#ifndef PUBLISH_TREE_H
#define PUBLISH_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash_set.h"
#include "format/index.h"

struct tree_visitor {
	/* A node, before it is loaded. May be NULL. 0 or -errno. */
	int (*node)(void *context, const struct hash *hash, struct err *e);
	/* A chunk (holes are left out). 0 or -errno. */
	int (*chunk)(void *context, const struct index_entry *entry, struct err *e);
	/* A node that is missing or bad; what is below it is left out. Returns 0 to go on. NULL:
	 * such a node ends the walk. */
	int (*broken)(void *context, const struct hash *hash, const struct err *why, struct err *e);
	void *context;
	/* Nodes that earlier walks with this set have met are left out with all below them; NULL:
	 * every one is visited. */
	struct hash_set *met;
};

/* Visits all nodes and chunks of a tree, parents first. */
int tree_walk(int store_fd, const struct tree *tree, const struct tree_visitor *v, struct err *e);

/* Reads len bytes at offset of what the tree holds; the range must lie inside tree->size. */
int tree_read(int store_fd, const struct tree *tree, void *buf, size_t len, uint64_t offset,
	struct err *e);

/* Goes through the entries of a tree's lowest level, chunks and holes, one at a time. */
struct tree_cursor;
int tree_cursor_open(
	struct tree_cursor **out, int store_fd, const struct tree *tree, struct err *e);
int tree_cursor_next(struct tree_cursor *c, struct index_entry *out, struct err *e); /* 1; 0: the end */
void tree_cursor_close(struct tree_cursor *c); /* NULL is fine */

/* The key for a set of things that are a block and its uncompressed length: equal hashes with
 * unequal lengths are two things, as one of them must be wrong. */
void tree_key(struct hash *out, const struct hash *hash, uint64_t length);

#endif
