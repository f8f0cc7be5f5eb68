/* crypto.h by libcrypto, which allocates for each call. */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/cleanup.h"
#include "base/crypto.h"

static void free_pkey(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}

static void free_md_ctx(EVP_MD_CTX **p)
{
	EVP_MD_CTX_free(*p);
}

int crypto_sha256(uint8_t out[SHA256_LEN], const void *data, size_t len)
{
	return EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) ? 0 : -ENOMEM;
}

int crypto_sha512(uint8_t out[SHA512_LEN], const void *data, size_t len)
{
	return EVP_Digest(data, len, out, NULL, EVP_sha512(), NULL) ? 0 : -ENOMEM;
}

int crypto_random(void *out, size_t len)
{
	return RAND_priv_bytes(out, (int)len) == 1 ? 0 : -EIO;
}

int crypto_ed25519_public(uint8_t out[ED25519_KEY_LEN], const uint8_t seed[ED25519_KEY_LEN])
{
	_cleanup_(free_pkey) EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, ED25519_KEY_LEN);
	size_t len = ED25519_KEY_LEN;

	return pkey && EVP_PKEY_get_raw_public_key(pkey, out, &len) == 1 && len == ED25519_KEY_LEN ? 0 : -EIO;
}

int crypto_ed25519_sign(uint8_t out[ED25519_SIGNATURE_LEN], const uint8_t seed[ED25519_KEY_LEN], const void *message, size_t len)
{
	_cleanup_(free_pkey) EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, ED25519_KEY_LEN);
	_cleanup_(free_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t out_len = ED25519_SIGNATURE_LEN;

	if (!pkey || !ctx || EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) != 1 ||
		EVP_DigestSign(ctx, out, &out_len, message, len) != 1 || out_len != ED25519_SIGNATURE_LEN)
		return -EIO;
	return 0;
}

int crypto_ed25519_verify(const uint8_t key[ED25519_KEY_LEN], const uint8_t signature[ED25519_SIGNATURE_LEN], const void *message,
	size_t len)
{
	_cleanup_(free_pkey) EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, ED25519_KEY_LEN);
	_cleanup_(free_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!pkey || !ctx || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) != 1)
		return -EIO;
	return EVP_DigestVerify(ctx, signature, ED25519_SIGNATURE_LEN, message, len) == 1 ? 0 : -EKEYREJECTED;
}

void crypto_wipe(void *secret, size_t len)
{
	OPENSSL_cleanse(secret, len);
}
