/* Boot packs for a proxy: from its cache, or fetched, checked and kept there first. Any thread. */
#ifndef PUBLISH_PROXY_PACK_H
#define PUBLISH_PROXY_PACK_H

#include "cache/cache.h"
#include "format/manifest.h"
#include "publish/response.h"
#include "publish/upstream.h"

/* One that is in the cache. False: it is not. */
bool pack_from_cache(struct cache *cache, const struct profile *profile, struct content *out);

/* Fetches it. Always gives content, be it an error. */
void pack_fetch(struct upstream *u, struct cache *cache, const struct profile *profile,
	uint64_t image_size, struct content *out);

#endif
