/* What changes of keys leave in an image's folder: NAME/next.KEYNUMBER and NAME/manifest.N.KEYNUMBER (docs/format.md, "Replacing a
 * key"). key_change.h writes them. */
#ifndef PUBLISH_KEY_FILES_H
#define PUBLISH_KEY_FILES_H

#include "base/err.h"
#include "publish/signer.h"
#include "publish/store.h"

/* Loads the last word of a key about an image: a manifest with next_key. -ENOENT: it gave way to none; -EKEYREJECTED: another key of its
 * number did. */
int key_files_last_word(struct store *s, const char *name, const struct public_key *key, struct manifest *out, struct err *e);

/* May this key go on signing the image? -EKEYREVOKED where it gave way to another one, or began to. */
int key_files_check_signer(struct store *s, const char *name, const struct signer *signer, struct err *e);

/* Calls bad for each of these files that is wrong, as far as it can be told without the keys that the image had before the first change. v: all
 * of the store. */
int key_files_verify(struct store *s, const char *name, const struct versions *v, versions_bad bad, void *context, struct err *e);

/* Removes version N as it was signed again by later keys: before manifest.N goes. */
int key_files_drop(struct store *s, const char *name, uint64_t version, struct err *e);

#endif
