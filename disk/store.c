/* The store image source. A walk holds one index node at a time: it copies what it needs to go down, gives the node back and
 * asks for the child. A read goes leaf by leaf; the chunks of one read that follow the first are wanted before the first is
 * waited for, so that they come at the same time.
 *
 * An index is hostile until the opposite is shown. It cannot make a read take for ever: the steps of a read are bounded (steps_for()). A
 * walk over the whole tree goes into each node once, however often it stands in the tree: 8 levels of nodes that name one
 * child 4096 times each are 8 nodes. */
#include "disk/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash_set.h"
#include "format/index.h"

#define STEPS_LEAST 8192 /* two full nodes of the shortest chunks */
#define STEP_BYTES 32	 /* bytes that a step has to bring on average: publishers' chunks have tens of thousands */

struct store_source {
	struct source source;
	struct blocks *blocks;
	struct tree tree;
};

/* Finds the leaf that holds offset. *start: where the leaf begins on the disk. The leaf is held. */
static int find_leaf(struct blocks *b, const struct tree *t, uint64_t offset, struct node *leaf, uint64_t *start, struct err *e)
{
	struct hash hash = t->root;
	uint64_t span = t->size;

	*start = 0;
	for (unsigned level = t->depth; level-- > 0;) {
		uint32_t i;
		int r = blocks_node(b, &hash, level, span, leaf, e);

		if (r < 0)
			return err_add(e, "index of level %u", level);
		if (!level)
			break;
		i = node_find(leaf, offset - *start);
		hash = leaf->hashes[i];
		span = leaf->starts[i + 1] - leaf->starts[i];
		*start += leaf->starts[i];
		blocks_put_node(b, leaf);
	}
	return 0;
}

static uint32_t entry_len(const struct node *n, uint32_t i)
{
	return (uint32_t)(n->starts[i + 1] - n->starts[i]); /* only for chunks: those are ≤ INDEX_CHUNK_MAX */
}

/* False: there is no room for more. */
static bool want_range(struct blocks *b, const struct node *leaf, uint32_t from, uint64_t end, bool background)
{
	for (uint32_t i = from; i < leaf->count && leaf->starts[i] < end; i++)
		if (!hash_is_hole(&leaf->hashes[i]) && !blocks_want(b, &leaf->hashes[i], entry_len(leaf, i), background))
			return false;
	return true;
}

static int read_entry(struct blocks *b, const struct node *leaf, uint32_t i, uint64_t skip, uint8_t *to, size_t len, struct err *e)
{
	const struct memory_block *block;
	int r;

	if (hash_is_hole(&leaf->hashes[i])) {
		memset(to, 0, len);
		return 0;
	}
	r = blocks_chunk(b, &leaf->hashes[i], entry_len(leaf, i), &block, e);
	if (r < 0)
		return r;
	memcpy(to, block->data + skip, len);
	blocks_put(b, block);
	return 0;
}

/* How many nodes and chunks a read may go through. */
static uint64_t steps_for(size_t len)
{
	return STEPS_LEAST + len / STEP_BYTES;
}

static int take_steps(uint64_t *left, unsigned steps, struct err *e)
{
	if (*left < steps)
		return err_set(e, -EBADMSG, "the index cuts this part of the image into pieces of a few bytes: no image is made so");
	*left -= steps;
	return 0;
}

/* Reads what one leaf has of [offset, offset + len), both relative to the leaf. Returns the bytes read. */
static ssize_t read_leaf(struct blocks *b, const struct node *leaf, uint8_t *to, size_t len, uint64_t offset, uint64_t *steps, struct err *e)
{
	uint64_t span = leaf->starts[leaf->count];
	uint32_t i = node_find(leaf, offset);
	size_t done = 0;

	if (len > span - offset)
		len = (size_t)(span - offset);
	want_range(b, leaf, i + 1, offset + len, false);
	for (; done < len; i++) {
		uint64_t skip = offset + done - leaf->starts[i];
		uint64_t have = leaf->starts[i + 1] - leaf->starts[i] - skip;
		size_t part = have < len - done ? (size_t)have : len - done;
		int r = take_steps(steps, 1, e);

		if (!r)
			r = read_entry(b, leaf, i, skip, to + done, part, e);
		if (r < 0)
			return r;
		done += part;
	}
	return (ssize_t)done;
}

static int store_read(struct source *source, void *buf, size_t len, uint64_t offset, struct err *e)
{
	struct store_source *s = (struct store_source *)source;
	uint64_t steps = steps_for(len);
	uint8_t *to = buf;

	while (len) {
		struct node leaf;
		uint64_t start;
		ssize_t n = take_steps(&steps, s->tree.depth, e);

		if (!n)
			n = find_leaf(s->blocks, &s->tree, offset, &leaf, &start, e);
		if (n < 0)
			return (int)n;
		n = read_leaf(s->blocks, &leaf, to, len, offset - start, &steps, e);
		blocks_put_node(s->blocks, &leaf);
		if (n < 0)
			return (int)n;
		to += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static void store_prefetch(struct source *source, uint64_t offset, uint64_t len)
{
	struct store_source *s = (struct store_source *)source;

	for (uint64_t end = offset + len; offset < end;) {
		struct node leaf;
		uint64_t start;
		bool room;

		if (find_leaf(s->blocks, &s->tree, offset, &leaf, &start, NULL) < 0)
			return;
		room = want_range(s->blocks, &leaf, node_find(&leaf, offset - start), end - start, true);
		offset = start + leaf.starts[leaf.count];
		blocks_put_node(s->blocks, &leaf);
		if (!room)
			return;
	}
}

/* What one leaf tells, by entries of the same kind that follow each other. */
static int store_extent(struct source *source, uint64_t offset, uint64_t len, struct extent *out, struct err *e)
{
	struct store_source *s = (struct store_source *)source;
	struct node leaf;
	uint64_t start;
	uint32_t i;
	int r = find_leaf(s->blocks, &s->tree, offset, &leaf, &start, e);

	if (r < 0)
		return r;
	i = node_find(&leaf, offset - start);
	out->hole = hash_is_hole(&leaf.hashes[i]);
	while (i < leaf.count && hash_is_hole(&leaf.hashes[i]) == out->hole && leaf.starts[i] < offset - start + len)
		i++;
	out->len = leaf.starts[i] - (offset - start);
	if (out->len > len)
		out->len = len;
	blocks_put_node(s->blocks, &leaf);
	return 0;
}

static void store_status(struct source *source, json_t *out)
{
	blocks_status(((struct store_source *)source)->blocks, out);
}

static void store_cancel(struct source *source)
{
	blocks_cancel(((struct store_source *)source)->blocks);
}

static void store_close(struct source *source)
{
	free(source);
}

static const struct source_ops store_ops = {
	.name = "store",
	.read = store_read,
	.prefetch = store_prefetch,
	.extent = store_extent,
	.status = store_status,
	.cancel = store_cancel,
	.close = store_close,
};

int store_source_open(struct source **out, struct blocks *blocks, const struct tree *tree, struct err *e)
{
	struct store_source *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "no memory for an image");
	s->source = (struct source){.ops = &store_ops, .size = tree->size};
	s->blocks = blocks;
	s->tree = *tree;
	*out = &s->source;
	return 0;
}

int store_visit_range(struct blocks *blocks, const struct tree *tree, uint64_t offset, uint64_t len, store_visit visit, void *context,
	struct err *e)
{
	uint64_t end = offset + len, start;
	int r = 0;

	while (!r && offset < end) {
		struct node leaf;

		r = find_leaf(blocks, tree, offset, &leaf, &start, e);
		if (r < 0)
			return r;
		for (uint32_t i = node_find(&leaf, offset - start); !r && i < leaf.count && start + leaf.starts[i] < end; i++)
			if (!hash_is_hole(&leaf.hashes[i]))
				r = visit(context, start + leaf.starts[i], &leaf.hashes[i], entry_len(&leaf, i), e);
		offset = start + leaf.starts[leaf.count];
		blocks_put_node(blocks, &leaf);
	}
	return r;
}

struct walk {
	struct blocks *blocks;
	const struct tree *tree;
	struct hash_set nodes; /* into which it went */
};

/* 1: not seen before; 0: seen. */
static int note_node(struct walk *w, const struct hash *hash, struct err *e)
{
	int r;

	if (w->nodes.count == STORE_WALK_NODES)
		return err_set(e, -EFBIG, "the index has more than %d nodes: that is more than this can go through", STORE_WALK_NODES);
	r = hash_set_add(&w->nodes, hash, 0);
	return r < 0 ? err_set(e, r, "no memory to go through the index") : r;
}

/* Finds the next leaf from *offset on. 1: it is held, and begins at *start; 0: *offset is behind a node that was gone through
 * before. */
static int next_leaf(struct walk *w, uint64_t *offset, struct node *leaf, uint64_t *start, struct err *e)
{
	struct hash hash = w->tree->root;
	uint64_t span = w->tree->size;

	*start = 0;
	for (unsigned level = w->tree->depth; level-- > 0;) {
		uint32_t i;
		int r = *offset == *start ? note_node(w, &hash, e) : 1; /* at its beginning it is new to us; behind it we are in it */

		if (!r)
			*offset = *start + span;
		else if (r > 0)
			r = blocks_node(w->blocks, &hash, level, span, leaf, e);
		if (r < 0)
			return err_add(e, "index of level %u", level);
		if (*offset == *start + span)
			return 0;
		if (!level)
			return 1;
		i = node_find(leaf, *offset - *start);
		hash = leaf->hashes[i];
		span = leaf->starts[i + 1] - leaf->starts[i];
		*start += leaf->starts[i];
		blocks_put_node(w->blocks, leaf);
	}
	return 0;
}

static int walk(struct walk *w, store_visit visit, void *context, struct err *e)
{
	uint64_t offset = 0, start;
	int r = 0;

	while (!r && offset < w->tree->size) {
		struct node leaf;

		r = next_leaf(w, &offset, &leaf, &start, e);
		if (r <= 0)
			continue;
		r = 0;
		for (uint32_t i = 0; !r && i < leaf.count; i++)
			if (!hash_is_hole(&leaf.hashes[i]))
				r = visit(context, start + leaf.starts[i], &leaf.hashes[i], entry_len(&leaf, i), e);
		offset = start + leaf.starts[leaf.count];
		blocks_put_node(w->blocks, &leaf);
	}
	return r;
}

int store_walk(struct blocks *blocks, const struct tree *tree, store_visit visit, void *context, struct err *e)
{
	struct walk w = {.blocks = blocks, .tree = tree};
	int r = walk(&w, visit, context, e);

	hash_set_free(&w.nodes);
	return r;
}
