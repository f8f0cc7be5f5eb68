/* The few things that a library for cryptography is asked for: SHA-2 (FIPS 180-4), Ed25519 (RFC 8032), random numbers. By libcrypto
 * (crypto_openssl.c), or by wolfSSL (crypto_wolfssl.c) where the program has to be small: see meson_options.txt. Any thread. */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN 32
#define SHA512_LEN 64
#define ED25519_KEY_LEN 32 /* a seed, or a public key */
#define ED25519_SIGNATURE_LEN 64

/* 0, or -ENOMEM. */
int crypto_sha256(uint8_t out[SHA256_LEN], const void *data, size_t len);
int crypto_sha512(uint8_t out[SHA512_LEN], const void *data, size_t len);

/* All: 0, or -EIO where the library cannot. */
int crypto_random(void *out, size_t len);
int crypto_ed25519_public(uint8_t out[ED25519_KEY_LEN], const uint8_t seed[ED25519_KEY_LEN]);
int crypto_ed25519_sign(uint8_t out[ED25519_SIGNATURE_LEN], const uint8_t seed[ED25519_KEY_LEN], const void *message, size_t len);
/* -EKEYREJECTED: it is not this key's signature of this message. */
int crypto_ed25519_verify(const uint8_t key[ED25519_KEY_LEN], const uint8_t signature[ED25519_SIGNATURE_LEN], const void *message,
	size_t len);

/* Overwrites a secret, whatever a compiler thinks of that. */
void crypto_wipe(void *secret, size_t len);

#endif
