/* Index nodes: the content-defined Merkle tree that maps a virtual disk's offsets to blocks. A node is itself a block.
 *
 *	"IBN1" · u8 level · 3 zero bytes · u32le count · count × (u64le length in bytes · 32 bytes hash)
 *
 * Level 0 lists chunks and holes (all-zero hash) in disk order; level n lists nodes of level n - 1 with the bytes that they
 * span. A node is closed after an entry whose hash, read as a big-endian number, ends in ten zero bits (holes, whose hash
 * says nothing, never close one), or at INDEX_NODE_ENTRIES entries. Adjacent holes are one entry. The root is the single
 * node of the highest level. Pure: no I/O. */
#ifndef FORMAT_INDEX_H
#define FORMAT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "format/manifest.h"

#define INDEX_NODE_ENTRIES 4096
#define INDEX_NODE_HEAD 12
#define INDEX_ENTRY_LEN 40
#define INDEX_NODE_MAX (INDEX_NODE_HEAD + INDEX_NODE_ENTRIES * INDEX_ENTRY_LEN) /* bytes of a node */
#define INDEX_CHUNK_MAX (4u << 20) /* bytes of a chunk that a reader accepts */

struct index_entry {
	uint64_t length; /* bytes of the disk that it spans */
	struct hash hash;
};

struct index_node {
	unsigned level;
	uint32_t count;
	uint64_t span; /* sum of the lengths */
	const uint8_t *entries; /* count × INDEX_ENTRY_LEN raw bytes, inside the data given to index_node_open() */
};

/* Checks a node's bytes: magic, level, count (1..4096, agreeing with len), every length > 0, chunks ≤ INDEX_CHUNK_MAX,
 * holes at level 0 only, the sum of lengths without overflow and equal to span (what the parent or the manifest said).
 * data must outlive the node. -EINVAL with a sentence. */
int index_node_open(struct index_node *out, const void *data, size_t len, unsigned level, uint64_t span, struct err *e);

/* Entry i; i < count. */
void index_node_entry(const struct index_node *n, uint32_t i, struct index_entry *out);

/* Finds the entry that holds `offset` (bytes from the node's start, < span): returns its number and puts the offset at
 * which it starts into *start. */
uint32_t index_node_find(const struct index_node *n, uint64_t offset, uint64_t *start);

/* Building: entries in disk order go in, nodes come out through `emit` as soon as they are closed (children before
 * parents). Memory: one open node per level. One thread. */
struct index_builder;

/* emit gets a node's bytes and must give the hash of them (that is: store the block). It returns 0 or -errno, which ends
 * the build with that error. */
typedef int (*index_emit)(void *context, const void *node, size_t len, struct hash *hash, struct err *e);

struct index_builder *index_builder_new(index_emit emit, void *context); /* NULL: no memory */
/* Adds a chunk, or a hole (all-zero hash, any length > 0; merged with a hole before it). */
int index_builder_add(struct index_builder *b, const struct index_entry *entry, struct err *e);
/* Closes all open nodes. *tree: root, depth and size; *entries: number of level 0 entries. -EINVAL where nothing was added. */
int index_builder_finish(struct index_builder *b, struct tree *tree, uint64_t *entries, struct err *e);
void index_builder_free(struct index_builder *b);

#endif
