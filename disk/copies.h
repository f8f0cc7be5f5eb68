/* Copies of signed files in the cache, for starting without a network: CACHE/manifests/KEY/FILE, KEY being the first 32 hexadecimal
 * digits of the link's key (of a last word: of the key whose it is). Whoever loads one checks it as if a server had sent it. Any thread. */
#ifndef DISK_COPIES_H
#define DISK_COPIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "cache/cache.h"
#include "format/manifest.h"

/* What a copy is called: NAME (newest seen), NAME@N (a pinned version), NAME@next (a last word), NAME@whole (a mark: see
 * copy_mark()), NAME@boot (another one). Allocated, or NULL. */
char *copy_name(const char *image, uint64_t version);
char *copy_name_of_last_word(const char *image);

/* Appends a copy to out. -ENOENT, also where cache or name is NULL. */
int copy_load(struct cache *cache, const struct public_key *key, const char *name, struct buf *out);

/* Best effort: what cannot be kept is fetched again. cache NULL is fine. */
void copy_keep(struct cache *cache, const struct public_key *key, const char *name, const void *data, size_t len);

/* Remembers that all blocks of a version are in the cache, or (boot) those that a recorded boot needs. */
void copy_mark(struct cache *cache, const struct public_key *key, const struct manifest *m, bool boot);
/* Were they, one or the other, when somebody last looked? Some may have been evicted since: it is a hint of how much a start depends on the
 * network. key: the link's. */
bool copy_is_marked(struct cache *cache, const struct public_key *key, const struct manifest *m);

#endif
