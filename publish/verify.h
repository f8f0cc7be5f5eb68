/* Checking a whole store: every manifest, every index node, every block. */
#ifndef PUBLISH_VERIFY_H
#define PUBLISH_VERIFY_H

#include <stdint.h>

#include "base/err.h"

struct verify_result {
	uint64_t manifests, blocks;         /* distinct ones, checked */
	uint64_t bytes;                     /* of block files read */
	uint64_t bad_manifests, bad_blocks; /* missing ones included */
};

/* Reads everything that the store's manifests name, on `jobs` threads (0: one per processor). Each
 * thing that is missing or bad is logged with the images that need it, and counted; the call itself
 * fails only where it cannot go on. A newest manifest must be signed by the key in NAME/key.pub,
 * older ones only have to have the right shape: their key may have been replaced. */
int verify_store(const char *path, unsigned jobs, struct verify_result *out, struct err *e);

#endif
