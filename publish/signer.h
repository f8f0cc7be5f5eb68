/* A publisher's key, and the signed files that it writes into a store. */
#ifndef PUBLISH_SIGNER_H
#define PUBLISH_SIGNER_H

#include "base/buf.h"
#include "base/err.h"
#include "format/signature.h"
#include "publish/store.h"

struct signer {
	const char *file; /* of the secret key; borrowed */
	struct secret_key secret;
	struct public_key public;
};

/* Reads the secret key. The caller wipes it with signer_wipe(). */
int signer_load(struct signer *s, const char *file, struct err *e);
void signer_wipe(struct signer *s);

/* The comment above the signature of a manifest: for people. */
#define SIGNER_COMMENT_MAX (LINK_NAME_MAX + 64)
void signer_comment(char out[SIGNER_COMMENT_MAX], const char *name, uint64_t version);

/* Signs a message about an image and writes it, durably, to a path in the store. flags: 0 or FILE_EXCLUSIVE. */
int signer_save(const struct signer *s, struct store *store, const char *path, const char *comment, const void *message, size_t len,
	unsigned flags, struct err *e);

/* Writes NAME/key.pub. */
int signer_save_public(const struct signer *s, struct store *store, const char *name, struct err *e);

#endif
