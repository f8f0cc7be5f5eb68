/* Walking index trees: see tree.h. */
#include "publish/tree.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/block.h"
#include "publish/block_files.h"

void tree_key(struct hash *out, const struct hash *hash, uint64_t length)
{
	uint64_t le = htole64(length);

	*out = *hash;
	for (size_t i = 0; i < sizeof(le); i++)
		out->bytes[i] ^= ((uint8_t *)&le)[i];
}

static int load_node(int fd, const struct hash *hash, unsigned level, uint64_t span,
	struct buf *data, struct index_node *out, struct err *e)
{
	char hex[HASH_HEX_MAX];
	int r = block_file_load(fd, hash, 0, data, NULL, e);

	if (!r)
		r = index_node_open(out, data->data, data->len, level, span, e);
	hash_hex(hash, hex);
	return r < 0 ? err_add(e, "index node %.16s...", hex) : 0;
}

static int walk_node(int fd, const struct hash *hash, unsigned level, uint64_t span,
	const struct tree_visitor *v, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(BLOCK_LEN_MAX);
	struct index_node node;
	struct err why = ERR_INIT;
	struct hash key;
	int r;

	if (v->met) {
		tree_key(&key, hash, span);
		r = hash_set_add(v->met, &key, level);
		if (r <= 0)
			return r < 0 ? err_set(e, r, "no memory for the list of nodes") : 0;
	}
	r = v->node ? v->node(v->context, hash, e) : 0;
	if (r < 0)
		return r;
	r = load_node(fd, hash, level, span, &data, &node, &why);
	if (r < 0)
		return v->broken ? v->broken(v->context, hash, &why, e)
				 : err_set(e, r, "%s", why.text);
	for (uint32_t i = 0; !r && i < node.count; i++) {
		struct index_entry entry;

		index_node_entry(&node, i, &entry);
		if (level)
			r = walk_node(fd, &entry.hash, level - 1, entry.length, v, e);
		else if (!hash_is_hole(&entry.hash))
			r = v->chunk(v->context, &entry, e);
	}
	return r;
}

int tree_walk(int store_fd, const struct tree *tree, const struct tree_visitor *v, struct err *e)
{
	/* The recursion is as deep as the tree, which the manifest's reader bounds by
	 * MANIFEST_DEPTH_MAX. */
	if (!tree->depth || tree->depth > MANIFEST_DEPTH_MAX)
		return err_set(e, -EINVAL, "an index with %u levels", tree->depth);
	return walk_node(store_fd, &tree->root, tree->depth - 1, tree->size, v, e);
}

struct cursor_level {
	struct buf data;
	struct index_node node;
	uint32_t next; /* entry of it */
};

struct tree_cursor {
	int fd;
	unsigned depth;
	struct cursor_level levels[MANIFEST_DEPTH_MAX]; /* below `lowest` they hold nothing to use */
	unsigned lowest;
};

static int load_level(struct tree_cursor *c, unsigned level, const struct index_entry *entry, struct err *e)
{
	struct cursor_level *l = &c->levels[level];

	l->next = 0;
	c->lowest = level;
	return load_node(c->fd, &entry->hash, level, entry->length, &l->data, &l->node, e);
}

int tree_cursor_open(
	struct tree_cursor **out, int store_fd, const struct tree *tree, struct err *e)
{
	struct index_entry root = {.length = tree->size, .hash = tree->root};
	struct tree_cursor *c;
	int r;

	if (!tree->depth || tree->depth > MANIFEST_DEPTH_MAX)
		return err_set(e, -EINVAL, "an index with %u levels", tree->depth);
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, -ENOMEM, "no memory for an index");
	c->fd = store_fd;
	c->depth = tree->depth;
	for (unsigned i = 0; i < MANIFEST_DEPTH_MAX; i++)
		c->levels[i].data = (struct buf)BUF_INIT(BLOCK_LEN_MAX);
	r = load_level(c, tree->depth - 1, &root, e);
	if (r < 0)
		tree_cursor_close(c);
	else
		*out = c;
	return r;
}

int tree_cursor_next(struct tree_cursor *c, struct index_entry *out, struct err *e)
{
	for (;;) {
		struct cursor_level *l = &c->levels[c->lowest];
		int r;

		if (l->next == l->node.count) {
			if (c->lowest + 1 == c->depth)
				return 0;
			c->lowest++;
			continue;
		}
		index_node_entry(&l->node, l->next++, out);
		if (!c->lowest)
			return 1;
		r = load_level(c, c->lowest - 1, out, e);
		if (r < 0)
			return r;
	}
}

void tree_cursor_close(struct tree_cursor *c)
{
	for (unsigned i = 0; c && i < MANIFEST_DEPTH_MAX; i++)
		buf_free(&c->levels[i].data);
	free(c);
}

/* Reads what lies in one chunk; returns how many bytes that was. */
static int64_t read_piece(
	int fd, const struct tree *tree, void *buf, size_t len, uint64_t offset, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(BLOCK_LEN_MAX);
	struct index_entry entry = {.length = tree->size, .hash = tree->root};
	struct index_node node;
	uint64_t start;
	int r;

	for (unsigned level = tree->depth; level-- > 0;) {
		r = load_node(fd, &entry.hash, level, entry.length, &data, &node, e);
		if (r < 0)
			return r;
		index_node_entry(&node, index_node_find(&node, offset, &start), &entry);
		offset -= start;
	}
	if (len > entry.length - offset)
		len = (size_t)(entry.length - offset);
	if (hash_is_hole(&entry.hash)) {
		memset(buf, 0, len);
		return (int64_t)len;
	}
	r = block_file_load(fd, &entry.hash, (size_t)entry.length, &data, NULL, e);
	if (r < 0)
		return r;
	memcpy(buf, data.data + offset, len);
	return (int64_t)len;
}

int tree_read(int store_fd, const struct tree *tree, void *buf, size_t len, uint64_t offset,
	struct err *e)
{
	if (offset > tree->size || len > tree->size - offset)
		return err_set(e, -EINVAL, "a read beyond the end");
	while (len) {
		int64_t n = read_piece(store_fd, tree, buf, len, offset, e);

		if (n < 0)
			return (int)n;
		buf = (uint8_t *)buf + n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}
