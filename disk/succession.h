/* The keys that may sign an image: the one in the link, and those that took its place one after the other, each named by the last word of the
 * key before it (docs/format.md, "Replacing a key"). The last one speaks for the image; what one before it signs counts only for a
 * link that pins a version. One thread. */
#ifndef DISK_SUCCESSION_H
#define DISK_SUCCESSION_H

#include <stdbool.h>

#include "base/buf.h"
#include "cache/cache.h"
#include "disk/versions.h"
#include "format/manifest.h"

#define SUCCESSION_MAX 16 /* replacements that are followed: bounds what a hostile server can make us ask */

struct succession {
	char name[LINK_NAME_MAX + 1];
	struct public_key keys[SUCCESSION_MAX + 1]; /* the link's first */
	uint64_t until[SUCCESSION_MAX + 1];	    /* the last version that a replaced key signed */
	struct buf words[SUCCESSION_MAX + 1];	    /* last words: words[i] is of keys[i] */
	size_t count;				    /* of keys, 1 at least */
	bool revoked;				    /* the last key's last word is a revocation */
	char reason[MANIFEST_REASON_MAX + 1];
};

/* Starts with a link's key and what is remembered of its successors: in the user's state folder, else in the cache (NULL: none). */
void succession_begin(struct succession *s, const struct public_key *key, const char *name, struct cache *cache);

/* The key that speaks for the image; and is it the one at this place? */
const struct public_key *succession_last(const struct succession *s);
bool succession_is_last(const struct succession *s, int place);

/* The place of the key of that number, or -1. */
int succession_find(const struct succession *s, const uint8_t number[KEY_NUMBER_LEN]);

/* Takes a last word of the last key: its successor becomes the last. -EKEYREJECTED where the last key did not sign it; -EBADMSG where it is none,
 * or of another image; -ELOOP where it leads back, or there are too many. */
int succession_add(struct succession *s, const void *text, size_t len, struct err *e);

/* Drops all keys from the place `count` on. */
void succession_cut(struct succession *s, size_t count);

/* Remembers the last words from keys[first] on. An error says that they cannot be remembered in the user's state folder. */
int succession_remember(const struct succession *s, size_t first, struct cache *cache, struct err *e);

/* Remembers that the last key revoked the image with this manifest. */
int succession_revoke(const struct succession *s, const struct buf *text, struct cache *cache, struct err *e);

/* The highest version seen that counts: of a replaced key, those up to its last word. */
uint64_t succession_seen(const struct succession *s);

void succession_free(struct succession *s);

#endif
