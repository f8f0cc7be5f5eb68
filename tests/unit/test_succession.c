/* The keys that follow a link's key: last words in the right order, wrong ones, memory, and what versions count; and what the clock says of
 * a version. */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "disk/copies.h"
#include "disk/freshness.h"
#include "disk/succession.h"
#include "server.h"

#define KEYS (SUCCESSION_MAX + 3)

static struct secret_key secret[KEYS];
static struct public_key public[KEYS];
static char home[64];
static struct cache *cache;

/* A manifest of `name`, signed by a key; next: -1, or the key that it names. */
static struct buf word(int by, int next, const char *name, uint64_t version, bool revoked)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	struct buf out = BUF_INIT(MANIFEST_MAX);
	struct manifest m = {.version = version,
		.created = "2026-01-31T12:00:00Z",
		.image = {.size = 1, .depth = 1, .root.bytes = {1}},
		.chunks = 1,
		.has_next_key = next >= 0,
		.revoked = revoked};

	snprintf(m.name, sizeof(m.name), "%s", name);
	if (revoked)
		strcpy(m.reason, "stolen");
	if (next >= 0)
		m.next_key = public[next];
	assert_int_equal(manifest_encode(&m, &text, NULL), 0);
	assert_int_equal(signature_sign(&secret[by], "", text.data, text.len, &out, NULL), 0);
	return out;
}

static int add(struct succession *s, int by, int next, const char *name, struct err *e)
{
	_cleanup_buf_ struct buf text = word(by, next, name, 10 * ((uint64_t)by + 1), false);

	return succession_add(s, text.data, text.len, e);
}

static void begin(struct succession *s, int i, struct cache *c)
{
	succession_begin(s, &public[i], "x", c);
}

static int forget_all(void **state)
{
	folder_remove(home);
	setenv("XDG_STATE_HOME", home, 1);
	return file_mkdirs(home, NULL);
}

static void hops_are_followed_up_to_a_bound(void **state)
{
	struct succession s;
	struct err e = ERR_INIT;

	begin(&s, 0, NULL);
	assert_int_equal(s.count, 1);
	for (int i = 0; i < SUCCESSION_MAX; i++) {
		assert_int_equal(add(&s, i, i + 1, "x", NULL), 0);
		assert_true(public_key_equal(succession_last(&s), &public[i + 1]));
		assert_int_equal(s.until[i], 10 * (i + 1));
	}
	assert_int_equal(add(&s, SUCCESSION_MAX, SUCCESSION_MAX + 1, "x", &e), -ELOOP);
	assert_non_null(strstr(e.text, "more than 16 times"));
	assert_int_equal(s.count, SUCCESSION_MAX + 1);
	assert_int_equal(succession_find(&s, public[7].number), 7);
	assert_int_equal(succession_find(&s, public[KEYS - 1].number), -1);
	succession_cut(&s, 3);
	assert_true(public_key_equal(succession_last(&s), &public[2]));
	assert_int_equal(add(&s, 2, 9, "x", NULL), 0);
	succession_free(&s);
}

static void wrong_words_change_nothing(void **state)
{
	_cleanup_buf_ struct buf plain = word(1, -1, "x", 5, false), revoked = word(1, -1, "x", 5, true), large = word(1, 2, "x", 5, false);
	struct succession s;
	struct err e = ERR_INIT;

	begin(&s, 0, NULL);
	assert_int_equal(add(&s, 0, 1, "x", NULL), 0);
	assert_int_equal(add(&s, 0, 2, "x", &e), -EKEYREJECTED); /* not the last key's */
	assert_int_equal(add(&s, 2, 1, "x", &e), -EKEYREJECTED);
	assert_int_equal(add(&s, 1, 2, "y", &e), -EBADMSG);
	assert_non_null(strstr(e.text, "named y"));
	assert_int_equal(add(&s, 1, 0, "x", &e), -ELOOP); /* a cycle */
	assert_int_equal(add(&s, 1, 1, "x", &e), -ELOOP);
	assert_non_null(strstr(e.text, "leads back"));
	assert_int_equal(succession_add(&s, plain.data, plain.len, &e), -EBADMSG);
	assert_int_equal(succession_add(&s, revoked.data, revoked.len, &e), -EBADMSG);
	assert_int_equal(succession_add(&s, "", 0, &e), -EINVAL);
	large.data[large.len - 3] ^= 1;
	assert_int_equal(succession_add(&s, large.data, large.len, &e), -EKEYREJECTED);
	assert_int_equal(s.count, 2);
	succession_free(&s);
}

static void learn(int first, int hops, struct cache *c)
{
	struct succession s;

	begin(&s, first, c);
	for (int i = 0; i < hops; i++)
		assert_int_equal(add(&s, first + i, first + i + 1, "x", NULL), 0);
	assert_int_equal(succession_remember(&s, 0, c, NULL), 0);
	succession_free(&s);
}

static void expect_keys(int first, size_t count, struct cache *c)
{
	struct succession s;

	begin(&s, first, c);
	assert_int_equal(s.count, count);
	assert_false(s.revoked);
	succession_free(&s);
}

static void hops_are_remembered_here_and_in_the_cache(void **state)
{
	struct succession s;

	expect_keys(0, 1, cache);
	learn(0, 3, cache);
	expect_keys(0, 4, NULL);
	expect_keys(1, 3, NULL); /* of every key on the way */
	succession_begin(&s, &public[0], "y", cache);
	assert_int_equal(s.count, 1); /* of this image only */
	succession_free(&s);
	forget_all(NULL);
	expect_keys(0, 1, NULL);
	expect_keys(0, 4, cache);
	/* What one remembers oneself goes before what a cache that was brought along says. */
	begin(&s, 0, NULL);
	assert_int_equal(add(&s, 0, 7, "x", NULL), 0);
	assert_int_equal(succession_remember(&s, 0, NULL, NULL), 0);
	succession_free(&s);
	begin(&s, 0, cache);
	assert_true(public_key_equal(succession_last(&s), &public[7]));
	succession_free(&s);
}

static void damaged_memories_are_ignored(void **state)
{
	_cleanup_buf_ struct buf other = word(5, 6, "x", 1, false);

	learn(0, 1, NULL);
	expect_keys(0, 2, NULL);
	assert_int_equal(last_word_remember(&public[0], "x", "rubbish", 7, NULL), 0);
	expect_keys(0, 1, NULL);
	assert_int_equal(last_word_remember(&public[0], "x", other.data, other.len, NULL), 0);
	expect_keys(0, 1, NULL);
	setenv("XDG_STATE_HOME", "/proc/nowhere", 1);
	assert_true(last_word_remember(&public[0], "x", other.data, other.len, NULL) < 0);
	expect_keys(0, 1, NULL);
}

static void revocations_are_remembered(void **state)
{
	_cleanup_buf_ struct buf text = word(1, -1, "x", 5, true);
	struct succession s;

	begin(&s, 0, cache);
	assert_int_equal(add(&s, 0, 1, "x", NULL), 0);
	assert_int_equal(succession_remember(&s, 0, cache, NULL), 0);
	assert_int_equal(succession_revoke(&s, &text, cache, NULL), 0);
	succession_free(&s);
	for (int pass = 0; pass < 2; pass++) {
		begin(&s, 0, cache);
		assert_int_equal(s.count, 2);
		assert_true(s.revoked);
		assert_string_equal(s.reason, "stolen");
		succession_free(&s);
		forget_all(NULL); /* now from the cache */
	}
}

static void versions_of_a_replaced_key_count_up_to_its_last_word(void **state)
{
	struct succession s;

	begin(&s, 0, NULL);
	assert_int_equal(succession_seen(&s), 0);
	versions_remember(&public[0], "x", 1000, NULL); /* a thief's */
	assert_int_equal(succession_seen(&s), 1000);
	assert_int_equal(add(&s, 0, 1, "x", NULL), 0);
	assert_int_equal(succession_seen(&s), 10);
	versions_remember(&public[1], "x", 12, NULL);
	assert_int_equal(succession_seen(&s), 12);
	versions_remember(&public[1], "y", 13, NULL);
	assert_int_equal(succession_seen(&s), 12);
	succession_free(&s);
}

static void copies_are_kept_where_there_is_a_cache(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT(100);
	_cleanup_free_ char *pinned = copy_name("x", 7), *newest = copy_name("x", 0), *last = copy_name_of_last_word("x");

	assert_string_equal(pinned, "x@7");
	assert_string_equal(newest, "x");
	assert_string_equal(last, "x@next");
	copy_keep(cache, &public[2], pinned, "seven", 5);
	copy_keep(NULL, &public[2], pinned, "eight", 5);
	copy_keep(cache, &public[2], NULL, "eight", 5);
	assert_int_equal(copy_load(cache, &public[2], newest, &text), -ENOENT);
	assert_int_equal(copy_load(cache, &public[3], pinned, &text), -ENOENT);
	assert_int_equal(copy_load(NULL, &public[2], pinned, &text), -ENOENT);
	assert_int_equal(copy_load(cache, &public[2], pinned, &text), 0);
	assert_int_equal(text.len, 5);
	assert_memory_equal(text.data, "seven", 5);
}

static void freshness(void **state)
{
	static const struct {
		const char *created, *expires;
		bool from_copy;
		int strict;
		const char *word;
	} cases[] = {
		{"2020-01-01T00:00:00Z", "", false, 0, ""},
		{"2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", false, 0, ""},
		{"2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", true, 0, ""},
		{"2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", false, -EKEYEXPIRED, "expired on 2021-01-01T00:00:00Z"},
		{"2020-01-01T00:00:00Z", "", true, -EKEYEXPIRED, "does not say until when"},
		{"2998-01-01T00:00:00Z", "2999-01-01T00:00:00Z", false, -EKEYEXPIRED, "clock is wrong"},
		{"2998-01-01T00:00:00Z", "2997-01-01T00:00:00Z", false, -EKEYEXPIRED, "clock is wrong"}, /* not "expired" */
		{"2998-01-01T00:00:00Z", "", false, 0, ""}, /* nothing here needs the clock */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct manifest m = {.name = "x", .version = 3};
		struct err e = ERR_INIT;

		strcpy(m.created, cases[i].created);
		strcpy(m.expires, cases[i].expires);
		assert_int_equal(freshness_check(&m, cases[i].from_copy, false, &e), 0);
		assert_int_equal(freshness_check(&m, cases[i].from_copy, true, &e), cases[i].strict);
		if (!strstr(e.text, cases[i].word))
			fail_msg("no '%s' in: %s", cases[i].word, e.text);
	}
}

static void honest_clocks_may_differ(void **state)
{
	struct manifest m = {.name = "x", .version = 3};
	struct err e = ERR_INIT;

	assert_int_equal(manifest_time_text(m.created, time(NULL) + 23 * 3600), 0);
	assert_int_equal(manifest_time_text(m.expires, time(NULL) + 48 * 3600), 0);
	assert_int_equal(freshness_check(&m, false, true, &e), 0);
	assert_int_equal(manifest_time_text(m.created, time(NULL) + 25 * 3600), 0);
	assert_int_equal(freshness_check(&m, false, true, &e), -EKEYEXPIRED);
	assert_int_equal(manifest_time_text(m.created, -1), -ERANGE);
	assert_int_equal(manifest_time_text(m.created, 253402300800), -ERANGE); /* the year 10000 */
}

static int start(void **state)
{
	char dir[80];

	snprintf(home, sizeof(home), "/tmp/succession.XXXXXX");
	if (!mkdtemp(home))
		return -1;
	for (int i = 0; i < KEYS; i++)
		if (key_generate(&secret[i], &public[i], NULL) < 0)
			return -1;
	snprintf(dir, sizeof(dir), "%s.cache", home);
	return cache_open(&cache, dir, 1 << 20, false, NULL);
}

static int forget_cache_too(void **state)
{
	char dir[80];

	snprintf(dir, sizeof(dir), "%s.cache/manifests", home);
	if (file_mkdirs(dir, NULL) < 0)
		return -1;
	folder_remove(dir);
	return forget_all(state);
}

static int end(void **state)
{
	char dir[80];

	cache_close(cache);
	snprintf(dir, sizeof(dir), "%s.cache", home);
	folder_remove(dir);
	folder_remove(home);
	return 0;
}

#define fresh(f) cmocka_unit_test_setup(f, forget_cache_too)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fresh(hops_are_followed_up_to_a_bound),
		fresh(wrong_words_change_nothing),
		fresh(hops_are_remembered_here_and_in_the_cache),
		fresh(damaged_memories_are_ignored),
		fresh(revocations_are_remembered),
		fresh(versions_of_a_replaced_key_count_up_to_its_last_word),
		fresh(copies_are_kept_where_there_is_a_cache),
		cmocka_unit_test(freshness),
		cmocka_unit_test(honest_clocks_may_differ),
	};

	return cmocka_run_group_tests_name("succession", tests, start, end);
}
