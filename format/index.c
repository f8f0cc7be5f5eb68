/* The builder holds one open node per level. An entry that goes into a level may close its node;
 * the closed node's own entry goes into the level above, and so on. The first closed node of a
 * level waits there until a second one follows: where none does, it is the root, and nothing above
 * it was ever made. A hole waits for what follows it, so that adjacent holes become one entry
 * wherever a node would have ended. */
#include "format/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static const uint8_t magic[4] = {'I', 'B', 'N', '1'};

static int check_entry(const struct index_entry *entry, unsigned level, uint32_t i, struct err *e)
{
	bool hole = hash_is_hole(&entry->hash);

	if (!entry->length)
		return err_set(e, -EINVAL, "index entry %u has no length", i);
	if (level && hole)
		return err_set(e, -EINVAL, "index entry %u of a level %u node is a hole", i, level);
	if (!level && !hole && entry->length > INDEX_CHUNK_MAX)
		return err_set(e, -EINVAL, "index entry %u is a chunk of %llu bytes, more than %u",
			i, (unsigned long long)entry->length, INDEX_CHUNK_MAX);
	return 0;
}

int index_node_open(struct index_node *out, const void *data, size_t len, unsigned level,
	uint64_t span, struct err *e)
{
	static const uint8_t zeros[3];
	const uint8_t *p = data;
	struct index_node n = {.level = level};
	int r;

	if (len < INDEX_NODE_HEAD || len > INDEX_NODE_MAX || memcmp(p, magic, sizeof(magic)) != 0)
		return err_set(e, -EINVAL, "not an index node (%zu bytes)", len);
	if (p[4] != level || memcmp(p + 5, zeros, sizeof(zeros)) != 0)
		return err_set(e, -EINVAL, "index node of level %u where level %u was expected",
			p[4], level);
	n.count = load_le32(p + 8);
	if (!n.count || n.count > INDEX_NODE_ENTRIES)
		return err_set(e, -EINVAL, "index node of %u entries: 1 to %u are possible",
			n.count, INDEX_NODE_ENTRIES);
	if (len != INDEX_NODE_HEAD + (size_t)n.count * INDEX_ENTRY_LEN)
		return err_set(e, -EINVAL, "index node of %u entries has %zu bytes", n.count, len);
	n.entries = p + INDEX_NODE_HEAD;

	for (uint32_t i = 0; i < n.count; i++) {
		struct index_entry entry;

		index_node_entry(&n, i, &entry);
		r = check_entry(&entry, level, i, e);
		if (r < 0)
			return r;
		if (__builtin_add_overflow(n.span, entry.length, &n.span))
			return err_set(e, -EINVAL, "the lengths of an index node overflow");
	}
	if (n.span != span)
		return err_set(e, -EINVAL, "index node spans %llu bytes where %llu were expected",
			(unsigned long long)n.span, (unsigned long long)span);
	*out = n;
	return 0;
}

void index_node_entry(const struct index_node *n, uint32_t i, struct index_entry *out)
{
	const uint8_t *p = n->entries + (size_t)i * INDEX_ENTRY_LEN;

	out->length = load_le64(p);
	memcpy(out->hash.bytes, p + 8, HASH_LEN);
}

uint32_t index_node_find(const struct index_node *n, uint64_t offset, uint64_t *start)
{
	uint64_t at = 0;
	uint32_t i;

	for (i = 0; i + 1 < n->count; i++) {
		uint64_t length = load_le64(n->entries + (size_t)i * INDEX_ENTRY_LEN);

		if (offset - at < length)
			break;
		at += length;
	}
	*start = at;
	return i;
}

struct level {
	uint8_t *node; /* INDEX_NODE_MAX bytes, or NULL where the level was not reached */
	uint32_t count;
	uint64_t span;
	struct index_entry first; /* the first closed node, while it is the only one */
	uint64_t closed;          /* nodes */
};

struct index_builder {
	index_emit emit;
	void *context;
	struct level levels[MANIFEST_DEPTH_MAX];
	uint64_t hole; /* bytes of the hole that waits */
	uint64_t size, entries;
	int failed; /* an error ends the build: the same again for all later calls */
};

struct index_builder *index_builder_new(index_emit emit, void *context)
{
	struct index_builder *b = calloc(1, sizeof(*b));

	if (b) {
		b->emit = emit;
		b->context = context;
	}
	return b;
}

static bool closes(const struct index_entry *entry)
{
	const uint8_t *h = entry->hash.bytes;

	return !hash_is_hole(&entry->hash) && !h[31] && !(h[30] & 3);
}

/* Emits the open node of a level; *entry becomes what stands for it above. */
static int emit_node(
	struct index_builder *b, unsigned number, struct index_entry *entry, struct err *e)
{
	struct level *l = &b->levels[number];
	int r;

	memcpy(l->node, magic, sizeof(magic));
	l->node[4] = number;
	memset(l->node + 5, 0, 3);
	store_le32(l->node + 8, l->count);
	entry->length = l->span;
	r = b->emit(b->context, l->node, INDEX_NODE_HEAD + (size_t)l->count * INDEX_ENTRY_LEN,
		&entry->hash, e);
	if (r < 0)
		return r;
	l->count = 0;
	l->span = 0;
	l->closed++;
	return 0;
}

static int add_at(
	struct index_builder *b, unsigned number, const struct index_entry *entry, struct err *e);

/* Closes the open node of a level and hands it to the level above, once it is clear that there is
 * one. */
static int close_node(struct index_builder *b, unsigned number, struct err *e)
{
	struct level *l = &b->levels[number];
	struct index_entry entry;
	int r;

	r = emit_node(b, number, &entry, e);
	if (r < 0)
		return r;
	if (l->closed == 1) {
		l->first = entry;
		return 0;
	}
	if (l->closed == 2) {
		r = add_at(b, number + 1, &l->first, e);
		if (r < 0)
			return r;
	}
	return add_at(b, number + 1, &entry, e);
}

static int add_at(
	struct index_builder *b, unsigned number, const struct index_entry *entry, struct err *e)
{
	struct level *l;
	uint8_t *p;

	if (number == MANIFEST_DEPTH_MAX)
		return err_set(e, -EFBIG, "the image needs more than %u levels of index",
			MANIFEST_DEPTH_MAX);
	l = &b->levels[number];
	if (!l->node) {
		l->node = malloc(INDEX_NODE_MAX);
		if (!l->node)
			return err_set(e, -ENOMEM, "no memory for the index");
	}
	p = l->node + INDEX_NODE_HEAD + (size_t)l->count * INDEX_ENTRY_LEN;
	store_le64(p, entry->length);
	memcpy(p + 8, entry->hash.bytes, HASH_LEN);
	l->count++;
	l->span += entry->length; /* at most MANIFEST_SIZE_MAX in all: index_builder_add() */
	if (closes(entry) || l->count == INDEX_NODE_ENTRIES)
		return close_node(b, number, e);
	return 0;
}

static int add_leaf(struct index_builder *b, const struct index_entry *entry, struct err *e)
{
	b->entries++;
	return add_at(b, 0, entry, e);
}

static int flush_hole(struct index_builder *b, struct err *e)
{
	struct index_entry entry = {.length = b->hole};

	if (!b->hole)
		return 0;
	b->hole = 0;
	return add_leaf(b, &entry, e);
}

static int add(struct index_builder *b, const struct index_entry *entry, struct err *e)
{
	int r;

	r = check_entry(entry, 0, 0, e);
	if (r < 0)
		return r;
	if (entry->length > MANIFEST_SIZE_MAX - b->size)
		return err_set(e, -EFBIG, "an image of more than %llu bytes", MANIFEST_SIZE_MAX);
	b->size += entry->length;
	if (hash_is_hole(&entry->hash)) {
		b->hole += entry->length;
		return 0;
	}
	r = flush_hole(b, e);
	if (r < 0)
		return r;
	return add_leaf(b, entry, e);
}

int index_builder_add(struct index_builder *b, const struct index_entry *entry, struct err *e)
{
	int r;

	if (b->failed)
		return err_set(e, b->failed, "the index has failed before");
	r = add(b, entry, e);
	if (r < 0)
		b->failed = r;
	return r;
}

/* Closes what is open from the bottom up, until a level has closed only one node in all: the root.
 */
static int finish(struct index_builder *b, struct tree *tree, struct err *e)
{
	int r;

	r = flush_hole(b, e);
	if (r < 0)
		return r;
	if (!b->entries)
		return err_set(e, -EINVAL, "an empty image has no index");
	for (unsigned number = 0; number < MANIFEST_DEPTH_MAX; number++) {
		struct level *l = &b->levels[number];

		if (l->count) {
			r = close_node(b, number, e);
			if (r < 0)
				return r;
		}
		if (l->closed == 1) {
			tree->root = l->first.hash;
			tree->depth = number + 1;
			tree->size = b->size;
			return 0;
		}
	}
	return err_set(
		e, -EFBIG, "the image needs more than %u levels of index", MANIFEST_DEPTH_MAX);
}

int index_builder_finish(
	struct index_builder *b, struct tree *tree, uint64_t *entries, struct err *e)
{
	int r;

	if (b->failed)
		return err_set(e, b->failed, "the index has failed before");
	r = finish(b, tree, e);
	b->failed = r < 0 ? r : -EINVAL; /* finished: nothing can be added any more */
	if (r < 0)
		return r;
	*entries = b->entries;
	return 0;
}

void index_builder_free(struct index_builder *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < MANIFEST_DEPTH_MAX; i++)
		free(b->levels[i].node);
	free(b);
}
