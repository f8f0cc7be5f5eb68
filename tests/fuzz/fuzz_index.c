/* index_node_open() with the level and span that the bytes themselves claim, so that the checks
 * behind those two are reached; then every entry and both ends of it through index_node_find(). */
#include "fuzz.h"

#include <errno.h>

#include "format/index.h"

static uint64_t claimed_span(const uint8_t *data, size_t size)
{
	uint64_t span = 0;

	for (size_t at = INDEX_NODE_HEAD; at + INDEX_ENTRY_LEN <= size; at += INDEX_ENTRY_LEN)
		for (int k = 0; k < 8; k++)
			span += (uint64_t)data[at + k] << (8 * k);
	return span;
}

static void check_node(const struct index_node *n, size_t size)
{
	uint64_t at = 0;

	require(n->count && n->count <= INDEX_NODE_ENTRIES);
	require(INDEX_NODE_HEAD + (size_t)n->count * INDEX_ENTRY_LEN == size);
	for (uint32_t i = 0; i < n->count; i++) {
		struct index_entry entry;
		uint64_t start;

		index_node_entry(n, i, &entry);
		require(entry.length && entry.length <= n->span - at);
		require(n->level || hash_is_hole(&entry.hash) || entry.length <= INDEX_CHUNK_MAX);
		require(!n->level || !hash_is_hole(&entry.hash));
		require(index_node_find(n, at, &start) == i && start == at);
		require(index_node_find(n, at + entry.length - 1, &start) == i && start == at);
		at += entry.length;
	}
	require(at == n->span);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t span = claimed_span(data, size);
	unsigned level = size > 4 ? data[4] : 0;
	struct err e = ERR_INIT;
	struct index_node n;
	int r;

	r = index_node_open(&n, data, size, level, span, &e);
	require(r == 0 || (r == -EINVAL && e.text[0]));
	if (r == 0)
		check_node(&n, size);
	require(index_node_open(&n, data, size, level, span + 1, NULL) == -EINVAL);
	require(index_node_open(&n, data, size, level + 1, span, NULL) == -EINVAL);
	return 0;
}
