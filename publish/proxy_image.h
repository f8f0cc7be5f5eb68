/* One image that a proxy hands on: its manifest, checked by the link's key, kept, asked for again every few seconds while somebody wants
 * it, and sent byte by byte as the publisher signed it. Any thread. */
#ifndef PUBLISH_PROXY_IMAGE_H
#define PUBLISH_PROXY_IMAGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/cache.h"
#include "disk/manifests.h"
#include "publish/response.h"
#include "publish/upstream.h"

#define PROXY_FRESH_MS 3000   /* for so long after an answer, or none, nobody is asked */
#define PROXY_REFRESH_MS 5000 /* that the servers have for a newer manifest, when there is one already */

struct proxy_image {
	struct link link;
	struct upstream *upstream; /* borrowed */
	struct cache *cache;	   /* borrowed */

	pthread_mutex_t lock; /* for what follows */
	struct found_manifest now;
	uint64_t checked_ms; /* when a server last gave it; 0: not since the start */
	uint64_t asked_ms;
	bool stale;
};

/* Gets the manifest, from a server or else from the cache. -EINVAL for a link that has no key, pins a version, or is none of an image on a
 * web server. */
int proxy_image_open(struct proxy_image *p, const struct link *l, struct upstream *u, struct cache *cache, struct err *e);
void proxy_image_close(struct proxy_image *p);

/* The newest manifest. may_ask false: only if nobody has to be asked. */
bool proxy_image_newest(struct proxy_image *p, bool may_ask, struct content *out);

/* Always give content, be it an error; they may ask. */
void proxy_image_version(struct proxy_image *p, uint64_t version, struct content *out);
void proxy_image_resigned(struct proxy_image *p, uint64_t version, const uint8_t number[KEY_NUMBER_LEN], struct content *out);
void proxy_image_last_word(struct proxy_image *p, const uint8_t number[KEY_NUMBER_LEN], struct content *out);

#endif
