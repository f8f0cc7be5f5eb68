/* The manifest that a link names: found in the store's folder, on the network or among the copies in the cache, and checked: the
 * signature (where the link has a key), the name, the pinned version, and the memory of versions agree. One thread. */
#ifndef DISK_MANIFESTS_H
#define DISK_MANIFESTS_H

#include <stdbool.h>

#include "base/buf.h"
#include "cache/cache.h"
#include "fetch/origin.h"
#include "format/link.h"
#include "format/manifest.h"

struct found_manifest {
	struct manifest manifest;
	struct buf text; /* the manifest file as it came, signature included */
	bool verified;	 /* the link's key signed it */
};

/* Of a link to a folder. -ENOENT where there is neither a file nor an image; otherwise as manifest_fetch(). */
int manifest_load(struct found_manifest *out, const struct link *l, struct err *e);

/* Of a link to a web server. A pinned version never changes, so a copy of it in the cache (NULL: none) does without the network. The
 * newest is asked for; a copy of the newest seen is the way out when no mirror answers. A signature by another key, or a replayed
 * version, is never passed over for the copy; a login page in place of a manifest is.
 * As origin_get(), and: -EKEYREJECTED for a wrong signature, -ESTALE for a version older than one seen before. */
int manifest_fetch(struct found_manifest *out, const struct link *l, struct origin *origin, struct cache *cache, struct err *e);

/* Checks the text of a manifest that came from elsewhere. Copies the text. */
int manifest_accept(struct found_manifest *out, const struct link *l, const void *text, size_t len, struct err *e);

void found_manifest_free(struct found_manifest *f);

#endif
