/* The manifest that a link names: found in the store's folder, on the network or among the copies in the cache, and checked: the
 * signature (where the link has a key) by that key or one that took its place (succession.h), the name, the pinned version, and the
 * memory of versions agree. One thread.
 *
 * All mirrors are asked at once: the link's, those of the command line, and those that the kept copy names. The first good
 * manifest wins, but one of a higher version that comes within MANIFEST_GRACE_MS wins over it, and a revocation over all. That a new
 * manifest names mirrors which were not asked is no reason to ask again: where the publisher has a newer version, those
 * that were asked have it too, or will. */
#ifndef DISK_MANIFESTS_H
#define DISK_MANIFESTS_H

#include <stdbool.h>

#include "base/buf.h"
#include "cache/cache.h"
#include "fetch/origin.h"
#include "format/link.h"
#include "format/manifest.h"

#define MANIFEST_GRACE_MS 300
#define MANIFEST_WHOLE_MS 1000	/* for the network, when the cache has all blocks of the version in it */
#define MANIFEST_COPY_MS 8000	/* when it has a manifest, and perhaps not all blocks: a slow network is better than an old version then */

struct found_manifest {
	struct manifest manifest;
	struct buf text;	  /* the manifest file as it came, signature included */
	struct public_key signer; /* whose signature was checked, where `verified` */
	bool verified;		  /* the link's key signed it, or a successor of it */
	bool from_copy;		  /* it is from the cache, as no server answered */
};

/* All of these: -EKEYREJECTED for a wrong signature; -ESTALE for a version older than one seen before, or signed by a key that was replaced;
 * -EKEYREVOKED for a revoked image. strict: an error instead of a warning where freshness_check() says so, and where what was seen cannot be
 * remembered. */

/* Of a link to a folder. -ENOENT where there is neither a file nor an image. */
int manifest_load(struct found_manifest *out, const struct link *l, bool strict, struct err *e);

/* Of a link to a web server. A pinned version never changes, so a copy of it in the cache (NULL: none) does without the network. The
 * newest is asked for; a copy of the newest seen is the way out when no mirror answers soon: at once when it is clear that none will (no
 * route, no such name), else after the times above. A signature by another key, or a replayed
 * version, is never passed over for the copy; a login page in place of a manifest is. Errors otherwise as origin_get(). */
int manifest_fetch(struct found_manifest *out, const struct link *l, struct origin *origin, struct cache *cache, bool strict,
	struct err *e);

/* Asks the servers again for what was found before, waiting for timeout_ms at the most and never for a network that is gone, and keeps
 * what comes as the copy. Unlike the two above it hands out a revocation, too (out->manifest.revoked). */
int manifest_refresh(struct found_manifest *out, const struct link *l, struct origin *origin, struct cache *cache, unsigned timeout_ms,
	struct err *e);

void found_manifest_free(struct found_manifest *f);

#endif
