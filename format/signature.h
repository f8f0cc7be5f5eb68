/* Keys and signatures in the form of OpenBSD's signify(1): Ed25519 (base/crypto.h), text files of a comment line and a base64
 * line. Facts from signify's manual and source:
 *
 *	public key	"Ed" · 8 bytes key number · 32 bytes key			(base64: 56 characters, RWQ...)
 *	secret key	"Ed" · "BK" · u32be KDF rounds · 16 bytes salt · 8 bytes checksum · 8 bytes key number · 64 bytes
 *			key (seed, then public key). checksum: the first 8 bytes of SHA-512 of the 64. Rounds 0: no
 *			passphrase; others (bcrypt_pbkdf) are refused with a message that says how to make one without.
 *	signature	"Ed" · 8 bytes key number · 64 bytes
 *	signed message	"untrusted comment: ...\n" · base64 of the signature · "\n" · the message (what `signify -Se` writes)
 *
 * Pure: no I/O (but for random numbers). Any thread. */
#ifndef FORMAT_SIGNATURE_H
#define FORMAT_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define KEY_NUMBER_LEN 8
#define SIGNED_FILE_MAX (4u << 20) /* bytes of a file of people's with its signature: `inetboot key --sign`, `inetboot get` */
#define PUBLIC_KEY_TEXT_LEN 56			    /* base64 characters */
#define PUBLIC_KEY_TEXT_MAX (PUBLIC_KEY_TEXT_LEN + 1) /* with the NUL */

struct public_key {
	uint8_t number[KEY_NUMBER_LEN];
	uint8_t key[32];
};

struct secret_key {
	uint8_t number[KEY_NUMBER_LEN];
	uint8_t key[64];
};

/* A fresh pair. */
int key_generate(struct secret_key *secret, struct public_key *public, struct err *e);
void key_public_of(const struct secret_key *secret, struct public_key *public);

void public_key_encode(const struct public_key *k, char out[PUBLIC_KEY_TEXT_MAX]);
/* Exactly the 56 characters. */
int public_key_decode(struct public_key *out, const char *text, size_t len, struct err *e);
bool public_key_equal(const struct public_key *a, const struct public_key *b);

/* Whole key files: comment line and base64 line. The comment must not hold a newline. */
int public_key_file(const struct public_key *k, const char *comment, struct buf *out);
int public_key_file_parse(struct public_key *out, const char *text, size_t len, struct err *e);
int secret_key_file(const struct secret_key *k, const char *comment, struct buf *out);
int secret_key_file_parse(struct secret_key *out, const char *text, size_t len, struct err *e);

/* Appends the signed form of a message to out. comment: "" or what follows "untrusted comment: ". */
int signature_sign(const struct secret_key *k, const char *comment, const void *message, size_t len, struct buf *out,
	struct err *e);

/* The number of the key that is said to have signed a message: which key to try, no proof of anything. -EINVAL as below. */
int signature_key_number(const char *data, size_t len, uint8_t out[KEY_NUMBER_LEN], struct err *e);

/* Splits a signed message and checks it. On success *message and *message_len point into data. key NULL: only the shape is
 * checked, not the signature (the caller must have said so to the person). -EINVAL for a wrong shape, -EKEYREJECTED for
 * another key or a wrong signature. */
int signature_open(const struct public_key *key, const char *data, size_t len, const char **message, size_t *message_len,
	struct err *e);

#endif
