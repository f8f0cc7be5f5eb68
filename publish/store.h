/* A store folder and who may do what in it at the same time.
 *
 *	.lock			flock: shared by publishers, exclusive for gc
 *	.publishing/ID		one small file per running publisher, which holds an exclusive flock
 *on it as long as it lives; it says who that is. One that is left unlocked belongs to a publisher
 *that died NAME/.lock		flock: exclusive while a version is chosen and manifests are written
 *	blocks/ab/.ID.N		temporary file of publisher ID; nobody but ID, or who cleans up
 *after it, touches it
 *
 * Block files get their names by rename() and are not synced one by one; one syncfs() makes all of
 *them durable before a manifest names them. A publisher that is killed leaves nothing but whole
 *blocks and temporary files. Only when the machine itself went down (the dead publisher's note
 *names another boot) may its last blocks be torn: then the next publisher, alone in the store,
 * first reads the blocks that are not older than the note and removes the bad ones.
 *
 * A struct store is used by one thread, except for its constant `fd`, `path` and `id`. */
#ifndef PUBLISH_STORE_H
#define PUBLISH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "format/manifest.h"
#include "format/signature.h"

#define STORE_ID_LEN 16 /* hexadecimal digits */

struct store {
	char *path;                /* absolute; owned */
	int fd;                    /* the folder */
	int lock;                  /* .lock, or -1 */
	int note;                  /* .publishing/ID, or -1 */
	char id[STORE_ID_LEN + 1]; /* of this publisher, "" where it is none */
};

#define STORE_INIT                                                                                 \
	{                                                                                          \
		.fd = -1, .lock = -1, .note = -1                                                   \
	}

/* Opens the folder for reading: verify, gc, serve. -ENOENT where there is no store. */
int store_open(struct store *s, const char *path, struct err *e);

/* Opens it for publishing what `what` says (for others to read), and makes it where it is missing
 * or empty; a folder with other things in it is refused. Cleans up after dead publishers, which may
 * take the exclusive lock for a while, and waits for a running gc. */
int store_open_publish(struct store *s, const char *path, const char *what, struct err *e);

/* Takes the exclusive lock; while it waits, says for whom. */
int store_lock_exclusive(struct store *s, struct err *e);

/* Holds gc off while somebody reads; publishers may go on. Best effort: a store that may not be
 * written to needs none. */
void store_lock_shared(struct store *s);

/* Makes all blocks durable. */
int store_sync(struct store *s, struct err *e);

/* Makes a publisher's blocks durable and removes its note; releases the locks. */
void store_close(struct store *s);

/* One kept version: a manifest file, its name and its content. */
struct version {
	char file[LINK_NAME_MAX + 32]; /* "NAME/manifest.N" or "NAME/manifest" */
	bool newest;                   /* it is the file "manifest" */
	struct manifest manifest;
};

struct versions {
	struct version *list; /* sorted by name, then version, "manifest" behind "manifest.N" of the
				 same version */
	size_t count;
};

/* Told of a manifest file that cannot be read or understood, of another format too. */
typedef void (*versions_bad)(void *context, const char *file, const struct err *why);

/* Loads all manifests of the store, or of one image (name not NULL; none is fine). Only the shape
 * of signatures is checked: see store_signed_by(). bad NULL: a bad manifest fails the call, for
 * those who must rely on knowing all. */
int store_versions(struct store *s, const char *name, versions_bad bad, void *context,
	struct versions *out, struct err *e);
void versions_free(struct versions *v);

/* The image's newest version in a list that holds one image only, or NULL; and what the file `manifest` says, which is another one after
 * a rollback by hand or an interrupted publish. */
const struct version *versions_newest(const struct versions *v);
const struct version *versions_current(const struct versions *v);

/* Loads a signed file into data and checks it by the key (NULL: its shape only). The message points into data. -EKEYREJECTED. */
int store_open_signed(struct store *s, const char *file, const struct public_key *key, struct buf *data, const char **message,
	size_t *len, struct err *e);

/* Loads the manifest in such a file. */
int store_load_manifest(struct store *s, const char *file, const struct public_key *key, struct manifest *out, struct err *e);

/* Is the manifest file signed by this key? 1, 0, or -errno. */
int store_signed_by(struct store *s, const char *file, const struct public_key *key, struct err *e);

/* NAME/key.pub: the key that signed the newest version, for those who make links from the folder
 * itself (catalogue, serve, verify). Readers elsewhere never use it: they have the key from their
 * link. -ENOENT. */
int store_image_key(struct store *s, const char *name, struct public_key *out, struct err *e);

/* Takes NAME/.lock, and makes the folder; returns the descriptor to close, or -errno. */
int store_lock_name(struct store *s, const char *name, struct err *e);

#endif
