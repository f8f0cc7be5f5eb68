/* SHA-256 through libcrypto. */
#include "base/sha256.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/text.h"

void hash_of(struct hash *out, const void *data, size_t len)
{
	if (!EVP_Digest(data, len, out->bytes, NULL, EVP_sha256(), NULL))
		abort();
}

void hash_hex(const struct hash *h, char out[HASH_HEX_MAX])
{
	hex_encode(out, h->bytes, HASH_LEN);
}
