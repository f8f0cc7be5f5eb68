/* Index nodes: every check of the reader; the builder against a reader that walks its tree; and
 * that the nodes are content-defined. */
#include "random.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "format/index.h"

/* A store in memory. */
struct node {
	struct hash hash;
	uint8_t *data;
	size_t len;
};

struct store {
	struct node *nodes;
	size_t count, room;
	size_t fail_at; /* emit fails at this node; 0: never */
};

static int store_put(void *context, const void *node, size_t len, struct hash *hash, struct err *e)
{
	struct store *s = context;

	if (s->fail_at && s->count + 1 == s->fail_at)
		return err_set(e, -ENOSPC, "disk full");
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->nodes = realloc(s->nodes, s->room * sizeof(*s->nodes));
	}
	hash_of(hash, node, len);
	s->nodes[s->count].hash = *hash;
	s->nodes[s->count].data = malloc(len);
	s->nodes[s->count].len = len;
	memcpy(s->nodes[s->count++].data, node, len);
	return 0;
}

static const struct node *store_get(const struct store *s, const struct hash *h)
{
	for (size_t i = s->count; i--;)
		if (hash_equal(&s->nodes[i].hash, h))
			return &s->nodes[i];
	return NULL;
}

static void store_free(struct store *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->nodes[i].data);
	free(s->nodes);
}

#define _cleanup_store_ _cleanup_(store_free)

struct list {
	struct index_entry *entries;
	size_t count;
};

static void list_free(struct list *l)
{
	free(l->entries);
}

#define _cleanup_list_ _cleanup_(list_free)

static struct list list_random(struct random *r, size_t count)
{
	struct list l = {calloc(count, sizeof(struct index_entry)), count};

	for (size_t i = 0; i < count; i++) {
		l.entries[i].length = 1 + random_below(r, INDEX_CHUNK_MAX);
		if (i % 7 != 3) /* each seventh is a hole, never two in a row */
			random_fill(r, &l.entries[i].hash, HASH_LEN);
	}
	return l;
}

static void build(struct store *s, const struct list *l, struct tree *tree)
{
	struct index_builder *b = index_builder_new(store_put, s);
	struct err e = ERR_INIT;
	uint64_t entries;

	for (size_t i = 0; i < l->count; i++)
		assert_int_equal(index_builder_add(b, &l->entries[i], &e), 0);
	if (index_builder_finish(b, tree, &entries, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(entries, l->count);
	index_builder_free(b);
}

/* Follows the tree as a reader does and appends its leaves to out. */
static void walk(const struct store *s, const struct hash *h, unsigned level, uint64_t span,
	struct list *out)
{
	const struct node *node = store_get(s, h);
	struct index_node n;
	struct err e = ERR_INIT;

	assert_non_null(node);
	if (index_node_open(&n, node->data, node->len, level, span, &e) < 0)
		fail_msg("%s", e.text);
	for (uint32_t i = 0; i < n.count; i++) {
		struct index_entry entry;

		index_node_entry(&n, i, &entry);
		if (level)
			walk(s, &entry.hash, level - 1, entry.length, out);
		else
			out->entries[out->count++] = entry;
	}
}

static void test_random_lists_round_trip(void **state)
{
	static const size_t counts[] = {1, 2, 3, 100, 4095, 4096, 4097, 30000, 120000};
	struct random r = random_start(9);

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		_cleanup_list_ struct list l = list_random(&r, counts[i]);
		_cleanup_list_ struct list back = {
			calloc(counts[i], sizeof(struct index_entry)), 0};
		_cleanup_store_ struct store s = {0};
		struct tree tree;

		build(&s, &l, &tree);
		walk(&s, &tree.root, tree.depth - 1, tree.size, &back);
		assert_int_equal(back.count, l.count);
		for (size_t k = 0; k < l.count; k++) {
			assert_true(back.entries[k].length == l.entries[k].length);
			assert_true(hash_equal(&back.entries[k].hash, &l.entries[k].hash));
		}
		print_message("%zu entries: %zu nodes, depth %u\n", l.count, s.count, tree.depth);
	}
}

/* One entry more in the middle: its node, perhaps that one's neighbour, and their parents are new;
 * the rest is shared. */
static void test_nodes_are_content_defined(void **state)
{
	struct random r = random_start(10);
	_cleanup_list_ struct list old = list_random(&r, 100000);
	_cleanup_store_ struct store before = {0};
	struct tree tree;

	build(&before, &old, &tree);
	assert_true(before.count > 50);
	for (int round = 0; round < 5; round++) {
		_cleanup_list_ struct list new = {
			calloc(old.count + 1, sizeof(struct index_entry)), old.count + 1};
		_cleanup_store_ struct store after = {0};
		size_t where = 7 * random_below(&r, old.count / 7), fresh = 0;

		memcpy(new.entries, old.entries, where * sizeof(struct index_entry));
		new.entries[where].length = 1;
		random_fill(&r, &new.entries[where].hash, HASH_LEN);
		memcpy(new.entries + where + 1, old.entries + where,
			(old.count - where) * sizeof(struct index_entry));
		build(&after, &new, &tree);
		for (size_t i = 0; i < after.count; i++)
			fresh += !store_get(&before, &after.nodes[i].hash);
		print_message("%zu of %zu nodes are new\n", fresh, after.count);
		assert_in_range(fresh, 1, 8);
	}
}

static void entry_named(struct index_entry *entry, uint64_t length, uint8_t last,
	uint8_t last_but_one, uint32_t number)
{
	memset(entry, 0, sizeof(*entry));
	entry->length = length;
	memcpy(entry->hash.bytes, &number, sizeof(number));
	entry->hash.bytes[0] |= 0x80; /* never a hole */
	entry->hash.bytes[30] = last_but_one;
	entry->hash.bytes[31] = last;
}

/* Ten zero bits close a node, nine do not. */
static void test_where_nodes_close(void **state)
{
	_cleanup_store_ struct store s = {0};
	struct list l = {calloc(6, sizeof(struct index_entry)), 6};
	struct tree tree;
	struct index_node n;

	entry_named(&l.entries[0], 10, 0, 2, 0);
	entry_named(&l.entries[1], 20, 1, 0, 1);
	entry_named(&l.entries[2], 30, 0, 4, 2); /* closes */
	entry_named(&l.entries[3], 40, 0, 1, 3);
	entry_named(&l.entries[4], 50, 0, 0, 4); /* closes */
	entry_named(&l.entries[5], 60, 0x80, 0, 5);
	build(&s, &l, &tree);
	assert_int_equal(s.count, 4);
	assert_int_equal(tree.depth, 2);
	assert_int_equal(tree.size, 210);
	assert_int_equal(index_node_open(&n, s.nodes[0].data, s.nodes[0].len, 0, 60, NULL), 0);
	assert_int_equal(n.count, 3);
	assert_int_equal(index_node_open(&n, s.nodes[1].data, s.nodes[1].len, 0, 90, NULL), 0);
	assert_int_equal(index_node_open(&n, s.nodes[2].data, s.nodes[2].len, 0, 60, NULL), 0);
	assert_int_equal(index_node_open(&n, s.nodes[3].data, s.nodes[3].len, 1, 210, NULL), 0);
	assert_int_equal(n.count, 3);
	free(l.entries);
}

/* A node that closes with the last entry is the root; no level stands above a single node. */
static void test_last_entry_closes(void **state)
{
	_cleanup_store_ struct store s = {0};
	struct list l = {calloc(2, sizeof(struct index_entry)), 2};
	struct tree tree;

	entry_named(&l.entries[0], 10, 1, 0, 0);
	entry_named(&l.entries[1], 20, 0, 0, 1);
	build(&s, &l, &tree);
	assert_int_equal(s.count, 1);
	assert_int_equal(tree.depth, 1);
	assert_true(hash_equal(&tree.root, &s.nodes[0].hash));
	free(l.entries);
}

/* The same chunk again and again, one that closes nodes each time: nodes of one entry. */
static void test_every_entry_closes(void **state)
{
	_cleanup_store_ struct store s = {0};
	_cleanup_list_ struct list back = {calloc(10000, sizeof(struct index_entry)), 0};
	struct list l = {calloc(10000, sizeof(struct index_entry)), 10000};
	struct tree tree;

	for (size_t i = 0; i < l.count; i++)
		entry_named(&l.entries[i], 4096, 0, 0, 7);
	build(&s, &l, &tree);
	walk(&s, &tree.root, tree.depth - 1, tree.size, &back);
	assert_int_equal(back.count, l.count);
	free(l.entries);
}

static void test_holes_merge(void **state)
{
	_cleanup_store_ struct store s = {0};
	struct index_builder *b = index_builder_new(store_put, &s);
	_cleanup_list_ struct list back = {
		calloc(2 * INDEX_NODE_ENTRIES, sizeof(struct index_entry)), 0};
	struct index_entry hole = {.length = 1ULL << 40}, small_hole = {.length = 1}, chunk;
	uint64_t entries;
	struct tree tree;

	for (uint32_t i = 0; i < INDEX_NODE_ENTRIES - 1; i++) {
		entry_named(&chunk, 5, 1, 1, i);
		assert_int_equal(index_builder_add(b, &chunk, NULL), 0);
	}
	/* where the node is full: still one entry */
	assert_int_equal(index_builder_add(b, &hole, NULL), 0);
	assert_int_equal(index_builder_add(b, &small_hole, NULL), 0);
	assert_int_equal(index_builder_add(b, &hole, NULL), 0);
	assert_int_equal(index_builder_add(b, &chunk, NULL), 0);
	assert_int_equal(index_builder_add(b, &hole, NULL), 0);
	assert_int_equal(index_builder_finish(b, &tree, &entries, NULL), 0);
	assert_int_equal(entries, INDEX_NODE_ENTRIES + 2);
	index_builder_free(b);
	walk(&s, &tree.root, tree.depth - 1, tree.size, &back);
	assert_int_equal(back.count, entries);
	assert_true(hash_is_hole(&back.entries[INDEX_NODE_ENTRIES - 1].hash));
	assert_true(back.entries[INDEX_NODE_ENTRIES - 1].length == (2ULL << 40) + 1);
	assert_true(back.entries[INDEX_NODE_ENTRIES + 1].length == 1ULL << 40);
}

static void test_only_a_hole(void **state)
{
	_cleanup_store_ struct store s = {0};
	struct index_builder *b = index_builder_new(store_put, &s);
	struct index_entry hole = {.length = MANIFEST_SIZE_MAX};
	uint64_t entries;
	struct tree tree;

	assert_int_equal(index_builder_add(b, &hole, NULL), 0);
	assert_int_equal(index_builder_finish(b, &tree, &entries, NULL), 0);
	assert_int_equal(entries, 1);
	assert_int_equal(tree.depth, 1);
	assert_true(tree.size == MANIFEST_SIZE_MAX);
	index_builder_free(b);
}

static void test_builder_refuses(void **state)
{
	_cleanup_store_ struct store s = {0};
	struct index_entry entry = {.length = MANIFEST_SIZE_MAX};
	struct index_builder *b = index_builder_new(store_put, &s);
	struct err e = ERR_INIT;
	struct tree tree;
	uint64_t entries;

	assert_int_equal(index_builder_finish(b, &tree, &entries, &e), -EINVAL);
	assert_non_null(strstr(e.text, "empty"));
	index_builder_free(b);

	b = index_builder_new(store_put, &s);
	assert_int_equal(index_builder_add(b, &entry, &e), 0);
	entry.length = 1;
	assert_int_equal(index_builder_add(b, &entry, &e), -EFBIG);
	assert_int_equal(index_builder_finish(b, &tree, &entries, &e),
		-EFBIG); /* an error is not forgotten */
	index_builder_free(b);

	b = index_builder_new(store_put, &s);
	entry.length = 0;
	assert_int_equal(index_builder_add(b, &entry, &e), -EINVAL);
	index_builder_free(b);

	b = index_builder_new(store_put, &s);
	entry_named(&entry, INDEX_CHUNK_MAX + 1, 1, 1, 1);
	assert_int_equal(index_builder_add(b, &entry, &e), -EINVAL);
	index_builder_free(b);
	index_builder_free(NULL);
}

static void test_a_failing_store_ends_the_build(void **state)
{
	_cleanup_store_ struct store s = {.fail_at = 2};
	struct index_builder *b = index_builder_new(store_put, &s);
	struct err e = ERR_INIT;
	struct index_entry entry;
	struct tree tree;
	uint64_t entries;
	int r = 0;

	for (uint32_t i = 0; !r && i < 3 * INDEX_NODE_ENTRIES; i++) {
		entry_named(&entry, 1, 1, 1, i);
		r = index_builder_add(b, &entry, &e);
	}
	assert_int_equal(r, -ENOSPC);
	assert_string_equal(e.text, "disk full");
	s.fail_at = 0;
	assert_int_equal(index_builder_finish(b, &tree, &entries, &e), -ENOSPC);
	index_builder_free(b);
}

/* A node of two entries, for the reader's checks: 100 bytes of chunk, 200 bytes of hole. */
static size_t small_node(uint8_t node[INDEX_NODE_HEAD + 2 * INDEX_ENTRY_LEN])
{
	memset(node, 0, INDEX_NODE_HEAD + 2 * INDEX_ENTRY_LEN);
	memcpy(node, "IBN1", 4);
	node[8] = 2;
	node[12] = 100;
	node[12 + 8] = 0xaa;
	node[52] = 200;
	return INDEX_NODE_HEAD + 2 * INDEX_ENTRY_LEN;
}

static void test_reader_accepts(void **state)
{
	uint8_t node[92];
	size_t len = small_node(node);
	struct index_entry entry;
	struct index_node n;
	uint64_t start;

	assert_int_equal(index_node_open(&n, node, len, 0, 300, NULL), 0);
	assert_int_equal(n.count, 2);
	assert_int_equal(n.span, 300);
	index_node_entry(&n, 0, &entry);
	assert_int_equal(entry.length, 100);
	assert_int_equal(entry.hash.bytes[0], 0xaa);
	index_node_entry(&n, 1, &entry);
	assert_true(hash_is_hole(&entry.hash));
	assert_int_equal(index_node_find(&n, 0, &start), 0);
	assert_int_equal(start, 0);
	assert_int_equal(index_node_find(&n, 99, &start), 0);
	assert_int_equal(index_node_find(&n, 100, &start), 1);
	assert_int_equal(start, 100);
	assert_int_equal(index_node_find(&n, 299, &start), 1);
}

static void test_reader_refuses(void **state)
{
	static const struct {
		size_t byte;
		uint8_t value;
		unsigned level;
		uint64_t span;
		const char *why;
	} cases[] = {
		{0, 'X', 0, 300, "not an index node"}, {3, '2', 0, 300, "not an index node"},
		{4, 1, 0, 300, "level"}, {4, 0, 1, 300, "level"}, {5, 1, 0, 300, "level"},
		{7, 1, 0, 300, "level"}, {8, 0, 0, 300, "0 entries"}, {8, 1, 0, 300, "1 entries"},
		{8, 3, 0, 300, "3 entries"}, {9, 0x10, 0, 300, "4098 entries"},
		{11, 0xff, 0, 300, "entries"}, {12, 0, 0, 200, "no length"},
		{52, 0, 0, 100, "no length"}, {12, 100, 0, 301, "spans 300"},
		{12, 100, 0, 0, "spans 300"}, {12, 101, 0, 300, "spans 301"},
		{14, 0x40, 0, 300, "chunk of"}, /* 4 MiB and 100 bytes */
		{19, 0x80, 0, 300, "chunk of"}, {59, 0x80, 0, 300, "spans"}, /* a hole of 2^63 */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err e = ERR_INIT;
		uint8_t node[92];
		size_t len = small_node(node);
		struct index_node n;

		node[cases[i].byte] = cases[i].value;
		assert_int_equal(
			index_node_open(&n, node, len, cases[i].level, cases[i].span, &e), -EINVAL);
		if (!strstr(e.text, cases[i].why))
			fail_msg("case %zu: %s", i, e.text);
	}
}

static void test_reader_refuses_lengths(void **state)
{
	uint8_t node[93];
	struct index_node n;
	size_t len = small_node(node);

	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(index_node_open(&n, node, cut, 0, 300, NULL), -EINVAL);
	assert_int_equal(index_node_open(&n, node, len + 1, 0, 300, NULL), -EINVAL);
}

/* Two holes whose lengths add up to 300 after overflow. */
static void test_sums_that_overflow(void **state)
{
	uint8_t node[92];
	size_t len = small_node(node);
	struct err e = ERR_INIT;
	struct index_node n;

	node[20] = 0;
	memset(node + 12, 0xff, 8);
	node[12] = 0x9c; /* 2^64 - 100 */
	node[52] = 0x90;
	node[53] = 0x01; /* 400 */
	assert_int_equal(index_node_open(&n, node, len, 0, 300, &e), -EINVAL);
	assert_non_null(strstr(e.text, "overflow"));
}

static void test_holes_only_at_the_bottom(void **state)
{
	uint8_t node[92];
	size_t len = small_node(node);
	struct err e = ERR_INIT;
	struct index_node n;

	node[4] = 1;
	assert_int_equal(index_node_open(&n, node, len, 1, 300, &e), -EINVAL);
	assert_non_null(strstr(e.text, "hole"));
	node[60] = 1;
	node[14] = 0x7f; /* above level 0 an entry may span more than a chunk */
	assert_int_equal(index_node_open(&n, node, len, 1, 300 + 0x7f0000, &e), 0);
}

static void test_full_node(void **state)
{
	_cleanup_free_ uint8_t *node = calloc(1, INDEX_NODE_MAX + INDEX_ENTRY_LEN);
	struct index_node n;
	uint64_t start;

	memcpy(node, "IBN1", 4);
	node[9] = 0x10;
	for (int i = 0; i <= INDEX_NODE_ENTRIES; i++)
		node[INDEX_NODE_HEAD + i * INDEX_ENTRY_LEN] = 2;
	assert_int_equal(
		index_node_open(&n, node, INDEX_NODE_MAX, 0, 2 * INDEX_NODE_ENTRIES, NULL), 0);
	assert_int_equal(
		index_node_find(&n, 2 * INDEX_NODE_ENTRIES - 1, &start), INDEX_NODE_ENTRIES - 1);
	assert_int_equal(start, 2 * INDEX_NODE_ENTRIES - 2);
	node[8] = 1;
	assert_int_equal(index_node_open(&n, node, INDEX_NODE_MAX + INDEX_ENTRY_LEN, 0,
				 2 * INDEX_NODE_ENTRIES + 2, NULL),
		-EINVAL);
}

/* The example of docs/format.md: 6 bytes of chunk, "hello\n", and a hole of 1 MiB. */
static void test_vector(void **state)
{
	static const char expected[] =
		"49424e31000000000200000006000000000000005891b5b522d5df086d0ff0b1"
		"10fbd9d21bb4fc7163af34d08286a2e846f6be03000010000000000000000000"
		"00000000000000000000000000000000000000000000000000000000";
	_cleanup_store_ struct store s = {0};
	struct list l = {calloc(2, sizeof(struct index_entry)), 2};
	char hex[2 * 92 + 1], name[HASH_HEX_MAX];
	struct tree tree;

	l.entries[0].length = 6;
	hash_of(&l.entries[0].hash, "hello\n", 6);
	l.entries[1].length = 1 << 20;
	build(&s, &l, &tree);
	assert_int_equal(s.nodes[0].len, 92);
	hex_encode(hex, s.nodes[0].data, 92);
	assert_string_equal(hex, expected);
	hash_hex(&tree.root, name);
	assert_string_equal(
		name, "b8647a0695c3a91d54a9f6bfab4e5191042b11b7a1a612c3f29e3bd2909c2845");
	free(l.entries);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_lists_round_trip),
		cmocka_unit_test(test_nodes_are_content_defined),
		cmocka_unit_test(test_where_nodes_close),
		cmocka_unit_test(test_last_entry_closes),
		cmocka_unit_test(test_every_entry_closes),
		cmocka_unit_test(test_holes_merge),
		cmocka_unit_test(test_only_a_hole),
		cmocka_unit_test(test_builder_refuses),
		cmocka_unit_test(test_a_failing_store_ends_the_build),
		cmocka_unit_test(test_reader_accepts),
		cmocka_unit_test(test_reader_refuses),
		cmocka_unit_test(test_reader_refuses_lengths),
		cmocka_unit_test(test_sums_that_overflow),
		cmocka_unit_test(test_holes_only_at_the_bottom),
		cmocka_unit_test(test_full_node),
		cmocka_unit_test(test_vector),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
