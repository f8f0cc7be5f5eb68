/* The last steps to a new version of an image. One thread. */
#ifndef PUBLISH_NEW_VERSION_H
#define PUBLISH_NEW_VERSION_H

#include <stdbool.h>

#include "base/err.h"
#include "format/manifest.h"
#include "publish/block_writer.h"
#include "publish/signer.h"
#include "publish/store.h"

/* Its blocks are put: makes them durable, says in m how many bytes they are and when it was made, and takes the image's lock. v: its versions
 * then. The lock's descriptor (store_lock_name()), to be held until the version is saved; or -errno. */
int version_begin(struct store *s, struct block_writer *w, const char *name, struct manifest *m,
	struct versions *v, struct err *e);

/* The others with the lock held. May this key sign what follows the versions v of the image? -EKEYREJECTED, -EKEYREVOKED with what
 * to do. replace: also where another key signed them. */
int version_check_signer(struct store *s, const struct versions *v, const struct signer *signer,
	const char *name, bool replace, struct err *e);

/* Writes manifest.N, the public key, and manifest, durably, in this order. */
int version_save(
	struct store *s, const struct signer *signer, const struct manifest *m, struct err *e);

#endif
