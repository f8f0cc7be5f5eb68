/* Changing who speaks for images of a store: the key that signs them gives way to another one, or the images are revoked (docs/format.md,
 * "Replacing a key", "Revoking an image"). */
#ifndef PUBLISH_KEY_CHANGE_H
#define PUBLISH_KEY_CHANGE_H

#include "base/err.h"
#include "publish/signer.h"
#include "publish/store.h"

struct key_change {
	const char *store;
	const char *const *names; /* images */
	size_t count;		  /* 0: all that the key signs */
	const char *key;	  /* file of the secret key that signs them now */
	const char *new_key;	  /* file of the one that takes its place; NULL: revoke */
	const char *reason;	  /* of a revocation, for people; or NULL */
	const char *base_url;	  /* of the store, for links; NULL: the folder's path */
};

/* Called for each image that is done. link: with the new key; NULL: revoked. before: it was done already. */
typedef void (*key_change_done)(void *context, const char *name, uint64_t version, const char *link, bool before);

/* First all images are looked at, and nothing is changed unless it can be done for all; then they are changed one by one, each so that every
 * link works at every moment. What an interrupted call did not do, the next one does. Waits for publishers of the same image. */
int key_change(const struct key_change *c, key_change_done done, void *context, struct err *e);

#endif
