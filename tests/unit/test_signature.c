/* Keys and signatures: RFC 8032's vector in signify's form, round trips, and every byte that can be
 * wrong. That signify itself agrees is tests/interop/signify.sh. */
#include "random.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "format/signature.h"

/* RFC 8032, 7.1, test 2 (message: the byte 0x72), with the key number 0102030405060708 */
static const char rfc_seed[] = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
static const char rfc_public[] = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
static const char rfc_signature[] =
	"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
	"085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

struct fixture {
	struct secret_key secret;
	struct public_key public;
	struct buf out;
	struct err e;
};

static int make_fixture(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	f->out = (struct buf)BUF_INIT(1 << 20);
	for (int i = 0; i < KEY_NUMBER_LEN; i++)
		f->secret.number[i] = i + 1;
	if (hex_decode(f->secret.key, 32, rfc_seed, 64) < 0 ||
		hex_decode(f->secret.key + 32, 32, rfc_public, 64) < 0)
		return -1;
	key_public_of(&f->secret, &f->public);
	return 0;
}

static int free_fixture(void **state)
{
	struct fixture *f = *state;

	buf_free(&f->out);
	free(f);
	return 0;
}

static void test_vector(void **state)
{
	struct fixture *f = *state;
	uint8_t packet[74] = "Ed\1\2\3\4\5\6\7\10";
	char line[base64_size(74)], key[PUBLIC_KEY_TEXT_MAX];
	_cleanup_buf_ struct buf expected = BUF_INIT(1000);

	assert_int_equal(hex_decode(packet + 10, 64, rfc_signature, 128), 0);
	base64_encode(line, packet, sizeof(packet));
	buf_printf(&expected, "untrusted comment: test\n%s\nr", line);
	assert_int_equal(signature_sign(&f->secret, "test", "r", 1, &f->out, &f->e), 0);
	assert_int_equal(f->out.len, expected.len);
	assert_memory_equal(f->out.data, expected.data, expected.len);

	public_key_encode(&f->public, key);
	assert_string_equal(key, "RWQBAgMEBQYHCD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM");
}

/* The example of docs/format.md: the manifest whose text test_manifest.c checks. */
static void test_signed_manifest_vector(void **state)
{
	static const char message[] =
		"{\n  \"format\": 1,\n  \"name\": \"hello\",\n  \"version\": 1,\n"
		"  \"created\": \"2026-01-31T12:00:00Z\",\n  \"size\": 1048582,\n  \"index\": {\n"
		"    \"root\": "
		"\"b8647a0695c3a91d54a9f6bfab4e5191042b11b7a1a612c3f29e3bd2909c2845\",\n"
		"    \"depth\": 1,\n    \"chunks\": 2\n  }\n}\n";
	static const char expected[] =
		"untrusted comment: verify with hello.pub\n"
		"RWQBAgMEBQYHCD1NMvRhF0dy/PUASorAzeycN/"
		"7q1FEopF8TkNffzSnRfqIPfLFDbDkk0oXo26YvtHH75+QWE1sWRw+XB9ETXQg=\n{";
	struct fixture *f = *state;

	assert_int_equal(signature_sign(&f->secret, "verify with hello.pub", message,
				 strlen(message), &f->out, &f->e),
		0);
	assert_memory_equal(f->out.data, expected, strlen(expected));
	f->out.len = 0;
	assert_int_equal(secret_key_file(&f->secret, "RFC 8032", &f->out), 0);
	assert_string_equal((char *)f->out.data,
		"untrusted comment: RFC "
		"8032\nRWRCSwAAAAAAAAAAAAAAAAAAAAAAAAAAiNKa7IGgO0kBAgMEBQYHCEzNCJso/"
		"5banbbDRuwRTg9bij"
		"GfNaumJNqM9u1PuKb7PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n");
}

/* The last word of docs/format.md: the same image gives its key up for that of RFC 8032, 7.1, test 3. */
static void test_last_word_vector(void **state)
{
	static const char rfc_next[] = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
	static const char message[] =
		"{\n  \"format\": 1,\n  \"name\": \"hello\",\n  \"version\": 1,\n"
		"  \"created\": \"2026-01-31T12:00:00Z\",\n  \"size\": 1048582,\n  \"index\": {\n"
		"    \"root\": \"b8647a0695c3a91d54a9f6bfab4e5191042b11b7a1a612c3f29e3bd2909c2845\",\n"
		"    \"depth\": 1,\n    \"chunks\": 2\n  },\n"
		"  \"next_key\": \"RWQREhMUFRYXGPxRzY5iGKGjjaR+0AIw8FgIFu0TujMDrF3rkRVIkIAl\"\n}\n";
	static const char expected[] =
		"untrusted comment: the next key\n"
		"RWQBAgMEBQYHCERXjCu8jfbYieZOJUOoKO3FqyOaKcCJA3eqQJEPbqa1bHJAvnbk2RSGiZZolIdWcr0EK6yMhyTjFFfnKFjznQA=\n{";
	struct public_key next = {.number = {17, 18, 19, 20, 21, 22, 23, 24}};
	uint8_t number[KEY_NUMBER_LEN];
	char text[PUBLIC_KEY_TEXT_MAX];
	struct fixture *f = *state;

	assert_int_equal(hex_decode(next.key, 32, rfc_next, 64), 0);
	public_key_encode(&next, text);
	assert_non_null(strstr(message, text));
	assert_int_equal(signature_sign(&f->secret, "the next key", message, strlen(message), &f->out, &f->e), 0);
	assert_memory_equal(f->out.data, expected, strlen(expected));
	assert_int_equal(signature_key_number((char *)f->out.data, f->out.len, number, NULL), 0);
	assert_memory_equal(number, f->public.number, KEY_NUMBER_LEN);
	assert_int_equal(signature_key_number((char *)f->out.data, 50, number, &f->e), -EINVAL);
}

static int open_it(struct fixture *f, const char **message, size_t *len)
{
	return signature_open(&f->public, (char *)f->out.data, f->out.len, message, len, &f->e);
}

static void test_sign_and_open(void **state)
{
	static const size_t lens[] = {0, 1, 100, 100000};
	struct fixture *f = *state;
	_cleanup_free_ uint8_t *data = malloc(100000);
	struct random r = random_start(8);

	random_fill(&r, data, 100000);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		const char *message;
		size_t len;

		f->out.len = 0;
		assert_int_equal(signature_sign(&f->secret, "", data, lens[i], &f->out, &f->e), 0);
		assert_int_equal(open_it(f, &message, &len), 0);
		assert_int_equal(len, lens[i]);
		assert_memory_equal(message, data, len);
		assert_ptr_equal(message + len, f->out.data + f->out.len);
	}
}

/* No byte behind the comment line can be changed. */
static void test_every_byte_counts(void **state)
{
	struct fixture *f = *state;
	const char *message;
	size_t len, start;

	assert_int_equal(signature_sign(&f->secret, "c", "{\"format\": 1}", 13, &f->out, &f->e), 0);
	start = (size_t)((uint8_t *)memchr(f->out.data, '\n', f->out.len) - f->out.data);
	for (size_t i = start; i < f->out.len; i++) {
		f->out.data[i] ^= 1;
		assert_true(open_it(f, &message, &len) < 0);
		f->out.data[i] ^= 1;
	}
	assert_int_equal(open_it(f, &message, &len), 0);
	for (size_t cut = 0; cut < f->out.len; cut++)
		assert_true(signature_open(&f->public, (char *)f->out.data, cut, &message, &len,
				    &f->e) < 0);
	buf_append(&f->out, "x", 1);
	assert_int_equal(open_it(f, &message, &len), -EKEYREJECTED);
}

static void test_other_keys(void **state)
{
	struct fixture *f = *state;
	struct secret_key other;
	struct public_key public;
	const char *message;
	size_t len;

	assert_int_equal(signature_sign(&f->secret, "", "m", 1, &f->out, &f->e), 0);
	assert_int_equal(key_generate(&other, &public, &f->e), 0);
	assert_false(public_key_equal(&public, &f->public));
	assert_int_equal(
		signature_open(&public, (char *)f->out.data, f->out.len, &message, &len, &f->e),
		-EKEYREJECTED);
	assert_non_null(strstr(f->e.text, "another key"));
	memcpy(public.number, f->public.number, KEY_NUMBER_LEN); /* the number is no secret */
	assert_int_equal(
		signature_open(&public, (char *)f->out.data, f->out.len, &message, &len, &f->e),
		-EKEYREJECTED);
	assert_non_null(strstr(f->e.text, "signature is wrong"));
	assert_int_equal(
		signature_open(NULL, (char *)f->out.data, f->out.len, &message, &len, &f->e), 0);
	assert_int_equal(len, 1);
}

static void test_wrong_shapes(void **state)
{
	struct fixture *f = *state;
	static const char *const wrong[] = {
		"",
		"untrusted comment:",
		"untrusted comment: x",
		"untrusted comment: x\n",
		"untrusted comment: x\n\n",
		"untrusted comment: x\nRWQ\nmessage",
		"comment: x\nRWQ\nmessage",
		"{\"format\": 1}",
		"\n\n\n",
	};
	_cleanup_free_ char *long_comment = malloc(100000);
	const char *message;
	size_t len;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(
			signature_open(NULL, wrong[i], strlen(wrong[i]), &message, &len, &f->e),
			-EINVAL);
		assert_int_equal(
			signature_open(NULL, wrong[i], strlen(wrong[i]), &message, &len, NULL),
			-EINVAL);
	}
	memset(long_comment, 'x', 100000);
	memcpy(long_comment, "untrusted comment: ", 19);
	long_comment[50000] = '\n';
	assert_int_equal(
		signature_open(NULL, long_comment, 100000, &message, &len, &f->e), -EINVAL);
	assert_non_null(strstr(f->e.text, "comment line has no end"));
}

static void test_comments(void **state)
{
	struct fixture *f = *state;
	char comment[1100];
	const char *message;
	size_t len;

	assert_int_equal(signature_sign(&f->secret, "two\nlines", "m", 1, &f->out, &f->e), -EINVAL);
	assert_int_equal(public_key_file(&f->public, "two\nlines", &f->out), -EINVAL);
	assert_int_equal(secret_key_file(&f->secret, "two\nlines", &f->out), -EINVAL);
	memset(comment, 'c', sizeof(comment));
	comment[1024] = 0;
	assert_int_equal(signature_sign(&f->secret, comment, "m", 1, &f->out, &f->e), -EINVAL);
	comment[1023] = 0;
	assert_int_equal(f->out.len, 0);
	assert_int_equal(signature_sign(&f->secret, comment, "m", 1, &f->out, &f->e), 0);
	assert_int_equal(open_it(f, &message, &len), 0);
}

static void test_public_key_text(void **state)
{
	struct fixture *f = *state;
	char text[PUBLIC_KEY_TEXT_MAX + 1];
	struct public_key back;

	public_key_encode(&f->public, text);
	assert_int_equal(strlen(text), PUBLIC_KEY_TEXT_LEN);
	assert_int_equal(public_key_decode(&back, text, PUBLIC_KEY_TEXT_LEN, &f->e), 0);
	assert_true(public_key_equal(&back, &f->public));
	assert_int_equal(public_key_decode(&back, text, PUBLIC_KEY_TEXT_LEN - 1, &f->e), -EINVAL);
	assert_int_equal(public_key_decode(&back, text, PUBLIC_KEY_TEXT_LEN + 1, &f->e), -EINVAL);
	assert_int_equal(public_key_decode(&back, text, 0, &f->e), -EINVAL);
	text[20] = '=';
	assert_int_equal(public_key_decode(&back, text, PUBLIC_KEY_TEXT_LEN, &f->e), -EINVAL);
	public_key_encode(&f->public, text);
	text[0] = 'S';
	assert_int_equal(public_key_decode(&back, text, PUBLIC_KEY_TEXT_LEN, &f->e), -EINVAL);
}

static void test_key_files(void **state)
{
	struct fixture *f = *state;
	struct secret_key secret;
	struct public_key public;

	assert_int_equal(key_generate(&f->secret, &f->public, &f->e), 0);
	assert_int_equal(secret_key_file(&f->secret, "my key", &f->out), 0);
	assert_int_equal(secret_key_file_parse(&secret, (char *)f->out.data, f->out.len, &f->e), 0);
	assert_memory_equal(&secret, &f->secret, sizeof(secret));
	assert_int_equal(
		secret_key_file_parse(&secret, (char *)f->out.data, f->out.len - 1, &f->e), 0);
	assert_int_equal(secret_key_file_parse(&secret, (char *)f->out.data, f->out.len - 2, &f->e),
		-EINVAL);
	buf_append(&f->out, "x", 1);
	assert_int_equal(
		secret_key_file_parse(&secret, (char *)f->out.data, f->out.len, &f->e), -EINVAL);

	f->out.len = 0;
	assert_int_equal(public_key_file(&f->public, "my key", &f->out), 0);
	assert_int_equal(public_key_file_parse(&public, (char *)f->out.data, f->out.len, &f->e), 0);
	assert_true(public_key_equal(&public, &f->public));
	assert_int_equal(
		secret_key_file_parse(&secret, (char *)f->out.data, f->out.len, &f->e), -EINVAL);
	assert_int_equal(
		secret_key_file_parse(&secret, (char *)f->out.data, f->out.len, NULL), -EINVAL);
	assert_non_null(strstr(f->e.text, "not a signify secret key"));
	buf_append(&f->out, "\n", 1);
	assert_int_equal(
		public_key_file_parse(&public, (char *)f->out.data, f->out.len, &f->e), -EINVAL);
}

/* Writes a secret key file after `change` flipped a bit of its packet. */
static void damaged_secret(struct fixture *f, size_t byte)
{
	uint8_t packet[108];
	char text[base64_size(104)], *line;

	f->out.len = 0;
	assert_int_equal(secret_key_file(&f->secret, "k", &f->out), 0);
	line = strchr((char *)f->out.data, '\n') + 1;
	assert_int_equal(base64_decode(packet, sizeof(packet), line, base64_size(104) - 1), 104);
	packet[byte] ^= 1;
	base64_encode(text, packet, 104);
	memcpy(line, text, sizeof(text) - 1);
}

static void test_damaged_secret_keys(void **state)
{
	static const struct {
		size_t byte;
		const char *why;
	} cases[] = {{0, "not a signify"}, {2, "not a signify"}, {7, "signify -G -n"},
		{24, "checksum"}, {40, "checksum"}, {100, "checksum"}};
	struct fixture *f = *state;
	struct secret_key out;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		damaged_secret(f, cases[i].byte);
		assert_int_equal(
			secret_key_file_parse(&out, (char *)f->out.data, f->out.len, &f->e),
			-EINVAL);
		if (!strstr(f->e.text, cases[i].why))
			fail_msg("%zu: %s", cases[i].byte, f->e.text);
	}
	f->secret.key[40] ^= 1; /* the checksum is right, the public half is not */
	f->out.len = 0;
	assert_int_equal(secret_key_file(&f->secret, "k", &f->out), 0);
	assert_int_equal(
		secret_key_file_parse(&out, (char *)f->out.data, f->out.len, &f->e), -EINVAL);
	assert_non_null(strstr(f->e.text, "public half"));
}

static void test_generated_keys_differ(void **state)
{
	struct secret_key a, b;
	struct public_key pa, pb;

	assert_int_equal(key_generate(&a, &pa, NULL), 0);
	assert_int_equal(key_generate(&b, &pb, NULL), 0);
	assert_true(memcmp(a.key, b.key, 32) != 0);
	assert_true(memcmp(a.number, b.number, KEY_NUMBER_LEN) != 0);
	assert_memory_equal(pa.key, a.key + 32, 32);
}

#define with_key(f) cmocka_unit_test_setup_teardown(f, make_fixture, free_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_key(test_vector),
		with_key(test_signed_manifest_vector),
		with_key(test_last_word_vector),
		with_key(test_sign_and_open),
		with_key(test_every_byte_counts),
		with_key(test_other_keys),
		with_key(test_wrong_shapes),
		with_key(test_comments),
		with_key(test_public_key_text),
		with_key(test_key_files),
		with_key(test_damaged_secret_keys),
		cmocka_unit_test(test_generated_keys_differ),
	};

	return cmocka_run_group_tests_name("signature", tests, NULL, NULL);
}
