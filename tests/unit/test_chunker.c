/* The chunker: bounds, determinism, resynchronisation, and a pinned vector that every
 * implementation must meet. */
#include "random.h"

#include "base/cleanup.h"
#include "base/sha256.h"
#include "format/chunker.h"

#define DATA_LEN (16u << 20)
#define CUTS_MAX (DATA_LEN / CHUNK_MIN + 1)

struct cuts {
	size_t count;
	size_t at[CUTS_MAX]; /* where chunks end */
};

static void cut_all(struct cuts *c, const uint8_t *data, size_t len)
{
	c->count = 0;
	for (size_t at = 0; at < len;) {
		size_t n = chunker_cut(data + at, len - at);

		assert_true(n > 0 && n <= CHUNK_MAX && n <= len - at);
		assert_true(n >= CHUNK_MIN || at + n == len);
		at += n;
		assert_true(c->count < CUTS_MAX);
		c->at[c->count++] = at;
	}
}

static void test_bounds_and_average(void **state)
{
	struct random r = random_start(1);
	_cleanup_free_ uint8_t *data = malloc(DATA_LEN);
	_cleanup_free_ struct cuts *c = malloc(sizeof(*c));
	size_t average;

	random_fill(&r, data, DATA_LEN);
	cut_all(c, data, DATA_LEN);
	average = DATA_LEN / c->count;
	print_message("average %zu bytes\n", average);
	assert_in_range(average, CHUNK_AVG * 3 / 4, CHUNK_AVG * 3 / 2);
}

static void test_short_data_is_one_chunk(void **state)
{
	uint8_t data[CHUNK_MIN] = {1};

	assert_int_equal(chunker_cut(data, 1), 1);
	assert_int_equal(chunker_cut(data, CHUNK_MIN - 1), CHUNK_MIN - 1);
	assert_int_equal(chunker_cut(data, CHUNK_MIN), CHUNK_MIN);
}

static void test_constant_bytes_give_longest_chunks(void **state)
{
	_cleanup_free_ uint8_t *data = calloc(1, 2 * CHUNK_MAX);

	assert_int_equal(chunker_cut(data, 2 * CHUNK_MAX), CHUNK_MAX);
	assert_int_equal(chunker_cut(data, CHUNK_MAX), CHUNK_MAX);
	assert_int_equal(chunker_cut(data, CHUNK_MAX - 1), CHUNK_MAX - 1);
}

/* Only the bytes of the chunk decide on its end: not what follows, and not how much of it is given.
 */
static void test_a_cut_depends_on_its_chunk_only(void **state)
{
	struct random r = random_start(2);
	_cleanup_free_ uint8_t *data = malloc(2 * CHUNK_MAX);

	for (int i = 0; i < 50; i++) {
		size_t n;

		random_fill(&r, data, 2 * CHUNK_MAX);
		n = chunker_cut(data, 2 * CHUNK_MAX);
		assert_int_equal(chunker_cut(data, CHUNK_MAX), n);
		assert_int_equal(chunker_cut(data, n), n);
		random_fill(&r, data + n, 2 * CHUNK_MAX - n);
		assert_int_equal(chunker_cut(data, 2 * CHUNK_MAX), n);
	}
}

/* After an insertion, the cuts behind it are the old ones, moved, from a few chunks on. */
static void test_resynchronises_after_an_insertion(void **state)
{
	struct random r = random_start(3);
	_cleanup_free_ uint8_t *old = malloc(DATA_LEN), *new = malloc(DATA_LEN + 100);
	_cleanup_free_ struct cuts *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));

	random_fill(&r, old, DATA_LEN);
	cut_all(a, old, DATA_LEN);
	for (int round = 0; round < 5; round++) {
		size_t where = random_below(&r, DATA_LEN / 2), more = 1 + random_below(&r, 100),
		       same = 0;

		memcpy(new, old, where);
		random_fill(&r, new + where, more);
		memcpy(new + where + more, old + where, DATA_LEN - where);
		cut_all(b, new, DATA_LEN + more - 100);
		for (size_t i = 0, k = 0; i < a->count && k < b->count;) {
			size_t moved = a->at[i] + (a->at[i] > where ? more : 0);

			same += moved == b->at[k];
			if (moved <= b->at[k])
				i++;
			else
				k++;
		}
		print_message("%zu of %zu cuts are the same\n", same, a->count);
		assert_true(same + 12 >= a->count);
	}
}

/* 1 MiB from the generator that docs/format.md gives, and the cuts that it must have. */
static void test_vector(void **state)
{
	static const size_t expected[] = {47651, 114719, 181298, 253618, 363512, 436728, 507029,
		652145, 763283, 867166, 947027, 1016162, 1048576};
	_cleanup_free_ uint8_t *data = malloc(1 << 20);
	_cleanup_free_ struct cuts *c = malloc(sizeof(*c));
	uint32_t x = 1;

	for (size_t i = 0; i < 1 << 20; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = x >> 24;
	}
	cut_all(c, data, 1 << 20);
	assert_int_equal(c->count, sizeof(expected) / sizeof(expected[0]));
	for (size_t i = 0; i < c->count; i++)
		assert_int_equal(c->at[i], expected[i]);
}

/* As docs/format.md says it, byte by byte. */
static size_t cut_slowly(const uint64_t *gear, const uint8_t *data, size_t len)
{
	uint64_t fp = 0;

	len = len < CHUNK_MAX ? len : CHUNK_MAX;
	for (size_t i = CHUNK_MIN; i < len; i++) {
		fp = 2 * fp + gear[data[i]];
		if (fp >> (64 - (i < CHUNK_AVG ? 18 : 14)) == 0)
			return i + 1;
	}
	return len;
}

static void test_by_definition(void **state)
{
	struct random r = random_start(4);
	_cleanup_free_ uint8_t *data = malloc(DATA_LEN);
	uint64_t gear[256] = {0};

	for (unsigned i = 0; i < 256; i++) {
		const uint8_t byte = i;
		struct hash h;

		hash_of(&h, &byte, 1);
		for (unsigned k = 8; k--;)
			gear[i] = gear[i] << 8 | h.bytes[k];
	}
	random_fill(&r, data, DATA_LEN);
	for (size_t at = 0; at < DATA_LEN;) {
		size_t left = random_below(&r, 4) ? DATA_LEN - at : 1 + random_below(&r, DATA_LEN - at),
		       n = chunker_cut(data + at, left);

		assert_int_equal(n, cut_slowly(gear, data + at, left));
		at += random_below(&r, 2) ? n : 1 + random_below(&r, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds_and_average),
		cmocka_unit_test(test_short_data_is_one_chunk),
		cmocka_unit_test(test_constant_bytes_give_longest_chunks),
		cmocka_unit_test(test_a_cut_depends_on_its_chunk_only),
		cmocka_unit_test(test_resynchronises_after_an_insertion),
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_by_definition),
	};

	return cmocka_run_group_tests_name("chunker", tests, NULL, NULL);
}
