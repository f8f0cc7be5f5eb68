/* The blocks of one store as a reader sees them: memory, then folders (a store on this machine, the cache), then the network. Whatever
 * comes from any of these is checked against its hash before it is used. A bad block in the cache is dropped and fetched again.
 * Any thread. */
#ifndef DISK_BLOCKS_H
#define DISK_BLOCKS_H

#include <jansson.h>

#include "base/err.h"
#include "base/sha256.h"
#include "cache/cache.h"
#include "disk/budget.h"
#include "disk/memory.h"
#include "fetch/origin.h"

struct blocks;

/* store: a store in a folder, or NULL. cache: or NULL. origin: or NULL. All are borrowed and must outlive the blocks. */
int blocks_open(struct blocks **out, struct cache *store, struct cache *cache, struct origin *origin, const struct budget *budget,
	struct err *e);

/* A chunk of exactly len bytes (≤ INDEX_CHUNK_MAX). Hold it with care: see memory_get(). */
int blocks_chunk(struct blocks *b, const struct hash *hash, uint32_t len, const struct memory_block **out, struct err *e);

/* Has a chunk brought into memory. False: there is no room for it now. */
bool blocks_want(struct blocks *b, const struct hash *hash, uint32_t len, bool background);

/* An index node, checked for level and span (index_node_open()), in a form that is quick to search. */
struct node {
	unsigned level;
	uint32_t count;
	const uint64_t *starts;	   /* count + 1: the offset of each entry, and the span */
	const struct hash *hashes; /* count; all-zero: a hole */
	const struct memory_block *block;
};
int blocks_node(struct blocks *b, const struct hash *hash, unsigned level, uint64_t span, struct node *out, struct err *e);
void blocks_put_node(struct blocks *b, struct node *n);
/* The entry that holds offset < span. */
uint32_t node_find(const struct node *n, uint64_t offset);

void blocks_put(struct blocks *b, const struct memory_block *block);

/* From now on whatever is fetched must get into the cache, however slow that is. */
void blocks_keep(struct blocks *b);

/* Brings a chunk's file into the cache without keeping it in memory; checks it as ever. Returns the bytes that had to be fetched,
 * 0 if it was there and good. */
int blocks_pull(struct blocks *b, const struct hash *hash, uint32_t len, struct err *e);

/* Does a reader wait for the network, or did one within the last `ms`? Who fetches for later should let it go first. */
bool blocks_in_demand(const struct blocks *b, uint64_t ms);

/* Adds "memory", "cache", "network", "mirrors" and "bad_blocks" to a JSON object. */
void blocks_status(struct blocks *b, json_t *out);
void blocks_cancel(struct blocks *b);
void blocks_close(struct blocks *b);

#endif
