/* Committing: a version of an image, and what was written over its disk, become the next version. */
#ifndef PUBLISH_COMMIT_H
#define PUBLISH_COMMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "publish/block_writer.h"

struct commit_options {
	const char *store; /* folder */
	const char *key;   /* file of the secret key */
	const char *base;  /* link to the version that was written over; NULL: the one to which the overlay is bound */
	int level;	   /* zstd, 1..PUBLISH_LEVEL_MAX */
	unsigned jobs;	   /* 0: as many as processors */
	const char *base_url; /* of the store, for links; NULL: the folder's path */
	bool no_pack;	   /* leave the boot pack out, where the version before has one */
	bool force;	   /* also over an older version than the newest */
};

struct commit_result {
	char *link; /* owned: free() */
	char name[LINK_NAME_MAX + 1];
	uint64_t version;
	uint64_t base_version;
	bool unchanged;	  /* what was written is what was there: no new version was made */
	bool lost_pack;	  /* the version before has a boot pack, this one has none */
	uint64_t size, chunks; /* as in struct publish_result */
	uint64_t changed; /* bytes that the overlay has */
	uint64_t scanned; /* bytes that were looked at for that */
	struct block_stats blocks;
};

/* Publishes the disk of an image in the store with what the copy-on-write file has over it. The store must have the version that was
 * written over: its blocks are read from there, around the changes, and all others are taken over by their hashes. Everything else in
 * the manifest is as in the version before; a boot pack is made anew, of the same pages. The overlay is locked, and stays as it
 * is. -ESTALE: the store has a newer version (force: that one stays, and the new one is made from the older); -EBUSY: a machine runs
 * with the overlay; else as publish_image(), also for threads. */
int commit_overlay(const char *file, const struct commit_options *o, struct commit_result *out, struct err *e);

#endif
