/* Searching for the manifest that answers a link: asks, considers each answer, keeps the best. Internal to manifests.c.
 *
 * What a key signed that the search does not know (a stranger) is put aside at first, and only when the race is over it is asked whether that
 * key is a successor of ours: so a mirror that answers fast with rubbish costs one more round, and cannot keep a good answer of
 * another from being taken. One thread. */
#ifndef DISK_MANIFEST_SEARCH_H
#define DISK_MANIFEST_SEARCH_H

#include "disk/manifests.h"
#include "disk/succession.h"

#define STRANGERS_MAX 8	   /* manifests that are put aside: more than mirrors that honestly differ */
#define OFFERS_MAX 32	   /* mirrors whose versions are told of */

struct stranger {
	struct buf text;
	uint8_t number[KEY_NUMBER_LEN];
	const char *mirror;
};

struct offer { /* a manifest that was signed right, and is not the best */
	const char *mirror;
	uint64_t version;
	bool replaced; /* its key was */
};

struct manifest_search {
	/* Given by the caller, the rest being zero: */
	const struct link *link;
	struct origin *origin; /* NULL: the link's folder */
	struct cache *cache;
	bool strict;
	bool once;	       /* do not wait for a network that is gone */
	unsigned timeout_ms;   /* for the manifest */

	struct succession keys;
	struct found_manifest best; /* text.len 0: none yet */
	int signer;		    /* the place of its key */
	bool keep_strangers;
	struct stranger strangers[STRANGERS_MAX];
	size_t stranger_count;
	struct offer offers[OFFERS_MAX];
	size_t offer_count;
	int refused; /* why a manifest was not taken, if that must not be passed over */
	struct err forgotten; /* what could not be remembered */
};

/* Learns what is remembered of the link's key. -EKEYREVOKED for an image that is known to be revoked. */
int manifest_search_begin(struct manifest_search *s, struct err *e);

/* Looks at a manifest. 0 where it is good, whether it is the best or not; -ENOKEY for that of a stranger. mirror: who sent it, NULL for a copy. */
int manifest_search_consider(struct manifest_search *s, const void *text, size_t len, const char *mirror, struct err *e);

/* Asks all mirrors, or the folder. 0: s->best is the answer, perhaps a revocation. Errors as manifest_fetch(). */
int manifest_search_run(struct manifest_search *s, struct err *e);

/* Tells of mirrors that offered something older than the best. */
void manifest_search_tell(const struct manifest_search *s);

/* Sets the error for a revoked image. */
int manifest_search_refuse_revoked(const struct manifest_search *s, const char *reason, struct err *e);

void manifest_search_end(struct manifest_search *s);

#endif
