/* The three kinds of packet (public key, secret key, signature) are fixed-size structs of bytes,
 * written and read whole as one base64 line below a comment line. Comments are for people only:
 * nothing is decided by them. Temporary copies of secrets are wiped. */
#include "format/signature.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/text.h"

#define SEED_LEN ED25519_KEY_LEN
#define SIGNATURE_LEN ED25519_SIGNATURE_LEN
#define COMMENT_MAX 1024 /* bytes of a comment line; signify's own limit */

static const char comment_head[] = "untrusted comment: ";

struct public_packet {
	uint8_t algorithm[2];
	uint8_t number[KEY_NUMBER_LEN];
	uint8_t key[32];
};

struct secret_packet {
	uint8_t algorithm[2];
	uint8_t kdf[2];
	uint8_t rounds[4]; /* u32be */
	uint8_t salt[16];
	uint8_t checksum[8];
	uint8_t number[KEY_NUMBER_LEN];
	uint8_t key[64];
};

struct signature_packet {
	uint8_t algorithm[2];
	uint8_t number[KEY_NUMBER_LEN];
	uint8_t signature[SIGNATURE_LEN];
};

_Static_assert(sizeof(struct public_packet) == 42, "padding");
_Static_assert(sizeof(struct secret_packet) == 104, "padding");
_Static_assert(sizeof(struct signature_packet) == 74, "padding");
_Static_assert(base64_size(sizeof(struct public_packet)) == PUBLIC_KEY_TEXT_MAX, "56 characters");

#define SECRET_TEXT_LEN (base64_size(sizeof(struct secret_packet)) - 1)
#define SIGNATURE_TEXT_LEN (base64_size(sizeof(struct signature_packet)) - 1)

static const uint8_t ed25519[2] = {'E', 'd'};
static const uint8_t bcrypt_kdf[2] = {'B', 'K'};

static void wipe_secret_packet(struct secret_packet *p)
{
	crypto_wipe(p, sizeof(*p));
}

static int secret_checksum(const uint8_t key[64], uint8_t out[8])
{
	uint8_t digest[SHA512_LEN];
	int r = crypto_sha512(digest, key, 64);

	if (r < 0)
		return r;
	memcpy(out, digest, 8);
	crypto_wipe(digest, sizeof(digest));
	return 0;
}

/* Decodes the one base64 line that a packet of len bytes makes. */
static bool decode_packet(void *packet, size_t len, const char *text, size_t text_len)
{
	uint8_t bytes[sizeof(struct secret_packet) +
		      2]; /* base64_decode() wants room for whole groups */
	bool good;

	if (text_len != base64_size(len) - 1)
		return false;
	good = base64_decode(bytes, sizeof(bytes), text, text_len) == (int)len;
	if (good)
		memcpy(packet, bytes, len);
	crypto_wipe(bytes, sizeof(bytes));
	return good;
}

int key_generate(struct secret_key *secret, struct public_key *public, struct err *e)
{
	if (crypto_random(secret->number, KEY_NUMBER_LEN) < 0 || crypto_random(secret->key, SEED_LEN) < 0)
		return err_set(e, -EIO, "no random numbers");
	if (crypto_ed25519_public(secret->key + SEED_LEN, secret->key) < 0)
		return err_set(e, -EIO, "the library for cryptography cannot make an Ed25519 key");
	key_public_of(secret, public);
	return 0;
}

void key_public_of(const struct secret_key *secret, struct public_key *public)
{
	memcpy(public->number, secret->number, KEY_NUMBER_LEN);
	memcpy(public->key, secret->key + SEED_LEN, 32);
}

void public_key_encode(const struct public_key *k, char out[PUBLIC_KEY_TEXT_MAX])
{
	struct public_packet p;

	memcpy(p.algorithm, ed25519, sizeof(ed25519));
	memcpy(p.number, k->number, KEY_NUMBER_LEN);
	memcpy(p.key, k->key, sizeof(p.key));
	base64_encode(out, &p, sizeof(p));
}

int public_key_decode(struct public_key *out, const char *text, size_t len, struct err *e)
{
	struct public_packet p;

	if (len != PUBLIC_KEY_TEXT_LEN)
		return err_set(e, -EINVAL, "a public key has %d characters, not %zu",
			PUBLIC_KEY_TEXT_LEN, len);
	if (!decode_packet(&p, sizeof(p), text, len))
		return err_set(e, -EINVAL, "a public key must be base64");
	if (memcmp(p.algorithm, ed25519, sizeof(ed25519)) != 0)
		return err_set(e, -EINVAL,
			"not a signify public key (these start with RWQ, RWR, RWS or RWT)");
	memcpy(out->number, p.number, KEY_NUMBER_LEN);
	memcpy(out->key, p.key, sizeof(p.key));
	return 0;
}

bool public_key_equal(const struct public_key *a, const struct public_key *b)
{
	return !memcmp(a->number, b->number, KEY_NUMBER_LEN) &&
	       !memcmp(a->key, b->key, sizeof(a->key));
}

/* Splits off the two lines that all the files start with. *line is the base64 text, *rest what
 * follows its newline (which may be missing at the end of the data). */
static int split_lines(const char *data, size_t len, const char **line, size_t *line_len,
	const char **rest, size_t *rest_len, struct err *e)
{
	const size_t head_len = sizeof(comment_head) - 1;
	const char *end = data + len, *newline;

	if (len < head_len || memcmp(data, comment_head, head_len) != 0)
		return err_set(e, -EINVAL, "does not start with \"%s\"", comment_head);
	newline = memchr(data, '\n', len < COMMENT_MAX + head_len ? len : COMMENT_MAX + head_len);
	if (!newline)
		return err_set(e, -EINVAL, "the comment line has no end");
	*line = newline + 1;
	newline = memchr(*line, '\n', (size_t)(end - *line));
	*line_len = (size_t)((newline ? newline : end) - *line);
	*rest = newline ? newline + 1 : end;
	*rest_len = (size_t)(end - *rest);
	return 0;
}

/* A file of exactly the two lines. */
static int split_file(
	const char *text, size_t len, const char **line, size_t *line_len, struct err *e)
{
	const char *rest;
	size_t rest_len;
	int r;

	r = split_lines(text, len, line, line_len, &rest, &rest_len, e);
	if (r < 0)
		return r;
	if (rest_len)
		return err_set(e, -EINVAL, "there is more behind the key");
	return 0;
}

static int write_lines(struct buf *out, const char *comment, const char *line)
{
	if (strlen(comment) >= COMMENT_MAX || strchr(comment, '\n'))
		return -EINVAL;
	return buf_printf(out, "%s%s\n%s\n", comment_head, comment, line);
}

int public_key_file(const struct public_key *k, const char *comment, struct buf *out)
{
	char text[PUBLIC_KEY_TEXT_MAX];

	public_key_encode(k, text);
	return write_lines(out, comment, text);
}

int public_key_file_parse(struct public_key *out, const char *text, size_t len, struct err *e)
{
	const char *line;
	size_t line_len;
	int r;

	r = split_file(text, len, &line, &line_len, e);
	if (r >= 0)
		r = public_key_decode(out, line, line_len, e);
	if (r < 0)
		err_add(e, "public key file");
	return r;
}

int secret_key_file(const struct secret_key *k, const char *comment, struct buf *out)
{
	_cleanup_(wipe_secret_packet) struct secret_packet p = {
		0}; /* rounds 0, and then the salt does not matter */
	char text[SECRET_TEXT_LEN + 1];
	int r;

	memcpy(p.algorithm, ed25519, sizeof(ed25519));
	memcpy(p.kdf, bcrypt_kdf, sizeof(bcrypt_kdf));
	r = secret_checksum(k->key, p.checksum);
	if (r < 0)
		return r;
	memcpy(p.number, k->number, KEY_NUMBER_LEN);
	memcpy(p.key, k->key, sizeof(p.key));
	base64_encode(text, &p, sizeof(p));
	r = write_lines(out, comment, text);
	crypto_wipe(text, sizeof(text));
	return r;
}

static int check_secret(const struct secret_packet *p, struct err *e)
{
	static const uint8_t no_rounds[4];
	uint8_t checksum[8], public[32];

	if (memcmp(p->algorithm, ed25519, sizeof(ed25519)) != 0 ||
		memcmp(p->kdf, bcrypt_kdf, sizeof(bcrypt_kdf)) != 0)
		return err_set(e, -EINVAL, "not a signify secret key");
	if (memcmp(p->rounds, no_rounds, sizeof(no_rounds)) != 0)
		return err_set(e, -EINVAL,
			"it is protected by a passphrase, which is not supported; make one "
			"without: signify -G -n");
	if (secret_checksum(p->key, checksum) < 0)
		return err_set(e, -ENOMEM, "no memory for a checksum");
	if (memcmp(checksum, p->checksum, sizeof(checksum)) != 0)
		return err_set(e, -EINVAL, "damaged: its checksum is wrong");
	/* Ed25519 with a public half that does not belong to the seed gives the seed away. */
	if (crypto_ed25519_public(public, p->key) < 0)
		return err_set(e, -EIO, "the library for cryptography cannot use an Ed25519 key");
	if (memcmp(public, p->key + SEED_LEN, sizeof(public)) != 0)
		return err_set(e, -EINVAL, "damaged: its public half does not belong to it");
	return 0;
}

int secret_key_file_parse(struct secret_key *out, const char *text, size_t len, struct err *e)
{
	_cleanup_(wipe_secret_packet) struct secret_packet p;
	const char *line;
	size_t line_len;
	int r;

	r = split_file(text, len, &line, &line_len, e);
	if (r < 0) {
		err_add(e, "secret key file");
		return r;
	}
	if (decode_packet(&p, sizeof(p), line, line_len))
		r = check_secret(&p, e);
	else
		r = err_set(e, -EINVAL, "not a signify secret key");
	if (r < 0) {
		err_add(e, "secret key file");
		return r;
	}
	memcpy(out->number, p.number, KEY_NUMBER_LEN);
	memcpy(out->key, p.key, sizeof(p.key));
	return 0;
}

int signature_sign(const struct secret_key *k, const char *comment, const void *message, size_t len,
	struct buf *out, struct err *e)
{
	char text[SIGNATURE_TEXT_LEN + 1];
	struct signature_packet p;
	int r;

	if (crypto_ed25519_sign(p.signature, k->key, message, len) < 0)
		return err_set(e, -EIO, "the library for cryptography cannot sign");
	memcpy(p.algorithm, ed25519, sizeof(ed25519));
	memcpy(p.number, k->number, KEY_NUMBER_LEN);
	base64_encode(text, &p, sizeof(p));
	r = write_lines(out, comment, text);
	if (r >= 0)
		r = buf_append(out, message, len);
	return r < 0 ? err_set(e, r, "cannot write a signed message of %zu bytes", len) : 0;
}

static int verify(const struct public_key *key, const struct signature_packet *p,
	const char *message, size_t len, struct err *e)
{
	int r;

	if (memcmp(p->number, key->number, KEY_NUMBER_LEN) != 0)
		return err_set(e, -EKEYREJECTED, "signed by another key");
	r = crypto_ed25519_verify(key->key, p->signature, message, len);
	if (r == -EKEYREJECTED)
		return err_set(e, r, "the signature is wrong");
	return r < 0 ? err_set(e, r, "the library for cryptography cannot verify") : 0;
}

/* The parts of a signed message, which point into data. */
static int split_signed(const char *data, size_t len, struct signature_packet *p, const char **message, size_t *message_len,
	struct err *e)
{
	const char *line;
	size_t line_len;
	int r = split_lines(data, len, &line, &line_len, message, message_len, e);

	if (r < 0) {
		err_add(e, "not a signed message");
		return r;
	}
	if (!decode_packet(p, sizeof(*p), line, line_len) || memcmp(p->algorithm, ed25519, sizeof(ed25519)) != 0)
		return err_set(e, -EINVAL, "not a signed message: its second line is no signify signature");
	if (line + line_len == data + len) /* the newline belongs to the form, even before an empty message */
		return err_set(e, -EINVAL, "not a signed message: nothing follows the signature");
	return 0;
}

int signature_key_number(const char *data, size_t len, uint8_t out[KEY_NUMBER_LEN], struct err *e)
{
	struct signature_packet p;
	const char *message;
	size_t message_len;
	int r = split_signed(data, len, &p, &message, &message_len, e);

	if (r >= 0)
		memcpy(out, p.number, KEY_NUMBER_LEN);
	return r;
}

int signature_open(const struct public_key *key, const char *data, size_t len, const char **message,
	size_t *message_len, struct err *e)
{
	struct signature_packet p;
	const char *rest;
	size_t rest_len;
	int r = split_signed(data, len, &p, &rest, &rest_len, e);

	if (r >= 0 && key)
		r = verify(key, &p, rest, rest_len, e);
	if (r < 0)
		return r;
	*message = rest;
	*message_len = rest_len;
	return 0;
}
