/* The last steps to a new version of an image. Both with the image's lock held (store_lock_name()).
 * One thread. */
#ifndef PUBLISH_NEW_VERSION_H
#define PUBLISH_NEW_VERSION_H

#include <stdbool.h>

#include "base/err.h"
#include "format/manifest.h"
#include "publish/signer.h"
#include "publish/store.h"

/* May this key sign what follows the versions v of the image? -EKEYREJECTED, -EKEYREVOKED with what
 * to do. replace: also where another key signed them. */
int version_check_signer(struct store *s, const struct versions *v, const struct signer *signer,
	const char *name, bool replace, struct err *e);

/* Writes manifest.N, the public key, and manifest, durably, in this order. */
int version_save(
	struct store *s, const struct signer *signer, const struct manifest *m, struct err *e);

#endif
