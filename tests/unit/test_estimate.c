/* The arithmetic of mirrors: estimates, the budget of hedges, the choice, and what an answer makes of a mirror. All with given times. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fetch/choice.h"
#include "fetch/estimate.h"
#include "fetch/hedge.h"
#include "fetch/mirror.h"

#define MS 1000.0 /* µs */
#define MANY 1000

static bool near(double a, double b, double part)
{
	return a >= b * (1 - part) && a <= b * (1 + part);
}

/* ---- estimates ---- */

static void quantile(void **state)
{
	struct estimate s = {0};

	assert_false(estimate_known(&s));
	estimate_first_byte(&s, 10 * MS);
	assert_true(estimate_known(&s));
	assert_true(near(estimate_p95_us(&s), 20 * MS, 0.01)); /* a guess on the safe side */
	for (int i = 1; i <= 100; i++) /* one in 32 is slow: the quantile is that of the others */
		estimate_first_byte(&s, i % 32 ? 10 * MS : 900 * MS);
	assert_true(near(estimate_p95_us(&s), 10 * MS, 0.01));
	for (int i = 0; i < ESTIMATE_SAMPLES; i++) /* one in eight is */
		estimate_first_byte(&s, i % 8 ? 10 * MS : 900 * MS);
	assert_true(near(estimate_p95_us(&s), 900 * MS, 0.01));
	assert_true(s.latency_us > 10 * MS && s.latency_us < 500 * MS);
	for (int i = 0; i < 2 * ESTIMATE_SAMPLES; i++)
		estimate_first_byte(&s, 30 * MS);
	assert_true(near(estimate_p95_us(&s), 30 * MS, 0.01)); /* what was is forgotten */
	assert_true(near(s.latency_us, 30 * MS, 0.02));
	estimate_first_byte(&s, 1e30);
	assert_true(estimate_p95_us(&s) > 0);
}

static void line(void **state)
{
	struct mirror m = {0};
	struct estimate *s = &m.estimate;

	assert_true(estimate_line_bytes(s) == 0);
	assert_true(mirror_room(&m, 50000) == MIRROR_ROOM_LEAST); /* nothing is known yet */
	estimate_first_byte(s, 2 * MS);
	for (int i = 0; i < MANY; i++) { /* in queues of its own making, and in bursts */
		estimate_first_byte(s, 40 * MS);
		estimate_body(s, 50000, 4 * MS, 10);
		estimate_delivered(s, 500000, 40 * MS);
	}
	assert_true(near(estimate_line_bytes(s), 12.5e6 * 2e-3, 0.01));
	assert_true(mirror_room(&m, 50000) == MIRROR_ROOM_LEAST);
	estimate_route_changed(s);
	estimate_first_byte(s, 100 * MS);
	assert_true(near(mirror_room(&m, 50000), MIRROR_ROOM_GAIN * 25, 0.01));
	m.failures = 1;
	assert_true(mirror_room(&m, 50000) == 0);
}

static void throughput(void **state)
{
	struct estimate s = {0};

	assert_true(estimate_rate(&s) == 0 && estimate_body_us(&s, 1e6) == 0);
	estimate_body(&s, 100, 1e6, 1); /* came with the head: says nothing */
	assert_true(estimate_rate(&s) == 0);
	estimate_body(&s, 100000, 100 * MS, 1);
	assert_true(near(estimate_rate(&s), 1e6, 0.01));
	assert_true(near(estimate_body_us(&s, 50000), 50 * MS, 0.01));
	for (int i = 0; i < 60; i++) /* four share what the mirror gives */
		estimate_body(&s, 100000, 400 * MS, 4);
	assert_true(near(estimate_rate(&s), 1e6, 0.01));
	for (int i = 0; i < 60; i++)
		estimate_body(&s, 100000, 10 * MS, 1);
	assert_true(near(estimate_rate(&s), 1e7, 0.1));
	estimate_body(&s, 100000, 0, 1); /* no division by nothing */
	assert_true(isfinite(estimate_rate(&s)));
}

static void waste(void **state)
{
	struct estimate s = {0};

	assert_true(estimate_waste(&s) == 0);
	for (int i = 0; i < MANY; i++)
		estimate_useful(&s, false);
	assert_true(estimate_waste(&s) > 0.9 && estimate_waste(&s) <= 1);
	for (int i = 0; i < MANY; i++)
		estimate_useful(&s, i % 4);
	assert_true(estimate_waste(&s) > 0.1 && estimate_waste(&s) < 0.4);
}

/* ---- hedges ---- */

static void budget(void **state)
{
	struct hedge_budget b = HEDGE_BUDGET_INIT;
	unsigned hedges = 0;

	for (int i = 0; i < MANY; i++) { /* every request would like to */
		hedge_earn(&b, 1, 60000);
		hedges += hedge_take(&b, 1000);
	}
	assert_in_range(hedges, MANY * HEDGE_PERCENT / 100, MANY * HEDGE_PERCENT / 100 + (unsigned)HEDGE_REQUESTS_MAX);
	b = (struct hedge_budget)HEDGE_BUDGET_INIT; /* bytes run out first */
	uint64_t bytes = 0;
	for (int i = 0; i < MANY; i++) {
		hedge_earn(&b, 1, 10000);
		if (hedge_take(&b, 100000)) {
			hedge_pay(&b, 100000);
			bytes += 100000;
		}
	}
	assert_in_range(bytes, 400000, (uint64_t)HEDGE_BYTES_MAX + MANY * 10000 * HEDGE_PERCENT / 100);
	hedge_earn(&b, 1000000, 1u << 31); /* a long quiet time does not pay for a flood */
	for (hedges = 0; hedge_take(&b, 1000); hedges++)
		;
	assert_int_equal(hedges, (unsigned)HEDGE_REQUESTS_MAX);
}

static void lateness(void **state)
{
	struct estimate s = {0};
	struct hedge_progress p = {.connected = true};
	double late;

	assert_true(hedge_late_us(&s, 0, &p) == HEDGE_UNKNOWN_US);
	for (int i = 0; i < ESTIMATE_SAMPLES; i++)
		estimate_first_byte(&s, 2 * MS);
	assert_true(hedge_late_us(&s, 0, &p) == HEDGE_FLOOR_US);
	for (int i = 0; i < ESTIMATE_SAMPLES; i++)
		estimate_first_byte(&s, 200 * MS);
	late = hedge_late_us(&s, 100 * MS, &p);
	assert_true(near(late, 200 * MS, 0.01));
	p.connected = false;
	assert_true(hedge_late_us(&s, 100 * MS, &p) > 2 * late); /* a new connection takes longer */
	p = (struct hedge_progress){.connected = true, .spent_us = 500 * MS, .received = 1000, .length = 11000};
	assert_true(near(hedge_late_us(&s, 100 * MS, &p), 400 * MS, 0.01));
	assert_true(near(hedge_remaining_us(&p), 5000 * MS, 0.01));
	p.received = 0;
	assert_true(hedge_remaining_us(&p) == HUGE_VAL);
	assert_true(hedge_patience_us(10 * MS, 0) == HEDGE_GIVE_UP_US);
	assert_true(hedge_patience_us(1e6, 2) == 16e6);
	assert_true(isfinite(hedge_patience_us(1e6, 1000)));
}

/* ---- the choice ---- */

static struct mirror mirrors[3];

static struct choice choice(void)
{
	static struct mirror *const list[] = {&mirrors[0], &mirrors[1], &mirrors[2]};

	return (struct choice){.mirrors = list, .count = 3, .bytes = 64000, .now_ms = 1000000};
}

/* A mirror that is known: latency in ms, bytes a second. */
static void know(struct mirror *m, double latency, double rate)
{
	*m = (struct mirror){.asked_ms = 999999};
	for (int i = 0; i < 100; i++) {
		estimate_first_byte(&m->estimate, latency * MS);
		estimate_body(&m->estimate, 1000000, 1e12 / rate, 1);
		estimate_useful(&m->estimate, true);
	}
}

static void fastest_first(void **state)
{
	struct choice c = choice();

	know(&mirrors[0], 100, 1e8);
	know(&mirrors[1], 10, 1e6);
	know(&mirrors[2], 300, 1e9);
	c.bytes = 1000;
	assert_int_equal(choice_best(&c), 1);
	c.bytes = 1e6; /* throughput counts for more than latency */
	assert_int_equal(choice_best(&c), 0);
	c.bytes = 1e9;
	assert_int_equal(choice_best(&c), 2);
	c.bytes = 1000; /* what is in flight comes first */
	mirror_begin(&mirrors[1], 1e6, c.now_ms);
	assert_int_equal(choice_best(&c), 0);
	mirror_end(&mirrors[1], 1e6);
	assert_int_equal(choice_best(&c), 1);
	mirrors[1].not_before_ms = c.now_ms + 1;
	assert_int_equal(choice_best(&c), 0);
	assert_true(near(choice_time_us(&mirrors[0], 1e6), 110 * MS, 0.01));
}

/* A cache folder near by that has only some blocks is asked where that saves time. */
static void not_everything_is_there(void **state)
{
	struct choice c = choice();

	know(&mirrors[0], 100, 1e8);
	know(&mirrors[1], 1, 1e9);
	know(&mirrors[2], 300, 1e8);
	for (int i = 0; i < MANY; i++)
		estimate_useful(&mirrors[1].estimate, i % 2);
	assert_int_equal(choice_best(&c), 1); /* half of the time it saves 100 ms, and costs 1 ms each time */
	for (int i = 0; i < 100; i++)
		estimate_first_byte(&mirrors[1].estimate, 60 * MS);
	assert_int_equal(choice_best(&c), 0); /* now it costs 60 ms each time */
	for (int i = 0; i < MANY; i++)
		estimate_useful(&mirrors[1].estimate, true);
	assert_int_equal(choice_best(&c), 1);
}

static void unknown_get_known(void **state)
{
	struct choice c = choice();

	memset(mirrors, 0, sizeof(mirrors));
	for (int i = 0; i < 3; i++) { /* each gets one */
		assert_int_equal(choice_best(&c), i);
		mirror_begin(&mirrors[i], 1, c.now_ms);
	}
	know(&mirrors[1], 50, 1e6); /* and the others wait until they are */
	assert_int_equal(choice_best(&c), 1);
	know(&mirrors[0], 10, 1e6);
	assert_int_equal(choice_best(&c), 0);
	mirror_end(&mirrors[2], 1);
	assert_int_equal(choice_best(&c), 2);
	know(&mirrors[2], 500, 1e6); /* what was not asked for long may have changed */
	assert_int_equal(choice_best(&c), 0);
	mirrors[2].asked_ms = c.now_ms - CHOICE_STALE_BACKGROUND_MS;
	assert_int_equal(choice_best(&c), 0);
	c.background = true;
	assert_int_equal(choice_best(&c), 2);
	mirror_begin(&mirrors[2], 1, c.now_ms);
	assert_int_equal(choice_best(&c), 0);
}

static const struct http_answer failed = {.outcome = HTTP_NO_ANSWER, .text = "no connection"};
static const struct http_answer good = {.outcome = HTTP_OK, .status = 200, .latency_us = 10000, .spent_us = 20000, .received = 5000};

static void demoted_and_probed(void **state)
{
	struct choice c = choice();

	know(&mirrors[0], 10, 1e7);
	know(&mirrors[1], 100, 1e7);
	know(&mirrors[2], 200, 1e7);
	assert_int_equal(mirror_note(&mirrors[0], &failed, c.now_ms), 0);
	assert_int_equal(choice_best(&c), 1);
	assert_true(mirrors[0].retry_at_ms > c.now_ms && mirrors[0].retry_at_ms <= c.now_ms + 100);
	c.now_ms = mirrors[0].retry_at_ms;
	assert_int_equal(choice_best(&c), 1); /* who waits for an answer does not probe at once */
	c.background = true;
	assert_int_equal(choice_best(&c), 0);
	assert_int_equal(choice_second(&c), 1); /* never a hedge */
	mirror_begin(&mirrors[0], 1, c.now_ms);
	assert_int_equal(choice_best(&c), 1); /* one at a time */
	assert_int_equal(mirror_note(&mirrors[0], &failed, c.now_ms), MIRROR_TELL_DEMOTED);
	assert_int_equal(mirror_note(&mirrors[0], &failed, c.now_ms), 0);
	mirror_end(&mirrors[0], 1);
	assert_int_equal(choice_best(&c), 1);
	c.background = false;
	c.now_ms = mirrors[0].retry_at_ms + 1000;
	assert_int_equal(choice_best(&c), 0);
	assert_int_equal(mirror_note(&mirrors[0], &good, c.now_ms), MIRROR_RETURNED | MIRROR_TELL_GOOD);
	assert_int_equal(choice_second(&c), 0);
	for (int i = 0; i < 20; i++) { /* it comes and goes: no flood */
		assert_int_equal(mirror_note(&mirrors[0], &failed, c.now_ms) & MIRROR_TELL_DEMOTED, 0);
		c.now_ms += 1000;
		assert_int_equal(mirror_note(&mirrors[0], &good, c.now_ms) & MIRROR_TELL_GOOD, 0);
	}
}

static void all_demoted(void **state)
{
	struct choice c = choice();

	for (int i = 0; i < 3; i++) {
		know(&mirrors[i], 10, 1e7);
		mirror_note(&mirrors[i], &failed, c.now_ms);
	}
	assert_int_equal(choice_second(&c), -1);
	assert_true(choice_best(&c) >= 0); /* somebody has to be asked */
	mirrors[0].retry_at_ms = mirrors[2].retry_at_ms = c.now_ms + 100;
	mirrors[1].retry_at_ms = c.now_ms;
	assert_int_equal(choice_best(&c), 1);
	for (int i = 0; i < 3; i++)
		mirrors[i].not_before_ms = c.now_ms + 1;
	assert_int_equal(choice_best(&c), -1);
}

/* 404 is no fault. */
static void missing(void **state)
{
	struct http_answer a = {.outcome = HTTP_MISSING, .status = 404, .latency_us = 1000};
	json_t *status;

	know(&mirrors[0], 10, 1e7);
	assert_int_equal(mirror_note(&mirrors[0], &a, 5), 0);
	assert_int_equal(mirrors[0].failures, 0);
	mirrors[0].url = (char *)"http://h";
	status = mirror_status(&mirrors[0], 10, 6);
	assert_non_null(status);
	assert_string_equal(json_string_value(json_object_get(status, "state")), "good");
	assert_int_equal(json_integer_value(json_object_get(status, "not_found")), 1);
	assert_int_equal(json_integer_value(json_object_get(status, "errors")), 0);
	json_decref(status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quantile),
		cmocka_unit_test(line),
		cmocka_unit_test(throughput),
		cmocka_unit_test(waste),
		cmocka_unit_test(budget),
		cmocka_unit_test(lateness),
		cmocka_unit_test(fastest_first),
		cmocka_unit_test(not_everything_is_there),
		cmocka_unit_test(unknown_get_known),
		cmocka_unit_test(demoted_and_probed),
		cmocka_unit_test(all_demoted),
		cmocka_unit_test(missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
