/* SHA-256 (crypto.h): the name of every block. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_LEN 32
#define HASH_HEX_MAX (2 * HASH_LEN + 1)

struct hash {
	uint8_t bytes[HASH_LEN];
};

/* Any thread. Cannot fail: a library that cannot hash for five seconds ends the program. */
void hash_of(struct hash *out, const void *data, size_t len);

static inline bool hash_equal(const struct hash *a, const struct hash *b)
{
	return !memcmp(a->bytes, b->bytes, HASH_LEN);
}

/* The all-zero hash stands for a hole. */
static inline bool hash_is_hole(const struct hash *h)
{
	static const struct hash zero;

	return hash_equal(h, &zero);
}

void hash_hex(const struct hash *h, char out[HASH_HEX_MAX]);

/* A UUID made of a hash: version 8, made as its maker likes. */
#define HASH_UUID_MAX 37
void hash_uuid(const struct hash *h, char out[HASH_UUID_MAX]);

#endif
