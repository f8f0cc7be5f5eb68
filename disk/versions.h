/* What this user has seen, so that neither a mirror nor who has stolen a key can hand out something older unnoticed. Kept in
 * $XDG_STATE_HOME/inetboot, one small file for each key and name:
 *
 *	versions/KEY-NAME	the highest version seen that this key signed
 *	keys/KEY-NAME		the key's last word, as it came: which key took its place, or that the image was revoked.
 *				It is signed, and to be checked again by who loads it
 *
 * Any thread, any process: the larger number, and the first last word, win in the end. Without a writable state folder there
 * is no memory, and a warning. */
#ifndef DISK_VERSIONS_H
#define DISK_VERSIONS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "format/signature.h"

#define LAST_WORD_MAX (64u << 10) /* bytes of the file: it needs not a thousand */

/* The highest version seen of an image; 0: none, or not known. */
uint64_t versions_seen(const struct public_key *key, const char *name);

/* Remembers one, if it is higher. An error says that it cannot be remembered. */
int versions_remember(const struct public_key *key, const char *name, uint64_t version, struct err *e);

/* Appends the last word of a key about an image to out; -ENOENT, ... */
int last_word_load(const struct public_key *key, const char *name, struct buf *out);
int last_word_remember(const struct public_key *key, const char *name, const void *text, size_t len, struct err *e);

#endif
