/* Blocks: what is written is read, and nothing else is: every way in which a frame can lie. */
#include "random.h"

#include <errno.h>
#include <pthread.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "format/block.h"

static const char text[] = "the quick brown fox jumps over the lazy dog, again and again and again";

#define TEXT_LEN (sizeof(text) - 1)

struct fixture {
	struct buf frame;
	struct hash hash;
	uint8_t out[4096];
	struct err e;
};

static int make_fixture(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->frame = (struct buf)BUF_INIT(2 * BLOCK_FILE_MAX);
	hash_of(&f->hash, text, TEXT_LEN);
	*state = f;
	return block_encode(&f->frame, text, TEXT_LEN, 3, NULL);
}

static int free_fixture(void **state)
{
	struct fixture *f = *state;

	buf_free(&f->frame);
	free(f);
	return 0;
}

static void expect_bad(struct fixture *f, const void *frame, size_t frame_len, const char *why)
{
	assert_int_equal(
		block_decode(f->out, TEXT_LEN, &f->hash, frame, frame_len, &f->e), -EBADMSG);
	if (!strstr(f->e.text, why))
		fail_msg("\"%s\" is not in \"%s\"", why, f->e.text);
	assert_int_equal(
		block_decode(f->out, TEXT_LEN, &f->hash, frame, frame_len, NULL), -EBADMSG);
}

static void test_path(void **state)
{
	struct hash h;
	char path[BLOCK_PATH_MAX];

	hash_of(&h, "abc", 3);
	block_path(&h, path);
	assert_string_equal(
		path, "blocks/ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* The example of docs/format.md. */
static void test_vector(void **state)
{
	static const uint8_t frame[] = {
		0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x06, 0x31, 0, 0, 'h', 'e', 'l', 'l', 'o', '\n'};
	struct hash h;
	char out[6];

	hash_of(&h, "hello\n", 6);
	assert_int_equal(block_decode(out, 6, &h, frame, sizeof(frame), NULL), 0);
	assert_memory_equal(out, "hello\n", 6);
}

static void test_round_trip(void **state)
{
	static const size_t lens[] = {1, 2, 100, 65536, 1 << 20, BLOCK_LEN_MAX};
	_cleanup_free_ uint8_t *data = malloc(BLOCK_LEN_MAX), *back = malloc(BLOCK_LEN_MAX);
	_cleanup_buf_ struct buf frame = BUF_INIT(BLOCK_FILE_MAX);
	struct random r = random_start(6);

	for (size_t i = 0; i < 2 * sizeof(lens) / sizeof(lens[0]); i++) {
		size_t len = lens[i / 2];
		struct hash h;

		random_fill(&r, data, len);
		if (i % 2)
			memset(data, 'x', len);
		hash_of(&h, data, len);
		assert_int_equal(block_encode(&frame, data, len, 1 + (int)i % 5, NULL), 0);
		assert_true(frame.len <= BLOCK_FILE_MAX);
		assert_int_equal(block_claimed_len(frame.data, frame.len, NULL), len);
		assert_int_equal(block_decode(back, len, &h, frame.data, frame.len, NULL), 0);
		assert_memory_equal(back, data, len);
	}
}

static void test_encode_bounds(void **state)
{
	_cleanup_free_ uint8_t *data = calloc(1, BLOCK_LEN_MAX + 1);
	_cleanup_buf_ struct buf frame = BUF_INIT(BLOCK_FILE_MAX), small = BUF_INIT(10);

	assert_int_equal(block_encode(&frame, data, 0, 3, NULL), -EINVAL);
	assert_int_equal(block_encode(&frame, data, BLOCK_LEN_MAX + 1, 3, NULL), -EINVAL);
	assert_int_equal(block_encode(&frame, data, 10, 1000, NULL), -EINVAL);
	assert_int_equal(block_encode(&frame, data, 10, INT32_MIN, NULL), -EINVAL);
	assert_int_equal(block_encode(&small, data, 10, 3, NULL), -EFBIG);
	assert_true(ZSTD_compressBound(BLOCK_LEN_MAX) <= BLOCK_FILE_MAX);
}

static void test_wrong_hash(void **state)
{
	struct fixture *f = *state;

	f->hash.bytes[31] ^= 1;
	expect_bad(f, f->frame.data, f->frame.len, "wrong content: its SHA-256 is");
}

static void test_wrong_length(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		block_decode(f->out, TEXT_LEN - 1, &f->hash, f->frame.data, f->frame.len, &f->e),
		-EBADMSG);
	assert_non_null(strstr(f->e.text, "wrong length"));
	assert_int_equal(
		block_decode(f->out, TEXT_LEN + 1, &f->hash, f->frame.data, f->frame.len, &f->e),
		-EBADMSG);
	assert_int_equal(
		block_decode(f->out, 0, &f->hash, f->frame.data, f->frame.len, &f->e), -EBADMSG);
}

static void test_truncated_at_every_byte(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 0; len < f->frame.len; len++) {
		_cleanup_free_ uint8_t *cut =
			malloc(len ? len : 1); /* a read past the end shows under ASan */

		memcpy(cut, f->frame.data, len);
		assert_int_equal(
			block_decode(f->out, TEXT_LEN, &f->hash, cut, len, &f->e), -EBADMSG);
	}
}

static void test_every_flipped_bit_is_found(void **state)
{
	struct fixture *f = *state;

	for (size_t bit = 0; bit < 8 * f->frame.len; bit++) {
		int r;

		f->frame.data[bit / 8] ^= 1 << bit % 8;
		r = block_decode(f->out, TEXT_LEN, &f->hash, f->frame.data, f->frame.len, &f->e);
		/* the header has a bit that decoders must ignore: then the content is right */
		assert_true(r == -EBADMSG || (!r && !memcmp(f->out, text, TEXT_LEN)));
		f->frame.data[bit / 8] ^= 1 << bit % 8;
	}
}

static void test_garbage_behind(void **state)
{
	struct fixture *f = *state;

	buf_append(&f->frame, "x", 1);
	expect_bad(f, f->frame.data, f->frame.len, "1 bytes behind the zstd frame");
}

static void test_two_frames(void **state)
{
	struct fixture *f = *state;
	size_t len = f->frame.len;

	buf_reserve(&f->frame, len);
	buf_append(&f->frame, f->frame.data, len);
	expect_bad(f, f->frame.data, f->frame.len, "behind the zstd frame");
}

/* Two frames that together make the right bytes. */
static void test_split_frames(void **state)
{
	struct fixture *f = *state;
	uint8_t frames[256];
	size_t n = ZSTD_compress(frames, sizeof(frames), text, 30, 3);

	n += ZSTD_compress(frames + n, sizeof(frames) - n, text + 30, TEXT_LEN - 30, 3);
	expect_bad(f, frames, n, "wrong length");
}

static void test_skippable_frame(void **state)
{
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'a', 'b', 'c', 'd'};
	struct fixture *f = *state;
	_cleanup_buf_ struct buf both = BUF_INIT(4096);

	expect_bad(f, skippable, sizeof(skippable), "not a zstd frame");
	buf_append(&both, skippable, sizeof(skippable));
	buf_append(&both, f->frame.data, f->frame.len);
	expect_bad(f, both.data, both.len, "not a zstd frame");
	buf_append(&f->frame, skippable, sizeof(skippable));
	expect_bad(f, f->frame.data, f->frame.len, "behind the zstd frame");
}

static void test_no_content_size(void **state)
{
	struct fixture *f = *state;
	ZSTD_CCtx *ctx = ZSTD_createCCtx();
	uint8_t frame[256];
	size_t n;

	ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, 0);
	n = ZSTD_compress2(ctx, frame, sizeof(frame), text, TEXT_LEN);
	ZSTD_freeCCtx(ctx);
	assert_false(ZSTD_isError(n));
	expect_bad(f, frame, n, "does not say its content size");
	assert_int_equal(block_claimed_len(frame, n, &f->e), -EBADMSG);
}

static void test_checksummed_frame_is_fine(void **state)
{
	struct fixture *f = *state;
	ZSTD_CCtx *ctx = ZSTD_createCCtx();
	uint8_t frame[256];
	size_t n;

	ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, 1);
	n = ZSTD_compress2(ctx, frame, sizeof(frame), text, TEXT_LEN);
	ZSTD_freeCCtx(ctx);
	assert_int_equal(block_decode(f->out, TEXT_LEN, &f->hash, frame, n, &f->e), 0);
	frame[n - 1] ^= 1;
	expect_bad(f, frame, n, "damaged");
}

static void test_needs_no_dictionary(void **state)
{
	static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, TEXT_LEN, 3, 0, 0, 'a'};
	struct fixture *f = *state;

	assert_int_equal(
		block_decode(f->out, TEXT_LEN, &f->hash, frame, sizeof(frame), &f->e), -EBADMSG);
}

/* Magic, single segment with an 8-byte content size, then one RLE block: 17 bytes that claim a lot.
 */
static void test_claims_too_much(void **state)
{
	static const uint64_t claims[] = {
		0, BLOCK_LEN_MAX + 1, 1ULL << 32, 1ULL << 40, INT64_MAX, UINT64_MAX - 2};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		uint8_t frame[17] = {0x28, 0xb5, 0x2f, 0xfd, 0xe0};

		for (int k = 0; k < 8; k++)
			frame[5 + k] = claims[i] >> (8 * k);
		frame[13] = 3; /* last block, RLE */
		expect_bad(f, frame, sizeof(frame), "claims");
		assert_int_equal(block_claimed_len(frame, sizeof(frame), NULL), -EBADMSG);
	}
}

/* The header tells the truth about nothing: 70 bytes are claimed, blocks of 128 KiB follow. */
static void test_longer_than_claimed(void **state)
{
	uint8_t frame[] = {
		0x28, 0xb5, 0x2f, 0xfd, 0x20, TEXT_LEN, 0x02, 0, 0x10, 'a', 0x03, 0, 0x10, 'a'};
	struct fixture *f = *state;

	expect_bad(f, frame, sizeof(frame), "damaged");
}

/* A window of 2 GiB and more is asked for, 70 bytes are meant: nothing like it may be allocated
 * (ASan's limit would tell). */
static void test_absurd_window(void **state)
{
	uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x80, 0xff, TEXT_LEN, 0, 0, 0,
		0x03 | (TEXT_LEN & 31) << 3, TEXT_LEN >> 5, 0, 'a'};
	struct fixture *f = *state;
	uint8_t as[TEXT_LEN];
	int r;

	memset(as, 'a', sizeof(as));
	hash_of(&f->hash, as, sizeof(as));
	r = block_decode(f->out, TEXT_LEN, &f->hash, frame, sizeof(frame), &f->e);
	assert_true(!r || r == -EBADMSG);
	assert_true(r || !memcmp(f->out, as, sizeof(as)));
}

static void test_legacy_and_foreign_formats(void **state)
{
	static const uint8_t legacy[] = {0x27, 0xb5, 0x2f, 0xfd, 0x24, TEXT_LEN, 0, 0, 0, 0, 0, 0};
	static const uint8_t gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
	struct fixture *f = *state;

	expect_bad(f, legacy, sizeof(legacy), "not a zstd frame");
	expect_bad(f, gzip, sizeof(gzip), "not a zstd frame");
	expect_bad(f, "", 0, "not a zstd frame");
}

static void *work(void *p)
{
	uintptr_t seed = (uintptr_t)p;
	struct random r = {seed};

	for (int i = 0; i < 200; i++) {
		_cleanup_buf_ struct buf frame = BUF_INIT(BLOCK_FILE_MAX);
		uint8_t data[3000], back[3000];
		struct hash h;

		random_fill(&r, data, sizeof(data));
		hash_of(&h, data, sizeof(data));
		if (block_encode(&frame, data, sizeof(data), 1, NULL) < 0 ||
			block_decode(back, sizeof(back), &h, frame.data, frame.len, NULL) < 0 ||
			memcmp(data, back, sizeof(data)) != 0)
			return p;
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[8];

	for (uintptr_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
	for (size_t i = 0; i < 8; i++) {
		void *result;

		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
}

#define with_frame(f) cmocka_unit_test_setup_teardown(f, make_fixture, free_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_encode_bounds),
		with_frame(test_wrong_hash),
		with_frame(test_wrong_length),
		with_frame(test_truncated_at_every_byte),
		with_frame(test_every_flipped_bit_is_found),
		with_frame(test_garbage_behind),
		with_frame(test_two_frames),
		with_frame(test_split_frames),
		with_frame(test_skippable_frame),
		with_frame(test_no_content_size),
		with_frame(test_checksummed_frame_is_fine),
		with_frame(test_needs_no_dictionary),
		with_frame(test_claims_too_much),
		with_frame(test_longer_than_claimed),
		with_frame(test_absurd_window),
		with_frame(test_legacy_and_foreign_formats),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
