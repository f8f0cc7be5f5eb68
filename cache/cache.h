/* A folder of block files in the store's layout (blocks/ab/abcdef...): the local cache of verified blocks, bounded and shared by
 * processes; or, opened read-only, a store in a folder. It moves raw block files; what they hold is checked by the caller on
 * every load (block_decode()), and a bad one is dropped with cache_drop(). Any thread.
 *
 * Bound: when this process's view of the total passes the limit, the least recently used files go until 90 % is left.
 * Use is remembered by the file's modification time, refreshed at most once an hour. Writers: temporary + rename. No fsync: a torn
 * entry is a miss. Nothing here ever fails a read: errors of writes are counted, logged once, and the cache goes on. One whose loads
 * keep failing, bring bad bytes or hang is bypassed for a while (health.h). */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

#define CACHE_SIZE_DEFAULT (4ULL << 30)

struct cache;

/* size: bytes; 0 without bound. read_only: nothing is written (a store, or a cache on a read-only medium; folders that cannot be made
 * or written give a read-only cache with a warning, not an error). */
int cache_open(struct cache **out, const char *dir, uint64_t size, bool read_only, struct err *e);

/* Appends the block file's bytes to out (cap bounds it). -ENOENT: not there. -EAGAIN: the cache is bypassed now, nobody looked. Other
 * errors are misses too, for the caller. */
int cache_load(struct cache *c, const struct hash *hash, struct buf *out);
/* The same for who has nothing else: bypassed or not. -EAGAIN only while something hangs in the medium. */
int cache_load_anyway(struct cache *c, const struct hash *hash, struct buf *out);
/* A descriptor of the block file, to be closed by the caller, and its size. Negative as cache_load(). Whoever sends it has
 * loaded and checked it before. */
int cache_open_entry(struct cache *c, const struct hash *hash, uint64_t *size);
bool cache_has(struct cache *c, const struct hash *hash);
/* Keeps a block file. Best effort: not while the medium fails or is slow, since a reader waits. */
void cache_store(struct cache *c, const struct hash *hash, const void *frame, size_t len);
/* The same for who came for that alone: takes the time that a slow medium needs. */
void cache_keep(struct cache *c, const struct hash *hash, const void *frame, size_t len);
/* Removes an entry whose bytes, as they were loaded, were bad. */
void cache_drop(struct cache *c, const struct hash *hash);

/* Boot packs, in DIR/packs, are shared and evicted like blocks. */

/* A descriptor of a pack's file, to be closed by the caller: of the whole file (*whole), to be read; or of the one that is being filled, made
 * where it is missing, to be read and written; several processes may fill it at the same time, as they write the same bytes. -ENOENT where there
 * is none and none can be made. */
int cache_open_pack(struct cache *c, const struct hash *name, bool *whole);
/* Reads all of len bytes from such a file. Negative as cache_load(); -ENOENT where it ends before. */
int cache_read_pack(struct cache *c, int fd, void *out, size_t len, uint64_t offset);
/* It has all its bytes (size) now. */
void cache_finish_pack(struct cache *c, const struct hash *name, uint64_t size);
/* A whole one is not what it should be. */
void cache_drop_pack(struct cache *c, const struct hash *name);

struct cache_stats {
	uint64_t hits, misses, stores, drops, evictions, write_errors, load_errors; /* by this process */
	uint64_t bytes;								    /* this process's view of the total */
	bool bypassed, read_only;						    /* now */
};
void cache_stats(struct cache *c, struct cache_stats *out);
uint64_t cache_most(const struct cache *c); /* bytes that it may take */
const char *cache_dir(const struct cache *c);
void cache_close(struct cache *c);

#endif
