/* The store that a proxy stands before: its blocks, from the proxy's cache or, checked, from the store's servers. Any thread. */
#ifndef PUBLISH_UPSTREAM_H
#define PUBLISH_UPSTREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/cache.h"
#include "fetch/origin.h"
#include "publish/response.h"

#define UPSTREAM_FETCH_MS 15000	     /* for a block */
#define UPSTREAM_GONE_MS 1000	     /* after nobody answered, nobody is asked */
#define UPSTREAM_BODIES_MAX (32u << 20) /* bytes of blocks that are sent from memory, as the cache did not take them */

struct upstream {
	char *url; /* owned */
	struct origin *origin;
	atomic_uint_fast64_t gone_until_ms;
	atomic_bool told; /* that nobody answers */
};

/* options: of image commands; mirrors are added. */
int upstream_open(struct upstream *u, const char *url, const char *const *mirrors, const struct origin_options *o, struct err *e);
void upstream_close(struct upstream *u);

/* Has nobody answered a moment ago? And how did it go now: with one line in the log when that changes. */
bool upstream_gone(const struct upstream *u);
void upstream_note(struct upstream *u, int result, const char *why);

/* A block out of the cache, checked. False: it is not there. */
bool block_from_cache(struct cache *cache, const struct hash *hash, struct content *out);

/* A block from the first of several stores that has it; kept in the cache. Always gives content, be it an error: 404 where none
 * has it, 502 where what came was wrong, 503 where one that may have it does not answer. */
void block_fetch(struct upstream *stores, size_t count, struct cache *cache, const struct hash *hash, struct content *out);

#endif
