/* Playing a boot pack from servers that do all kinds of wrong: whatever a reader gets from it is right, whatever it shows is right, no reader
 * waits for long, and it ends when it is told to. What the cache has is not fetched again. */
#include "made_pack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "disk/pack_fetch.h"
#include "disk/playback.h"
#include "server.h"

#define MEMORY (6u << 20)
#define WAIT_MS 30000

static struct server servers[3];
static struct made_pack made, large;

/* ---- what there is to play ---- */

static void serve(const struct made_pack *m)
{
	for (size_t i = 0; i < 3; i++) {
		char path[PACK_PATH_MAX];
		_cleanup_free_ char *folder = file_path("%s/packs", servers[i].dir), *file = NULL;

		pack_path(&m->profile.pack, path);
		file = file_path("%s/%s", servers[i].dir, path);
		assert_int_equal(file_mkdirs(folder, NULL), 0);
		assert_int_equal(file_save(AT_FDCWD, file, m->file.data, m->file.len, 0, NULL), 0);
	}
}

static struct origin *open_origin(size_t count)
{
	struct origin_options options = {.connect_ms = 5000, .stall_ms = 500};
	const char *urls[] = {servers[0].url, servers[1].url, servers[2].url};
	struct origin *o;

	assert_int_equal(origin_open(&o, urls, count, &options, NULL), 0);
	return o;
}

static struct cache *open_cache(const char *dir)
{
	struct cache *c;

	assert_int_equal(cache_open(&c, dir, 0, false, NULL), 0);
	return c;
}

struct playing {
	const struct made_pack *made;
	struct playback *playback;
	struct origin *origin;
	struct cache *cache;
	uint8_t *shown;	   /* of each page of the image: how often; the keeper's */
	const char *wrong; /* that was shown */
	unsigned show_us;  /* it takes so long for each */
	unsigned refusals; /* so often it cannot take more */
};

/* What is shown can be read, at once. */
static bool is_right(struct playing *p, uint64_t offset, uint64_t len)
{
	uint8_t page[PACK_PAGE];
	size_t from_blocks;

	for (uint64_t at = offset; at < offset + len; at += PACK_PAGE)
		if (playback_read(p->playback, page, PACK_PAGE, at, &from_blocks) != PACK_PAGE || memcmp(page, p->made->image + at, PACK_PAGE) != 0)
			return false;
	return true;
}

static bool show(void *context, uint64_t offset, uint64_t len)
{
	struct playing *p = context;

	if (p->show_us)
		usleep(p->show_us);
	if (p->refusals) { /* it is asked again */
		p->refusals--;
		return false;
	}
	if (offset % PACK_PAGE || len % PACK_PAGE || !len || offset + len > (uint64_t)p->made->image_pages * PACK_PAGE)
		p->wrong = "shown outside of the image";
	else if (!is_right(p, offset, len))
		p->wrong = "what is shown is not there";
	else
		for (uint64_t page = offset / PACK_PAGE; page < (offset + len) / PACK_PAGE; page++)
			p->shown[page]++;
	return true;
}

static void play(struct playing *p, const struct made_pack *m, size_t mirrors, const char *cache)
{
	unsigned show_us = p->show_us;

	*p = (struct playing){.made = m, .origin = open_origin(mirrors), .cache = cache ? open_cache(cache) : NULL, .show_us = show_us, .refusals = 10};
	p->shown = calloc(m->image_pages, 1);
	assert_int_equal(playback_open(&p->playback, &m->profile, m->size, p->origin, p->cache, MEMORY, NULL), 0);
	assert_int_equal(playback_start(p->playback, show, p, NULL), 0);
}

static void end(struct playing *p)
{
	uint64_t start = clock_ms();

	playback_cancel(p->playback);
	origin_cancel(p->origin);
	playback_close(p->playback);
	origin_close(p->origin);
	if (p->cache)
		cache_close(p->cache);
	free(p->shown);
	assert_true(clock_ms() - start < 10000);
	if (p->wrong)
		fail_msg("%s", p->wrong);
}

static json_int_t number(struct playing *p, const char *name)
{
	json_t *status = json_object(), *pack;
	json_int_t n;

	playback_status(p->playback, status);
	pack = json_object_get(status, "pack");
	n = !strcmp(name, "given_up") ? json_object_get(pack, name) != NULL : json_integer_value(json_object_get(pack, name));
	json_decref(status);
	return n;
}

static bool complete(struct playing *p)
{
	return p->made->segment_count == number(p, "segments") && number(p, "here") == p->made->segment_count;
}

#define wait_until(condition)                                                                      \
	do {                                                                                       \
		uint64_t until_ = clock_ms() + WAIT_MS;                                            \
		while (!(condition)) {                                                             \
			assert_true(clock_ms() < until_);                                          \
			usleep(1000);                                                              \
		}                                                                                  \
	} while (0)

/* ---- readers ---- */

struct reading {
	struct playing *p;
	struct random random;
	unsigned reads;
	uint64_t got, blocks; /* bytes that the pack gave, or did not */
	uint64_t longest_ms;
	const char *wrong;
	pthread_t thread;
};

static void read_part(struct reading *r, uint8_t *buf, uint64_t offset, size_t len)
{
	const struct made_pack *m = r->p->made;

	while (len && !r->wrong) {
		uint64_t start = clock_ms(), took;
		size_t from_blocks, n = playback_read(r->p->playback, buf, len, offset, &from_blocks);

		took = clock_ms() - start;
		r->longest_ms = took > r->longest_ms ? took : r->longest_ms;
		if (n > len || (!n && (!from_blocks || from_blocks > len)))
			r->wrong = "wrong lengths";
		else if (memcmp(buf, m->image + offset, n) != 0)
			r->wrong = "wrong bytes";
		r->got += n;
		r->blocks += n ? 0 : from_blocks;
		n = n ? n : from_blocks;
		offset += n;
		len -= n < len ? n : len;
	}
}

static void *read_randomly(void *context)
{
	struct reading *r = context;
	uint64_t size = r->p->made->size;
	_cleanup_free_ uint8_t *buf = malloc(300000);

	for (unsigned i = 0; i < r->reads && !r->wrong; i++) {
		uint64_t offset = random_below(&r->random, size);
		size_t most = random_below(&r->random, 3) ? 9000 : 300000, len = 1 + random_below(&r->random, most);

		read_part(r, buf, offset, len < size - offset ? len : (size_t)(size - offset));
	}
	return NULL;
}

static void read_by_many(struct playing *p, struct random *random, unsigned reads)
{
	struct reading r[4];

	for (size_t i = 0; i < 4; i++) {
		r[i] = (struct reading){.p = p, .random = {random_u64(random)}, .reads = reads};
		assert_int_equal(pthread_create(&r[i].thread, NULL, read_randomly, &r[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		pthread_join(r[i].thread, NULL);
		if (r[i].wrong)
			fail_msg("%s", r[i].wrong);
		assert_true(r[i].longest_ms < 15000); /* a few seconds are meant; machines are slow, sanitizers more so */
	}
}

/* Every page, as the pack has it. all: none may be missing. */
static void read_pages(struct playing *p, bool all)
{
	struct reading r = {.p = p};
	uint8_t page[PACK_PAGE];
	const struct made_pack *m = p->made;

	for (uint32_t i = 0; i < m->extent_count; i++)
		for (uint32_t k = 0; k < m->extents[i].pages; k++) {
			uint64_t offset = (m->extents[i].page + k) * PACK_PAGE;

			read_part(&r, page, offset, m->size - offset < PACK_PAGE ? (size_t)(m->size - offset) : PACK_PAGE);
		}
	if (r.wrong)
		fail_msg("%s", r.wrong);
	if (all)
		assert_int_equal(r.blocks, 0);
	for (uint32_t page_number = 0; page_number < m->image_pages; page_number++) {
		uint64_t without, len = m->size - (uint64_t)page_number * PACK_PAGE,
				  n = playback_covers(p->playback, (uint64_t)page_number * PACK_PAGE, len < 100 ? len : 100, &without);
		bool in_pack = m->place[page_number] != UINT32_MAX;

		if (number(p, "segments") && !number(p, "given_up"))
			assert_true(in_pack ? n && !without : !n && without);
	}
}

static void check_shown(struct playing *p)
{
	for (uint32_t i = 0; i < p->made->image_pages; i++)
		if (p->shown[i] != (p->made->place[i] != UINT32_MAX))
			fail_msg("page %u was shown %u times", i, p->shown[i]);
}

/* ---- tests ---- */

static void rule_for_all(const char *rule)
{
	for (size_t i = 0; i < 3; i++)
		server_rules(&servers[i], rule, NULL);
}

static uint64_t sent(size_t i)
{
	json_t *log = server_log(&servers[i]);
	uint64_t bytes = (uint64_t)json_integer_value(json_object_get(log, "bytes"));

	json_decref(log);
	return bytes;
}

/* Fetched once, by one request; what a second one finds in the cache costs none. */
static void fetched_once(void **state)
{
	struct random r = random_start(1);
	struct playing p = {0};
	char dir[64];

	folder_make(dir);
	rule_for_all(NULL);
	play(&p, &made, 1, dir);
	read_by_many(&p, &r, 100);
	wait_until(complete(&p));
	read_pages(&p, true);
	wait_until(p.shown[made.extents[made.extent_count - 1].page]);
	playback_stop(p.playback);
	check_shown(&p);
	end(&p);
	assert_int_equal(server_requests(&servers[0]), 1);
	play(&p, &made, 1, dir);
	wait_until(complete(&p));
	read_by_many(&p, &r, 100);
	read_pages(&p, true);
	end(&p);
	assert_int_equal(server_requests(&servers[0]), 1);
	/* Without a cache some may be lost, but nothing is wrong. */
	play(&p, &made, 1, NULL);
	read_by_many(&p, &r, 100);
	wait_until(complete(&p) || number(&p, "bytes") >= (json_int_t)made.file.len);
	read_pages(&p, false);
	end(&p);
	folder_remove(dir);
}

static void bad_servers(void **state)
{
	static const struct {
		const char *rule;
		bool all, none;
	} cases[] = {
		{"* status code=404", .none = true},
		{"* status code=503 count=2", .all = true},
		{"* reset at=700000 count=3", .all = true},
		{"* truncate at=700000", .all = true},
		{"* stall at=700000", .all = true},
		{"* stall count=1", .all = true},
		{"* noranges", .all = true},
		{"* flip count=1", .all = true},
		{"* flip at=0", .none = true},
		{"* flip at=9 count=1", .all = true},
		{"* flip at=10 count=1", .all = true},
		{"* flip at=50 count=1", .all = true},
		{"* flip", .none = false},
		{"* truncate at=200", .none = true},
		{"* extra", .all = true},
		{"* wrongrange", .none = true},
		{"* chunked", .all = true},
		{"* keepclosed count=1", .all = true},
		{"* swap with=packs/other", .none = true},
	};
	struct random r = random_start(2);

	free(server_file(&servers[0], "packs/other", made.file.len, 3));
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct playing p = {0};
		char dir[64];

		print_message("%s\n", cases[i].rule);
		folder_make(dir);
		server_rules(&servers[0], cases[i].rule, NULL);
		play(&p, &made, 1, dir);
		read_by_many(&p, &r, 20);
		if (cases[i].all)
			wait_until(complete(&p));
		if (cases[i].none) {
			wait_until(number(&p, "given_up"));
			assert_int_equal(number(&p, "here"), 0);
		}
		read_pages(&p, cases[i].all);
		end(&p);
		folder_remove(dir);
	}
}

/* Nobody waits for what is slow for longer than for its blocks. */
static void slow(void **state)
{
	struct random r = random_start(3);
	struct playing p = {0};

	server_rules(&servers[0], "* drip rate=20000", NULL);
	play(&p, &made, 1, NULL);
	read_by_many(&p, &r, 10);
	end(&p);
	p.show_us = 5000; /* what shows it is what is slow: the connection waits for it */
	server_rules(&servers[0], NULL);
	play(&p, &made, 1, NULL);
	read_by_many(&p, &r, 100);
	end(&p);
}

static void ended_at_any_moment(void **state)
{
	static const char *const rules[] = {NULL, "* stall at=500000", "* stall", "* reset at=300000", "* status code=503"};
	struct random r = random_start(4);
	char dir[64];

	folder_make(dir);
	for (unsigned n = 0; n < 40; n++) {
		struct playing p = {.show_us = n % 3 ? 0 : 3000};

		server_rules(&servers[0], rules[n % 5], NULL);
		play(&p, &made, 1, n % 2 ? dir : NULL);
		if (n % 4 == 0)
			read_by_many(&p, &r, 5);
		usleep((useconds_t)random_below(&r, 60000));
		if (n % 3 == 0)
			playback_cancel(p.playback);
		end(&p);
	}
	folder_remove(dir);
}

static void pack_in(const char *dir, const struct made_pack *m, const char *behind, char out[256])
{
	char path[PACK_PATH_MAX];

	pack_path(&m->profile.pack, path);
	snprintf(out, 256, "%s/%s%s", dir, path, behind);
}

/* A file in the cache that is not what it should be is made anew, or what is wrong of it read elsewhere: at the latest by the next one. */
static void rotten_cache(void **state)
{
	struct random r = random_start(5);

	for (unsigned n = 0; n < 24; n++) {
		struct playing p = {0};
		char dir[64], file[256], part[256];
		struct stat st;

		print_message("%u\n", n);
		folder_make(dir);
		pack_in(dir, &made, "", file);
		pack_in(dir, &made, ".part", part);
		rule_for_all(NULL);
		play(&p, &made, 1, dir);
		wait_until(!stat(file, &st));
		end(&p);
		if (n % 3 == 0) { /* cut, at the head, in the middle, at the end */
			assert_int_equal(truncate(file, n % 2 ? (off_t)random_below(&r, made.head_len) : (off_t)random_below(&r, made.file.len)), 0);
		} else {
			_cleanup_close_ int fd = open(file, O_RDWR | O_CLOEXEC);
			uint64_t at = random_below(&r, n % 2 ? made.head_len : made.file.len);
			uint8_t byte = made.file.data[at] ^ 0x10;

			assert_int_equal(file_pwrite(fd, &byte, 1, at), 0);
		}
		if (n % 4 == 1)
			assert_int_equal(rename(file, part), 0);
		play(&p, &made, 1, dir);
		read_by_many(&p, &r, 50);
		read_pages(&p, false);
		end(&p);
		play(&p, &made, 1, dir);
		wait_until(complete(&p));
		read_pages(&p, true);
		wait_until(!stat(file, &st));
		end(&p);
		folder_remove(dir);
	}
}

/* What was there of it when it was stopped is not fetched again; and two fill one file. */
static void shared_cache(void **state)
{
	struct random r = random_start(6);
	struct playing p = {0}, q = {0};
	uint64_t before;
	char dir[64], file[256];
	struct stat st;

	folder_make(dir);
	pack_in(dir, &made, ".part", file);
	server_rules(&servers[0], "* stall at=1200000 count=1", NULL);
	play(&p, &made, 1, dir);
	wait_until(!stat(file, &st) && st.st_size >= 800000);
	end(&p);
	server_rules(&servers[0], NULL);
	play(&p, &made, 1, dir);
	wait_until(complete(&p));
	read_pages(&p, true);
	end(&p);
	before = sent(0);
	assert_true(before < made.file.len - 500000);
	folder_remove(dir);
	folder_make(dir);
	server_rules(&servers[0], "* delay ms=50", NULL);
	play(&p, &made, 1, dir);
	play(&q, &made, 1, dir);
	read_by_many(&p, &r, 30);
	read_by_many(&q, &r, 30);
	wait_until(complete(&p) && complete(&q));
	read_pages(&p, true);
	read_pages(&q, true);
	end(&p);
	end(&q);
	server_rules(&servers[0], NULL);
	play(&p, &made, 1, dir);
	wait_until(complete(&p));
	read_pages(&p, true);
	end(&p);
	assert_int_equal(sent(0), 0);
	folder_remove(dir);
}

static void check_large(struct playing *p, struct random *r)
{
	read_by_many(p, r, 30);
	wait_until(complete(p));
	read_pages(p, true);
}

/* Parts of it come from all; what one does not have or has wrong comes from the others, and only then. */
static void several_mirrors(void **state)
{
	static const char *const rules[] = {"* status code=404", "* flip", "* zeros", "* reset", "* reset at=100000", "* stall at=400000", "* swap with=packs/other",
		"* truncate at=300000", "* flip at=9"};
	struct random r = random_start(7);
	struct playing p = {0};
	unsigned used = 0;
	char dir[64];

	folder_make(dir);
	rule_for_all("* delay ms=30");
	play(&p, &large, 3, dir);
	check_large(&p, &r);
	end(&p);
	for (size_t i = 0; i < 3; i++)
		used += sent(i) > 0;
	assert_true(used > 1);
	assert_true(sent(0) + sent(1) + sent(2) <= large.file.len + large.file.len / 10);
	folder_remove(dir);
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		print_message("%s\n", rules[i]);
		folder_make(dir);
		rule_for_all(NULL);
		free(server_file(&servers[i % 3], "packs/other", large.file.len, 3));
		server_rules(&servers[i % 3], rules[i], NULL);
		play(&p, &large, 3, dir);
		check_large(&p, &r);
		end(&p);
		folder_remove(dir);
	}
	/* Servers that always send the whole do not send it for each part. */
	folder_make(dir);
	rule_for_all("* noranges");
	play(&p, &large, 3, dir);
	check_large(&p, &r);
	end(&p);
	print_message("%u bytes, of %u\n", (unsigned)(sent(0) + sent(1) + sent(2)), (unsigned)large.file.len);
	assert_true(sent(0) + sent(1) + sent(2) < 5 * large.file.len);
	folder_remove(dir);
}

/* The head alone. */
static void heads(void **state)
{
	static const struct {
		const char *rule;
		bool all;
	} cases[] = {{NULL, true}, {"* noranges", true}, {"* reset at=100 count=2", true}, {"* flip at=20 count=1", true}, {"* flip at=9 count=1", true},
		{"* flip at=9", false}, {"* flip at=20", false}, {"* status code=404", false}, {"* truncate at=100", false}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct origin *o = open_origin(1);
		struct err e = ERR_INIT;
		struct pack pack;
		int got;

		server_rules(&servers[0], cases[i].rule, NULL);
		got = pack_fetch_head(&pack, &large.profile, large.size, o, &e);
		if (cases[i].all != !got)
			fail_msg("%s: %d %s", cases[i].rule, got, e.text);
		if (got < 0)
			assert_int_not_equal(e.text[0], 0);
		else
			assert_int_equal(pack.extent_count, large.extent_count);
		pack_free(&pack);
		origin_close(o);
	}
}

static int set_up(void **state)
{
	struct random r = random_start(9);

	for (size_t i = 0; i < 3; i++)
		server_start(&servers[i], NULL);
	made_pack(&made, &r, 4000001, 12);
	made_pack(&large, &r, 40000001, 12);
	serve(&made);
	serve(&large);
	return 0;
}

static int tear_down(void **state)
{
	for (size_t i = 0; i < 3; i++)
		server_stop(&servers[i]);
	made_pack_free(&made);
	made_pack_free(&large);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fetched_once),
		cmocka_unit_test(bad_servers),
		cmocka_unit_test(slow),
		cmocka_unit_test(ended_at_any_moment),
		cmocka_unit_test(rotten_cache),
		cmocka_unit_test(shared_cache),
		cmocka_unit_test(several_mirrors),
		cmocka_unit_test(heads),
	};

	alarm(280); /* a hang is a failure */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
