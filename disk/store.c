/* The store image source. A walk holds one index node at a time: it copies what it needs to go down, gives the node back and
 * asks for the child. A read goes leaf by leaf; the chunks of one read that follow the first are wanted before the first is
 * waited for, so that they come at the same time. */
#include "disk/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/index.h"

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

static void want_range(struct blocks *b, const struct node *leaf, uint32_t from, uint64_t end, bool background)
{
	for (uint32_t i = from; i < leaf->count && leaf->starts[i] < end; i++)
		if (!hash_is_hole(&leaf->hashes[i]))
			blocks_want(b, &leaf->hashes[i], entry_len(leaf, i), background);
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

/* Reads what one leaf has of [offset, offset + len), both relative to the leaf. Returns the bytes read. */
static ssize_t read_leaf(struct blocks *b, const struct node *leaf, uint8_t *to, size_t len, uint64_t offset, struct err *e)
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
		int r = read_entry(b, leaf, i, skip, to + done, part, e);

		if (r < 0)
			return r;
		done += part;
	}
	return (ssize_t)done;
}

static int store_read(struct source *source, void *buf, size_t len, uint64_t offset, struct err *e)
{
	struct store_source *s = (struct store_source *)source;
	uint8_t *to = buf;

	while (len) {
		struct node leaf;
		uint64_t start;
		ssize_t n = find_leaf(s->blocks, &s->tree, offset, &leaf, &start, e);

		if (n < 0)
			return (int)n;
		n = read_leaf(s->blocks, &leaf, to, len, offset - start, e);
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

		if (find_leaf(s->blocks, &s->tree, offset, &leaf, &start, NULL) < 0)
			return;
		want_range(s->blocks, &leaf, node_find(&leaf, offset - start), end - start, true);
		offset = start + leaf.starts[leaf.count];
		blocks_put_node(s->blocks, &leaf);
	}
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

int store_walk(struct blocks *blocks, const struct tree *tree, store_visit visit, void *context, struct err *e)
{
	int r = 0;

	for (uint64_t offset = 0; !r && offset < tree->size;) {
		struct node leaf;
		uint64_t start;

		r = find_leaf(blocks, tree, offset, &leaf, &start, e);
		if (r < 0)
			return r;
		for (uint32_t i = 0; !r && i < leaf.count; i++)
			if (!hash_is_hole(&leaf.hashes[i]))
				r = visit(context, &leaf.hashes[i], entry_len(&leaf, i), e);
		offset = start + leaf.starts[leaf.count];
		blocks_put_node(blocks, &leaf);
	}
	return r;
}
