/* Several mirrors, some of them slow: requests go where they finish first, late ones are asked of another mirror, within a budget. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "fetch/hedge.h"
#include "fetch/origin.h"
#include "server.h"

#define FILE_LEN 100000
#define PART 20000

static struct server a, b;
static uint8_t *content; /* of `file` on both */

static struct origin *open_both(void)
{
	/* What libcurl and the loop would end by themselves is far away: in here nobody waits for that. */
	struct origin_options options = {.timeout_ms = 60000, .connect_ms = 30000, .stall_ms = 30000};
	const char *urls[] = {a.url, b.url};
	struct origin *o;

	assert_int_equal(origin_open(&o, urls, 2, &options, NULL), 0);
	return o;
}

/* Gets a part of the file; returns how long that took, in ms. */
static uint64_t get(struct origin *o, bool background)
{
	struct origin_request rq = {.path = "file", .offset = 500, .len = PART, .max = PART, .background = background};
	struct origin_answer answer;
	struct err e = ERR_INIT;
	uint64_t start = clock_ms();

	if (origin_get(o, &rq, &answer, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(answer.body.len, PART);
	assert_memory_equal(answer.body.data, content + 500, PART);
	buf_free(&answer.body);
	return clock_ms() - start;
}

static uint64_t most(struct origin *o, unsigned count, bool background)
{
	uint64_t longest = 0;

	for (unsigned i = 0; i < count; i++) {
		uint64_t ms = get(o, background);

		longest = ms > longest ? ms : longest;
	}
	return longest;
}

static double number_of(struct origin *o, size_t mirror, const char *what)
{
	json_t *status = origin_status(o);
	double number = json_number_value(json_object_get(json_array_get(status, mirror), what));

	json_decref(status);
	return number;
}

static void expect_state(struct origin *o, size_t mirror, const char *state)
{
	json_t *status = origin_status(o);

	assert_string_equal(json_string_value(json_object_get(json_array_get(status, mirror), "state")), state);
	json_decref(status);
}

static void faster_one_gets_more(void **state)
{
	struct origin *o = open_both();

	expect_state(o, 0, "unknown");
	server_rules(&a, "* delay ms=150", NULL);
	server_rules(&b, NULL);
	most(o, 60, false);
	assert_true(number_of(o, 1, "share") > 80);
	assert_true(number_of(o, 0, "requests") >= 1); /* so that it is known */
	assert_true(number_of(o, 0, "latency_ms") >= 50);
	assert_true(number_of(o, 1, "latency_p95_ms") < 150);
	assert_true(number_of(o, 1, "bytes_per_s") > 0);
	expect_state(o, 0, "good");
	expect_state(o, 1, "good");
	origin_close(o);
}

/* A cache folder, say. */
static void missing_costs_little(void **state)
{
	struct origin *o = open_both();

	server_rules(&a, "* status code=404", NULL);
	server_rules(&b, NULL);
	most(o, 100, false);
	assert_true(number_of(o, 0, "not_found") >= 1);
	assert_true(number_of(o, 0, "not_found") < 50);
	assert_int_equal(number_of(o, 0, "errors"), 0);
	expect_state(o, 0, "good");
	origin_close(o);
}

/* What stalls or drips, from the start or in the middle, holds up nobody for long; and what that costs is bounded. */
static void late_answers(void **state)
{
	static const char *const faults[] = {"* stall", "* stall at=3000", "* drip rate=2000", "* stall every=3", "* stall at=100 every=4"};

	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		struct origin *o = open_both();
		struct origin_stats stats;
		uint64_t longest;

		server_rules(&a, NULL);
		server_rules(&b, NULL);
		most(o, 20, false);
		server_rules(&a, faults[i], NULL);
		longest = most(o, 100, false);
		if (longest > 5000)
			fail_msg("%s: %d ms", faults[i], (int)longest);
		origin_stats(o, &stats);
		assert_true((double)stats.hedges <= HEDGE_REQUESTS_MAX + (double)stats.requests * HEDGE_PERCENT / 100);
		assert_true((double)stats.hedge_bytes <= HEDGE_BYTES_MAX + (double)stats.bytes * HEDGE_PERCENT / 100);
		assert_true(stats.hedge_budget <= HEDGE_REQUESTS_MAX);
		origin_close(o);
	}
}

/* Late once in a while: the hedge's answer comes at once. */
static void hedge_wins(void **state)
{
	struct origin *o = open_both();
	struct origin_stats stats;

	server_rules(&a, NULL);
	server_rules(&b, "* delay ms=60", NULL);
	most(o, 40, false); /* a is preferred now */
	server_rules(&a, "* stall after=2 count=1", NULL);
	assert_true(most(o, 30, false) < 1400); /* less than what makes it give up */
	origin_stats(o, &stats);
	assert_true(stats.hedges >= 1);
	assert_true(number_of(o, 1, "hedges_won") >= 1);
	assert_true(number_of(o, 1, "hedges") >= number_of(o, 1, "hedges_won"));
	assert_int_equal(number_of(o, 0, "errors"), 0); /* late once is no failure */
	origin_close(o);
}

/* Nobody waits for prefetch: no second request, but it is not held up for ever either. */
static void background(void **state)
{
	struct origin *o = open_both();
	struct origin_stats stats;

	server_rules(&a, NULL);
	server_rules(&b, "* delay ms=20", NULL);
	most(o, 40, true);
	server_rules(&a, "* stall", NULL);
	assert_in_range(most(o, 20, true), 1000, 8000);
	origin_stats(o, &stats);
	assert_int_equal(stats.hedges, 0);
	assert_true(number_of(o, 0, "errors") >= 1);
	origin_close(o);
}

struct reader {
	struct origin *o;
	pthread_t thread;
	unsigned count;
};

static void *read_on(void *context)
{
	struct reader *r = context;

	for (unsigned i = 0; i < r->count; i++)
		get(r->o, i & 1);
	return NULL;
}

static void read_together(struct origin *o, unsigned count)
{
	struct reader readers[8];

	for (int i = 0; i < 8; i++) {
		readers[i] = (struct reader){.o = o, .count = count};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		pthread_join(readers[i].thread, NULL);
}

static uint64_t most_at_once(struct server *s)
{
	json_t *log = server_log(s);
	uint64_t n = (uint64_t)json_integer_value(json_object_get(log, "concurrent"));

	json_decref(log);
	return n;
}

/* One that fails is probed by one request at a time, and used again when it works. */
static void demoted_and_back(void **state)
{
	struct origin *o = open_both();
	uint64_t end = clock_ms() + 20000;
	size_t requests;

	server_rules(&a, "* status code=500", NULL);
	server_rules(&b, "* delay ms=30", NULL);
	read_together(o, 10); /* all may have met the failure at the same time */
	expect_state(o, 0, "demoted");
	server_rules(&a, "* status code=500", NULL);
	server_rules(&b, "* delay ms=30", NULL);
	read_together(o, 20);
	assert_true(most_at_once(&a) <= 2); /* a probe that was given up as late may be in the server's hands still */
	requests = server_requests(&a);
	assert_true(requests < 20);
	server_rules(&a, NULL);
	while (number_of(o, 0, "share") < 30) {
		assert_true(clock_ms() < end);
		get(o, true);
	}
	expect_state(o, 0, "good");
	origin_close(o);
}

static int set_up(void **state)
{
	server_start(&a, NULL);
	server_start(&b, NULL);
	free(server_file(&a, "file", FILE_LEN, 2));
	content = server_file(&b, "file", FILE_LEN, 2);
	return 0;
}

static int tear_down(void **state)
{
	server_stop(&a);
	server_stop(&b);
	free(content);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faster_one_gets_more),
		cmocka_unit_test(missing_costs_little),
		cmocka_unit_test(late_answers),
		cmocka_unit_test(hedge_wins),
		cmocka_unit_test(background),
		cmocka_unit_test(demoted_and_back),
	};

	alarm(110); /* a hang is a failure */
	signal(SIGPIPE, SIG_IGN);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
