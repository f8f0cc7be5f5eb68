/* The library that hashes may allocate for each call: a moment without memory must not end the process that has somebody's
 * root disk. */
#include "base/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/text.h"

#define TRIES 500
#define PAUSE_US 10000

void hash_of(struct hash *out, const void *data, size_t len)
{
	for (int i = 0; crypto_sha256(out->bytes, data, len) < 0; i++) {
		if (i == TRIES)
			abort();
		usleep(PAUSE_US);
	}
}

void hash_hex(const struct hash *h, char out[HASH_HEX_MAX])
{
	hex_encode(out, h->bytes, HASH_LEN);
}

void hash_uuid(const struct hash *h, char out[HASH_UUID_MAX])
{
	struct hash uuid = *h;
	char hex[HASH_HEX_MAX];

	uuid.bytes[6] = (uuid.bytes[6] & 0x0f) | 0x80;
	uuid.bytes[8] = (uuid.bytes[8] & 0x3f) | 0x80;
	hash_hex(&uuid, hex);
	snprintf(out, HASH_UUID_MAX, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}
