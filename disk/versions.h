/* What this user has seen: the highest version of each image, so that a mirror cannot hand out an older one unnoticed.
 * Kept in $XDG_STATE_HOME/inetboot/versions, one small file for each key and name. Any thread, any process: the larger number
 * wins in the end. Without a writable state folder there is no memory, and a warning. */
#ifndef DISK_VERSIONS_H
#define DISK_VERSIONS_H

#include <stdint.h>

#include "format/signature.h"

/* The highest version seen of an image; 0: none, or not known. */
uint64_t versions_seen(const struct public_key *key, const char *name);

/* Remembers one, if it is higher. */
void versions_remember(const struct public_key *key, const char *name, uint64_t version);

#endif
