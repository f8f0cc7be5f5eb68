/* Keys and signed messages: all three parsers on the same bytes. Also: no bytes but a signed
 * message itself are accepted for a key whose secret half nobody used. */
#include "fuzz.h"

#include <errno.h>

#include "format/signature.h"

static void check_open(const struct public_key *key, const char *data, size_t size)
{
	uint8_t number[KEY_NUMBER_LEN];
	const char *message;
	struct err e = ERR_INIT;
	size_t len;
	int r;

	r = signature_open(key, data, size, &message, &len, &e);
	if (key)
		require(r == -EINVAL || r == -EKEYREJECTED);
	require((signature_key_number(data, size, number, NULL) < 0) == (r == -EINVAL));
	if (r < 0)
		require(e.text[0]);
	else
		require(message > data && message + len == data + size);
}

static void check_public(const char *data, size_t size)
{
	_cleanup_buf_ struct buf out = BUF_INIT(4096);
	struct public_key key, again;

	if (public_key_file_parse(&key, data, size, NULL) < 0)
		return;
	require(public_key_file(&key, "c", &out) == 0);
	require(public_key_file_parse(&again, (char *)out.data, out.len, NULL) == 0);
	require(public_key_equal(&key, &again));
}

static void check_secret(const char *data, size_t size)
{
	_cleanup_buf_ struct buf out = BUF_INIT(4096);
	struct secret_key key;
	struct public_key public;
	const char *message;
	size_t len;

	if (secret_key_file_parse(&key, data, size, NULL) < 0)
		return;
	key_public_of(&key, &public);
	require(signature_sign(&key, "", data, 10, &out, NULL) == 0);
	require(signature_open(&public, (char *)out.data, out.len, &message, &len, NULL) == 0 &&
		len == 10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct public_key nobody = {.number = {1, 2, 3, 4, 5, 6, 7, 8},
		.key = {0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7,
			0x4d, 0x1b, 0x7e, 0xbc, 0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c,
			0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0d}};
	const char *text = (const char *)data;

	check_open(NULL, text, size);
	check_open(&nobody, text, size);
	check_public(text, size);
	check_secret(text, size);
	return 0;
}
