/* crypto.h by wolfSSL's wolfCrypt. */
#include <wolfssl/options.h>

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/sha256.h>
#include <wolfssl/wolfcrypt/sha512.h>

#include "base/crypto.h"

#define PIECE (1u << 30) /* lengths are 32 bits wide there */

int crypto_sha256(uint8_t out[SHA256_LEN], const void *data, size_t len)
{
	const uint8_t *p = data;
	wc_Sha256 sha;
	int r = wc_InitSha256(&sha);

	if (r)
		return -ENOMEM;
	for (size_t n; !r && len; p += n, len -= n) {
		n = len < PIECE ? len : PIECE;
		r = wc_Sha256Update(&sha, p, (word32)n);
	}
	r = r ? r : wc_Sha256Final(&sha, out);
	wc_Sha256Free(&sha);
	return r ? -ENOMEM : 0;
}

int crypto_sha512(uint8_t out[SHA512_LEN], const void *data, size_t len)
{
	return len < PIECE && !wc_Sha512Hash(data, (word32)len, out) ? 0 : -ENOMEM;
}

int crypto_random(void *out, size_t len)
{
	return getrandom(out, len, 0) == (ssize_t)len ? 0 : -EIO;
}

int crypto_ed25519_public(uint8_t out[ED25519_KEY_LEN], const uint8_t seed[ED25519_KEY_LEN])
{
	ed25519_key key;
	int r = wc_ed25519_init(&key);

	if (r)
		return -EIO;
	r = wc_ed25519_import_private_only(seed, ED25519_KEY_LEN, &key);
	r = r ? r : wc_ed25519_make_public(&key, out, ED25519_KEY_LEN);
	wc_ed25519_free(&key);
	return r ? -EIO : 0;
}

int crypto_ed25519_sign(uint8_t out[ED25519_SIGNATURE_LEN], const uint8_t seed[ED25519_KEY_LEN], const void *message, size_t len)
{
	uint8_t public[ED25519_KEY_LEN];
	word32 out_len = ED25519_SIGNATURE_LEN;
	ed25519_key key;
	int r = len < PIECE ? crypto_ed25519_public(public, seed) : -EIO;

	if (r || wc_ed25519_init(&key))
		return -EIO;
	r = wc_ed25519_import_private_key(seed, ED25519_KEY_LEN, public, ED25519_KEY_LEN, &key);
	r = r ? r : wc_ed25519_sign_msg(message, (word32)len, out, &out_len, &key);
	wc_ed25519_free(&key);
	return r || out_len != ED25519_SIGNATURE_LEN ? -EIO : 0;
}

int crypto_ed25519_verify(const uint8_t key[ED25519_KEY_LEN], const uint8_t signature[ED25519_SIGNATURE_LEN], const void *message,
	size_t len)
{
	ed25519_key k;
	int good = 0, r;

	if (len >= PIECE || wc_ed25519_init(&k))
		return -EIO;
	r = wc_ed25519_import_public(key, ED25519_KEY_LEN, &k);
	r = r ? r : wc_ed25519_verify_msg(signature, ED25519_SIGNATURE_LEN, message, (word32)len, &good, &k);
	wc_ed25519_free(&k);
	return !r && good == 1 ? 0 : -EKEYREJECTED;
}

void crypto_wipe(void *secret, size_t len)
{
	explicit_bzero(secret, len);
}
