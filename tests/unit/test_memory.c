/* Blocks in memory, readahead and segments: what is loaded, by whom, how often, and that it stays
 * within the bound. The loader in here counts, waits at a gate, and fails as told. */
#include "random.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "disk/memory.h"
#include "disk/readahead.h"
#include "disk/segments.h"

#define KEYS 512
#define KIB 1024u
#define MIB (1024u * KIB)
#define WAIT_MS 20000

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool closed; /* loads wait */
	bool fail_ahead, fail_all;
	unsigned inside, loads;
	unsigned count[KEYS];
	uint64_t order[KEYS * 8];
} loader;

static uint8_t byte_of(uint64_t number, size_t at)
{
	return (uint8_t)(number * 131 + at * 7 + (at >> 8));
}

static int load(void *context, const struct memory_key *key, bool background, uint8_t **data,
	size_t *len, struct err *e)
{
	bool fail;

	pthread_mutex_lock(&loader.lock);
	loader.order[loader.loads++ % (KEYS * 8)] = key->span;
	loader.count[key->span % KEYS]++;
	loader.inside++;
	pthread_cond_broadcast(&loader.changed);
	while (loader.closed)
		pthread_cond_wait(&loader.changed, &loader.lock);
	loader.inside--;
	fail = loader.fail_all || (background && loader.fail_ahead);
	pthread_mutex_unlock(&loader.lock);
	if (fail)
		return err_set(
			e, -EIO, "block %llu is not to be had", (unsigned long long)key->span);
	*data = malloc(key->room);
	*len = key->room;
	for (size_t i = 0; i < key->room; i++)
		(*data)[i] = byte_of(key->span, i);
	return 0;
}

static void loader_start(bool closed)
{
	memset(&loader, 0, sizeof(loader));
	pthread_mutex_init(&loader.lock, NULL);
	clock_cond_init(&loader.changed);
	loader.closed = closed;
}

static void open_gate(void)
{
	pthread_mutex_lock(&loader.lock);
	loader.closed = false;
	pthread_cond_broadcast(&loader.changed);
	pthread_mutex_unlock(&loader.lock);
}

static unsigned loads_now(void)
{
	unsigned n;

	pthread_mutex_lock(&loader.lock);
	n = loader.loads;
	pthread_mutex_unlock(&loader.lock);
	return n;
}

static unsigned count_of(uint64_t number)
{
	unsigned n;

	pthread_mutex_lock(&loader.lock);
	n = loader.count[number];
	pthread_mutex_unlock(&loader.lock);
	return n;
}

/* Waits until n loads are inside the loader. */
static void wait_inside(unsigned n)
{
	uint64_t until = clock_ms() + WAIT_MS;

	pthread_mutex_lock(&loader.lock);
	while (loader.inside < n)
		assert_int_equal(clock_cond_wait(&loader.changed, &loader.lock, until), 0);
	pthread_mutex_unlock(&loader.lock);
}

static struct memory_stats stats_of(struct memory *m)
{
	struct memory_stats s;

	memory_stats(m, &s);
	return s;
}

#define wait_until(condition)                                                                      \
	do {                                                                                       \
		uint64_t until_ = clock_ms() + WAIT_MS;                                            \
		while (!(condition)) {                                                             \
			assert_true(clock_ms() < until_);                                          \
			usleep(200);                                                               \
		}                                                                                  \
	} while (0)

static struct memory_key key(uint64_t number, uint32_t room)
{
	struct memory_key k = {.span = number, .room = room};

	memcpy(k.hash.bytes, &number, sizeof(number));
	return k;
}

static struct memory *open_memory(size_t limit, unsigned threads)
{
	struct memory *m;
	struct err e = ERR_INIT;

	assert_int_equal(memory_open(&m, limit, threads, load, NULL, &e), 0);
	return m;
}

static bool right(const struct memory_block *b, uint64_t number, uint32_t room)
{
	if (b->len != room)
		return false;
	for (size_t i = 0; i < room; i++)
		if (b->data[i] != byte_of(number, i))
			return false;
	return true;
}

static void get_and_put(struct memory *m, uint64_t number, uint32_t room)
{
	struct memory_key k = key(number, room);
	const struct memory_block *b;
	struct err e = ERR_INIT;

	assert_int_equal(memory_get(m, &k, &b, &e), 0);
	assert_true(right(b, number, room));
	memory_put(m, b);
}

struct reader { /* one memory_get() in a thread */
	struct memory *memory;
	uint64_t number;
	uint32_t room;
	pthread_t thread;
	int result;
	bool good;
	struct err e;
};

static void *read_one(void *arg)
{
	struct reader *r = arg;
	struct memory_key k = key(r->number, r->room);
	const struct memory_block *b;

	r->result = memory_get(r->memory, &k, &b, &r->e);
	if (!r->result) {
		r->good = right(b, r->number, r->room);
		memory_put(r->memory, b);
	}
	return NULL;
}

static void start_reader(struct reader *r, struct memory *m, uint64_t number, uint32_t room)
{
	*r = (struct reader){.memory = m, .number = number, .room = room};
	assert_int_equal(pthread_create(&r->thread, NULL, read_one, r), 0);
}

static void a_block_is_loaded_once(void **state)
{
	struct memory *m = open_memory(MIB, 0);

	loader_start(false);
	for (int i = 0; i < 3; i++)
		get_and_put(m, 7, 4 * KIB);
	assert_int_equal(loads_now(), 1);
	assert_int_equal(stats_of(m).hits, 2);
	memory_close(m);
}

static void the_kind_and_span_are_part_of_the_name(void **state)
{
	struct memory *m = open_memory(MIB, 0);
	struct memory_key a = key(1, 64), b = key(1, 64), c = key(1, 64);
	const struct memory_block *block;

	loader_start(false);
	b.kind = 1;
	c.span = 2;
	for (int i = 0; i < 2; i++) {
		struct memory_key *keys[] = {&a, &b, &c};

		for (int k = 0; k < 3; k++) {
			assert_int_equal(memory_get(m, keys[k], &block, NULL), 0);
			memory_put(m, block);
		}
	}
	assert_int_equal(loads_now(), 3);
	memory_close(m);
}

static void many_readers_of_one_block_load_it_once(void **state)
{
	struct memory *m = open_memory(MIB, 0);
	struct reader r[12];

	loader_start(true);
	for (int i = 0; i < 12; i++)
		start_reader(&r[i], m, 3, 8 * KIB);
	wait_inside(1);
	wait_until(stats_of(m).hits == 11);
	open_gate();
	for (int i = 0; i < 12; i++) {
		pthread_join(r[i].thread, NULL);
		assert_true(!r[i].result && r[i].good);
	}
	assert_int_equal(loads_now(), 1);
	memory_close(m);
}

static void the_least_recently_used_goes_first(void **state)
{
	struct memory *m = open_memory(13 * 64 * KIB, 0);

	loader_start(false);
	for (uint64_t i = 0; i < 6; i++)
		get_and_put(m, i, 64 * KIB);
	get_and_put(m, 0, 64 * KIB); /* used again */
	for (uint64_t i = 10; i < 14; i++)
		get_and_put(m, i, 64 * KIB);
	get_and_put(m, 0, 64 * KIB);
	assert_int_equal(count_of(0), 1);
	get_and_put(m, 1, 64 * KIB);
	assert_int_equal(count_of(1), 2);
	assert_true(stats_of(m).peak <= 13 * 64 * KIB);
	memory_close(m);
}

struct worker {
	struct memory *memory;
	struct random random;
	unsigned reads;
	bool good;
	pthread_t thread;
};

static void *read_many(void *arg)
{
	struct worker *w = arg;

	w->good = true;
	for (unsigned i = 0; i < w->reads; i++) {
		uint64_t number = random_below(&w->random, 200);
		uint32_t room = (uint32_t)(1 + number * 331 % (32 * KIB));
		struct memory_key k = key(number, room),
				  ahead = key((number + 1) % 200,
					  (uint32_t)(1 + (number + 1) % 200 * 331 % (32 * KIB)));
		const struct memory_block *b;

		if (random_below(&w->random, 2))
			memory_want(w->memory, &ahead, random_below(&w->random, 2));
		if (memory_get(w->memory, &k, &b, NULL) < 0) {
			w->good = false;
			continue;
		}
		w->good = w->good && right(b, number, room);
		memory_put(w->memory, b);
	}
	return NULL;
}

static void memory_stays_within_its_bound(void **state)
{
	struct random seed = random_start(11);
	size_t limits[] = {130 * KIB, 256 * KIB, 2 * MIB};

	for (int l = 0; l < 3; l++) {
		struct memory *m = open_memory(limits[l], 3);
		struct worker w[4];

		loader_start(false);
		for (int i = 0; i < 4; i++) {
			w[i] = (struct worker){
				.memory = m, .random = {random_u64(&seed)}, .reads = 400};
			pthread_create(&w[i].thread, NULL, read_many, &w[i]);
		}
		for (int i = 0; i < 4; i++) {
			pthread_join(w[i].thread, NULL);
			assert_true(w[i].good);
		}
		assert_true(stats_of(m).peak <= limits[l]);
		memory_close(m);
	}
}

static void a_block_above_the_limit_is_loaded_alone(void **state)
{
	struct memory *m = open_memory(16 * KIB, 2);

	loader_start(false);
	get_and_put(m, 1, 4 * KIB);
	get_and_put(m, 2, 300 * KIB);
	get_and_put(m, 3, 300 * KIB);
	get_and_put(m, 1, 4 * KIB);
	assert_int_equal(count_of(1), 2);
	memory_close(m);
}

static void a_reader_waits_for_room(void **state)
{
	struct memory *m = open_memory(130 * KIB, 0);
	struct memory_key k = key(1, 32 * KIB);
	const struct memory_block *held;
	struct reader r;

	loader_start(false);
	assert_int_equal(memory_get(m, &k, &held, NULL), 0);
	start_reader(&r, m, 2, 32 * KIB);
	usleep(30000); /* time to do the wrong thing */
	assert_int_equal(count_of(2), 0);
	assert_true(right(held, 1, 32 * KIB));
	memory_put(m, held);
	pthread_join(r.thread, NULL);
	assert_true(!r.result && r.good);
	memory_close(m);
}

/* Small blocks come and go; a large one needs that all are gone at once. */
static void small_blocks_do_not_overtake_a_large_one_for_ever(void **state)
{
	struct memory *m = open_memory(130 * KIB, 0);
	struct memory_key k = key(1, 32 * KIB), next = key(4, 1 * KIB);
	const struct memory_block *held;
	struct reader large, small;

	loader_start(false);
	assert_int_equal(memory_get(m, &k, &held, NULL), 0);
	start_reader(&large, m, 2, 32 * KIB);
	wait_until(stats_of(m).waiting == 1);
	start_reader(&small, m, 3, 1 * KIB); /* would fit, and waits all the same */
	wait_until(stats_of(m).waiting == 2);
	assert_false(memory_want(m, &next, false));
	assert_int_equal(count_of(3), 0);
	memory_put(m, held);
	pthread_join(large.thread, NULL);
	pthread_join(small.thread, NULL);
	assert_true(!large.result && large.good && !small.result && small.good);
	memory_close(m);
}

static void reserved_room_is_not_for_others(void **state)
{
	struct memory *m = open_memory(130 * KIB, 0);
	size_t taken = memory_reserve(m, 32 * KIB);
	struct reader r;

	loader_start(false);
	start_reader(&r, m, 2, 32 * KIB);
	wait_until(stats_of(m).waiting == 1);
	assert_int_equal(count_of(2), 0);
	memory_unreserve(m, taken);
	pthread_join(r.thread, NULL);
	assert_true(!r.result && r.good);
	taken = memory_reserve(m, 1 * MIB); /* above the limit: alone */
	assert_true(taken >= 3 * MIB);
	memory_unreserve(m, taken);
	assert_int_equal(stats_of(m).waiting, 0);
	memory_close(m);
}

static void the_reader_of_a_failed_prefetch_tries_itself(void **state)
{
	struct memory *m = open_memory(MIB, 1);
	struct memory_key k = key(5, 4 * KIB);
	struct reader r;

	loader_start(true);
	loader.fail_ahead = true;
	assert_true(memory_want(m, &k, true));
	wait_inside(1);
	start_reader(&r, m, 5, 4 * KIB);
	wait_until(stats_of(m).hits == 1);
	open_gate();
	pthread_join(r.thread, NULL);
	assert_true(!r.result && r.good);
	assert_int_equal(count_of(5), 2);
	assert_int_equal(stats_of(m).failures, 1);
	memory_close(m);
}

static void readers_share_the_failure_that_they_wait_for(void **state)
{
	struct memory *m = open_memory(MIB, 0);
	struct reader r[8];

	loader_start(true);
	loader.fail_all = true;
	for (int i = 0; i < 8; i++)
		start_reader(&r[i], m, 9, 4 * KIB);
	wait_inside(1);
	wait_until(stats_of(m).hits == 7);
	open_gate();
	for (int i = 0; i < 8; i++) {
		pthread_join(r[i].thread, NULL);
		assert_int_equal(r[i].result, -EIO);
		assert_int_equal(r[i].e.code, -EIO);
		assert_string_equal(r[i].e.text, "block 9 is not to be had");
	}
	assert_int_equal(loads_now(), 1);
	assert_int_equal(stats_of(m).bytes, 0);
	loader.fail_all = false; /* a failure is not remembered */
	get_and_put(m, 9, 4 * KIB);
	memory_close(m);
}

static void what_is_wanted_is_loaded_before_it_is_read(void **state)
{
	struct memory *m = open_memory(MIB, 2);
	struct memory_key k = key(4, 4 * KIB);

	loader_start(false);
	assert_true(memory_want(m, &k, true));
	wait_until(stats_of(m).loads == 1 && stats_of(m).bytes < 6 * KIB);
	get_and_put(m, 4, 4 * KIB);
	assert_true(memory_want(m, &k, true)); /* there already */
	assert_int_equal(count_of(4), 1);
	memory_close(m);
}

static void a_wish_without_room_is_dropped(void **state)
{
	struct memory *m = open_memory(330 * KIB, 1);
	struct memory_key a = key(1, 40 * KIB), b = key(2, 40 * KIB), c = key(3, 40 * KIB);

	loader_start(true);
	assert_true(memory_want(m, &a, true)); /* takes 150 of the 165 KiB that prefetch may have */
	assert_false(memory_want(m, &b, true));
	assert_true(memory_want(m, &b, false));
	assert_false(memory_want(m, &c, false));
	assert_true(stats_of(m).peak <= 330 * KIB);
	open_gate();
	get_and_put(m, 3, 40 * KIB);
	assert_int_equal(count_of(3), 1);
	memory_close(m);
}

static void demand_goes_before_prefetch(void **state)
{
	struct memory *m = open_memory(4 * MIB, 1);
	struct memory_key first = key(1, KIB), b2 = key(2, KIB), b3 = key(3, KIB), d4 = key(4, KIB);

	loader_start(true);
	memory_want(m, &first, true);
	wait_inside(1);
	memory_want(m, &b2, true);
	memory_want(m, &b3, true);
	memory_want(m, &d4, false);
	open_gate();
	wait_until(loads_now() == 4);
	assert_int_equal(loader.order[1], 4);
	assert_int_equal(loader.order[2], 2);
	assert_int_equal(loader.order[3], 3);
	memory_close(m);
}

static void a_reader_takes_a_queued_block_itself(void **state)
{
	struct memory *m = open_memory(4 * MIB, 1);
	struct memory_key first = key(1, KIB), second = key(2, KIB);
	struct reader r;

	loader_start(true);
	memory_want(m, &first, true);
	wait_inside(1);
	memory_want(m, &second, true);
	start_reader(&r, m, 2, KIB);
	wait_inside(2); /* the pool's only thread has the first */
	open_gate();
	pthread_join(r.thread, NULL);
	assert_true(!r.result && r.good);
	assert_int_equal(count_of(2), 1);
	memory_close(m);
}

static void *close_memory(void *m)
{
	memory_close(m);
	return NULL;
}

static void closing_drops_queued_work(void **state)
{
	struct memory *m = open_memory(4 * MIB, 2);
	pthread_t closer;

	loader_start(true);
	for (uint64_t i = 0; i < 50; i++) {
		struct memory_key k = key(i, KIB);

		memory_want(m, &k, i % 2);
	}
	wait_inside(2);
	pthread_create(&closer, NULL, close_memory, m);
	open_gate();
	pthread_join(closer, NULL);
	assert_int_equal(loader.inside, 0);
}

/* ---- readahead ---- */

static void readers_in_order_are_recognised(void **state)
{
	struct readahead r = {0};
	uint64_t from, at = 123 * MIB, ahead = 0, most = 0, n = 0;

	assert_int_equal(readahead_note(&r, at, 128 * KIB, &from), 0);
	for (int i = 1; i < 400; i++) {
		uint64_t len;

		at += 128 * KIB;
		len = readahead_note(&r, at, 128 * KIB, &from);
		if (!len)
			continue;
		if (!n++) {
			assert_int_equal(from, at + 128 * KIB);
			assert_int_equal(from - 123 * MIB, READAHEAD_AFTER);
			assert_int_equal(len, READAHEAD_AFTER); /* as much as was read */
		} else {
			assert_int_equal(from, ahead); /* without gaps, nothing twice */
		}
		ahead = from + len;
		assert_true(ahead - (at + 128 * KIB) <= READAHEAD_MOST);
		most = ahead - (at + 128 * KIB) > most ? ahead - (at + 128 * KIB) : most;
		assert_true(ahead >= at + 128 * KIB);
	}
	assert_int_equal(most, READAHEAD_MOST);
	assert_true(n < 40); /* a wish now and then, not with each read */
}

static void several_readers_are_told_apart(void **state)
{
	struct readahead r = {0};
	uint64_t at[10], ahead[10] = {0}, from;

	for (unsigned i = 0; i < 10; i++)
		at[i] = (uint64_t)i << 30;
	for (int round = 0; round < 50; round++)
		for (unsigned i = 0; i < 10; i++) {
			uint64_t len = readahead_note(&r, at[i], 64 * KIB, &from);

			at[i] += 64 * KIB;
			if (!len)
				continue;
			assert_true(from >> 30 == i);
			ahead[i] = from + len;
		}
	for (unsigned i = 0; i < 10; i++)
		assert_true(ahead[i] > at[i]);
}

static void random_reads_trigger_nothing(void **state)
{
	struct readahead r = {0};
	struct random random = random_start(7);
	uint64_t from;

	for (uint64_t i = 0; i < 5000; i++) /* anywhere in 1 TiB */
		assert_int_equal(readahead_note(&r, random_below(&random, 1ULL << 30) * KIB, 4 * KIB, &from), 0);
}

static void readers_in_equal_steps_are_recognised(void **state)
{
	static const int64_t steps[] = {10 * MIB, -3 * (int64_t)MIB, 700 * (int64_t)KIB};
	struct readahead r = {0};
	struct random random = random_start(8);
	uint64_t at[] = {100 * MIB, 900 * MIB + 500 * KIB, 5000 * (uint64_t)MIB}, from, wishes = 0;

	for (unsigned i = 0; i < 100; i++)
		for (unsigned k = 0; k < 3; k++) {
			uint64_t len = readahead_note(&r, at[k], 4 * KIB, &from);

			if (i >= 4) { /* believed, though others read in between */
				assert_int_equal(len, 4 * KIB);
				assert_true(from == at[k] + (uint64_t)(steps[k] * READAHEAD_STEPS_AHEAD));
			}
			wishes += len != 0;
			at[k] += (uint64_t)steps[k];
			if (i % 2)
				readahead_note(&r, random_below(&random, 1ULL << 40), 4 * KIB, &from);
		}
	assert_true(wishes >= 3 * 96);
}

static void no_step_leads_before_the_beginning(void **state)
{
	struct readahead r = {0};
	uint64_t from;

	for (uint64_t at = 40 * MIB; at; at -= 5 * MIB)
		assert_true(readahead_note(&r, at, 4 * KIB, &from) == 0 || from < at);
}

static void the_kernels_disorder_is_no_new_reader(void **state)
{
	struct readahead r = {0};
	uint64_t from, wishes = 0;
	/* as FUSE's background requests come: neighbours change places */
	for (uint64_t i = 0; i < 64; i++)
		wishes += readahead_note(&r, (i ^ 1) * 128 * KIB, 128 * KIB, &from) > 0;
	assert_true(wishes > 0);
	assert_int_equal(r.streams[1].used, 0);
}

/* ---- segments ---- */

static void segments_read_any_range(void **state)
{
	struct random random = random_start(17);
	struct segments s;
	uint64_t size = 100 * 4096 + 777;
	uint8_t *buf = malloc(64 * KIB);

	loader_start(false);
	assert_int_equal(segments_open(&s, size, 4096, 40 * KIB, 2, load, NULL, NULL), 0);
	for (int i = 0; i < 300; i++) {
		uint64_t offset = random_below(&random, size);
		size_t len =
			1 + random_below(&random, size - offset < 60000 ? size - offset : 60000);

		if (random_below(&random, 4) == 0)
			segments_prefetch(&s, random_below(&random, size), 20000);
		assert_int_equal(segments_read(&s, buf, len, offset, NULL), 0);
		for (size_t k = 0; k < len; k++)
			if (buf[k] != byte_of((offset + k) / 4096, (offset + k) % 4096))
				fail_msg("byte %llu is wrong", (unsigned long long)offset + k);
	}
	assert_true(stats_of(s.memory).peak <= 40 * KIB);
	segments_close(&s);
	free(buf);
}

static void the_segments_of_one_read_come_together(void **state)
{
	struct segments s;
	struct err e = ERR_INIT;
	uint8_t buf[8];

	loader_start(false);
	loader.fail_all = true;
	assert_int_equal(segments_open(&s, 10 * MIB, 64 * KIB, 4 * MIB, 4, load, NULL, NULL), 0);
	assert_int_equal(segments_read(&s, buf, sizeof(buf), 64 * KIB - 4, &e), -EIO);
	assert_non_null(strstr(e.text, "block 0 "));
	wait_until(loads_now() == 2); /* the second was asked for before the first had failed */
	segments_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_is_loaded_once),
		cmocka_unit_test(the_kind_and_span_are_part_of_the_name),
		cmocka_unit_test(many_readers_of_one_block_load_it_once),
		cmocka_unit_test(the_least_recently_used_goes_first),
		cmocka_unit_test(memory_stays_within_its_bound),
		cmocka_unit_test(a_block_above_the_limit_is_loaded_alone),
		cmocka_unit_test(a_reader_waits_for_room),
		cmocka_unit_test(small_blocks_do_not_overtake_a_large_one_for_ever),
		cmocka_unit_test(reserved_room_is_not_for_others),
		cmocka_unit_test(the_reader_of_a_failed_prefetch_tries_itself),
		cmocka_unit_test(readers_share_the_failure_that_they_wait_for),
		cmocka_unit_test(what_is_wanted_is_loaded_before_it_is_read),
		cmocka_unit_test(a_wish_without_room_is_dropped),
		cmocka_unit_test(demand_goes_before_prefetch),
		cmocka_unit_test(a_reader_takes_a_queued_block_itself),
		cmocka_unit_test(closing_drops_queued_work),
		cmocka_unit_test(readers_in_order_are_recognised),
		cmocka_unit_test(several_readers_are_told_apart),
		cmocka_unit_test(random_reads_trigger_nothing),
		cmocka_unit_test(readers_in_equal_steps_are_recognised),
		cmocka_unit_test(no_step_leads_before_the_beginning),
		cmocka_unit_test(the_kernels_disorder_is_no_new_reader),
		cmocka_unit_test(segments_read_any_range),
		cmocka_unit_test(the_segments_of_one_read_come_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
