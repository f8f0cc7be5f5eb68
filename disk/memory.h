/* Blocks in memory: a bounded least-recently-used cache with a loader behind it. A block that several readers want at once is
 * loaded once; a pool of threads loads what is wanted ahead, demanded blocks before the rest. All sources that decode something stand on it.
 *
 * Bound: the bytes of all blocks, loading ones counted MEMORY_LOADING times, with what malloc() takes for them, stay within the
 * limit; a reader that needs room waits for it, first come first served, a prefetch is dropped. Prefetching may take half of the limit.
 * One block larger than the limit is still loaded, alone. Any thread may call. */
#ifndef DISK_MEMORY_H
#define DISK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"

#define MEMORY_LOADING 3 /* a block on its way: as it comes, as it comes from a second mirror, and decoded */

struct memory_key {
	struct hash hash; /* what names the block: its hash, or any other 32 bytes */
	uint64_t span;	  /* bytes of the disk that it stands for; part of the name */
	uint32_t kind;	  /* for the loader; part of the name */
	uint32_t room;	  /* the most bytes that the loaded block may have; not part of the name */
};

struct memory_block {
	uint8_t *data; /* owned by the block */
	size_t len;
};

/* Loads a block: allocates *data with malloc(). Called from readers' and pool threads. background: nobody waits for it (yet). */
typedef int (*memory_loader)(void *context, const struct memory_key *key, bool background, uint8_t **data, size_t *len,
	struct err *e);

struct memory;

/* limit: bytes. threads: size of the pool. */
int memory_open(struct memory **out, size_t limit, unsigned threads, memory_loader load, void *context, struct err *e);

/* Gives a block, loading it in this thread if nobody else does. It stays until memory_put(). A thread holds one block at a time:
 * a second memory_get() could wait for the room that the first one takes. */
int memory_get(struct memory *m, const struct memory_key *key, const struct memory_block **out, struct err *e);
void memory_put(struct memory *m, const struct memory_block *block);

/* Has a block loaded by the pool. background: after all that is not. Drops the wish where there is no room. Returns whether the block is
 * there or on its way. */
bool memory_want(struct memory *m, const struct memory_key *key, bool background);

/* Room to load a block of at most `room` bytes that is not kept: waits for it. Returns what to give back afterwards. */
size_t memory_reserve(struct memory *m, uint32_t room);
void memory_unreserve(struct memory *m, size_t charge);

struct memory_stats {
	uint64_t hits, loads, failures; /* reads that met a block; loads begun; loads failed */
	size_t bytes, peak;		/* now, and the most so far */
	unsigned waiting;		/* threads that wait for room */
};
void memory_stats(struct memory *m, struct memory_stats *out);

/* Waits for the pool, frees everything. No block may be held. */
void memory_close(struct memory *m);

#endif
