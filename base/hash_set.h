/* A set of hashes, with one number for each: open addressing, at most half full, 24 bytes a slot.
 * Keys are the first 16 bytes of a SHA-256, which nobody makes collide. One thread at a time. */
#ifndef BASE_HASH_SET_H
#define BASE_HASH_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sha256.h"

struct hash_slot {
	uint8_t key[16];
	uint32_t value;
	uint32_t used;
};

struct hash_set {
	struct hash_slot *slots; /* owned */
	size_t room;             /* a power of two, or 0 */
	size_t count;
};

/* The value of a hash, or NULL. Valid until the next hash_set_add(). */
uint32_t *hash_set_find(const struct hash_set *s, const struct hash *hash);

/* Adds a hash. 1: it is new; 0: it was there, and keeps its value; -ENOMEM. */
int hash_set_add(struct hash_set *s, const struct hash *hash, uint32_t value);

void hash_set_free(struct hash_set *s);

#endif
