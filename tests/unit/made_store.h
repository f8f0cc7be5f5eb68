/* Stores for tests, made through format/ alone: an image of random bytes and holes with random
 * chunk lengths. Failures fail the running test. */
#ifndef UNIT_MADE_STORE_H
#define UNIT_MADE_STORE_H

#include "format/manifest.h"
#include "format/signature.h"
#include "random.h"

struct made_image {
	uint8_t *data; /* what a reader must see */
	size_t size;
	struct tree tree;
	struct hash *chunks; /* without holes, in disk order */
	uint64_t *at;        /* where each begins */
	size_t count;
};

/* Puts one block's file into a store's folder; returns its name. */
struct hash made_block(const char *dir, const void *data, size_t len);

/* Makes an image of `size` bytes in the folder. mean: average length of its chunks. */
void made_image(struct made_image *m, const char *dir, struct random *r, size_t size, size_t mean);
void made_image_free(struct made_image *m);

/* An index node's bytes; returns their length. out: room for INDEX_NODE_HEAD + count *
 * INDEX_ENTRY_LEN. */
size_t made_node(uint8_t *out, unsigned level, uint32_t count, const uint64_t *lengths,
	const struct hash *hashes);

/* The path of a block's file. */
void made_path(const char *dir, const struct hash *h, char out[256]);

/* Writes NAME/manifest.VERSION, and NAME/manifest with `newest`. named: the name in the manifest.
 */
void made_manifest(const char *dir, const char *name, const char *named, uint64_t version,
	const struct tree *tree, const struct secret_key *key, bool newest);

#endif
