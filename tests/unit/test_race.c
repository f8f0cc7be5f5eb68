/* origin_race(): all mirrors are asked at once, the caller's judge sees each answer, and neither slow nor lying ones hold it up. */
#include <errno.h>
#include <fcntl.h>
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
#include "fetch/origin.h"
#include "server.h"

#define SERVERS 3
#define GRACE_MS 300

static struct server servers[SERVERS];

/* Each server's `manifest` is its number, '0' + i, as text. */
struct judged {
	char refuse;	/* this one is no good */
	int best;	/* the highest that was accepted, or 0 */
	unsigned seen, accepted;
	char mirror[64]; /* of the best one */
};

static int judge(void *context, struct origin_answer *answer, struct err *e)
{
	struct judged *j = context;
	int number;

	j->seen++;
	assert_non_null(answer->mirror);
	if (answer->body.len != 1 || answer->body.data[0] == j->refuse)
		return err_set(e, -EBADMSG, "signed by somebody else");
	number = answer->body.data[0];
	j->accepted++;
	if (number > j->best) {
		j->best = number;
		snprintf(j->mirror, sizeof(j->mirror), "%s", answer->mirror);
	}
	return 0;
}

static struct origin *open_all(unsigned timeout_ms)
{
	struct origin_options options = {.timeout_ms = timeout_ms, .connect_ms = 2000, .stall_ms = 1500};
	const char *urls[SERVERS];
	struct origin *o;

	for (int i = 0; i < SERVERS; i++)
		urls[i] = servers[i].url;
	assert_int_equal(origin_open(&o, urls, SERVERS, &options, NULL), 0);
	return o;
}

static int race(struct origin *o, struct judged *j, bool once, struct err *e)
{
	struct origin_request rq = {.path = "manifest", .max = 100, .fresh = true, .once = once};

	return origin_race(o, &rq, judge, j, GRACE_MS, e);
}

static void rules(const char *first, const char *second, const char *third)
{
	server_rules(&servers[0], first, NULL);
	server_rules(&servers[1], second, NULL);
	server_rules(&servers[2], third, NULL);
}

static void all_answer(void **state)
{
	struct origin *o = open_all(10000);
	struct judged j = {0};
	uint64_t start = clock_ms();

	rules(NULL, NULL, NULL);
	assert_int_equal(race(o, &j, false, NULL), 0);
	assert_true(clock_ms() - start < 5000);
	assert_int_equal(j.accepted, 3);
	assert_int_equal(j.best, '2');
	assert_string_equal(j.mirror, servers[2].url);
	for (int i = 0; i < SERVERS; i++)
		assert_int_equal(server_requests(&servers[i]), 1);
	origin_close(o);
}

/* A newer one that comes within the grace is seen; one that does not is not waited for. */
static void grace(void **state)
{
	struct origin *o = open_all(10000);
	struct judged j = {0};
	uint64_t start = clock_ms(), spent;

	rules(NULL, "* delay ms=100", "* stall");
	assert_int_equal(race(o, &j, false, NULL), 0);
	spent = clock_ms() - start;
	assert_int_equal(j.best, '1');
	assert_in_range(spent, GRACE_MS, 1400); /* less than what ends the stalled one */
	origin_close(o);
}

static void liar_and_dead_do_not_matter(void **state)
{
	static const char *const faults[] = {"* stall", "* reset", "* login", "* status code=503", "* status code=404", "* loop"};

	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		struct origin *o = open_all(0);
		struct judged j = {.refuse = '2'};
		struct err e = ERR_INIT;
		uint64_t start = clock_ms();

		rules(faults[i], NULL, NULL);
		if (race(o, &j, false, &e) < 0)
			fail_msg("%s: %s", faults[i], e.text);
		assert_int_equal(j.best, '1');
		assert_true(clock_ms() - start < 1400);
		origin_close(o);
	}
}

/* While nobody is accepted those that fail are asked again, each in its own time: one that stalls holds up nobody. */
static void retries(void **state)
{
	struct origin *o = open_all(10000);
	struct judged j = {0};
	uint64_t start = clock_ms();

	rules("* stall", "* status code=503 count=3", "* status code=404");
	assert_int_equal(race(o, &j, false, NULL), 0);
	assert_int_equal(j.best, '1');
	assert_int_equal(server_requests(&servers[1]), 4);
	assert_int_equal(server_requests(&servers[2]), 1);
	assert_in_range(clock_ms() - start, 350 + GRACE_MS, 5000); /* 100, 200 and 400 ms, each less at most half */
	origin_close(o);
}

static void failures(void **state)
{
	struct judged j = {.refuse = '0'};
	struct err e = ERR_INIT;
	struct origin *o = open_all(0);

	rules(NULL, "* status code=404", "* status code=410");
	assert_int_equal(race(o, &j, false, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "signed by somebody else"));
	assert_non_null(strstr(e.text, "404"));
	assert_non_null(strstr(e.text, "410"));
	assert_int_equal(j.seen, ORIGIN_BAD_TRIES);
	rules("* status code=404", "* status code=404", "* status code=403");
	assert_int_equal(race(o, &j, false, &e), -EACCES);
	rules("* status code=404", "* status code=404", "* status code=404");
	assert_int_equal(race(o, &j, false, &e), -ENOENT);
	origin_close(o);
}

static void ends_in_time(void **state)
{
	struct judged j = {0};
	struct err e = ERR_INIT;
	struct origin *o = open_all(900);
	uint64_t start = clock_ms();

	rules("* stall", "* status code=500", "* status code=503 retry=60");
	assert_int_equal(race(o, &j, false, &e), -ETIMEDOUT);
	assert_in_range(clock_ms() - start, 850, 3000);
	assert_non_null(strstr(e.text, "no good answer within 0.9 s"));
	start = clock_ms();
	rules("* reset", "* status code=500", "* status code=404");
	assert_int_equal(race(o, &j, true, &e), -EHOSTUNREACH);
	assert_true(clock_ms() - start < 800);
	assert_int_equal(server_requests(&servers[1]), 1);
	assert_int_equal(j.seen, 0);
	origin_close(o);
}

struct call {
	struct origin *o;
	int r;
};

static void *call_race(void *context)
{
	struct call *c = context;
	struct judged j = {0};

	c->r = race(c->o, &j, false, NULL);
	return NULL;
}

static void canceled(void **state)
{
	static const char *const faults[] = {"* stall", "* status code=503 retry=50"};

	for (size_t i = 0; i < 2; i++) {
		struct call c = {.o = open_all(0)};
		struct origin_stats stats = {0};
		pthread_t thread;
		uint64_t end = clock_ms() + 10000;

		rules(faults[i], faults[i], faults[i]);
		assert_int_equal(pthread_create(&thread, NULL, call_race, &c), 0);
		while (i ? !stats.gone : !server_requests(&servers[2])) {
			assert_true(clock_ms() < end);
			usleep(1000);
			origin_stats(c.o, &stats);
		}
		origin_cancel(c.o);
		pthread_join(thread, NULL);
		assert_int_equal(c.r, -ECANCELED);
		origin_close(c.o);
	}
}

/* All mirrors away, then one returns. */
static void gone_and_back(void **state)
{
	struct origin *o = open_all(0);
	struct judged j = {0};
	uint64_t start = clock_ms();

	rules(NULL, "* status code=500", "* status code=503");
	server_gone(&servers[0], 4);
	while (race(o, &j, true, NULL) == 0) /* it is gone when it says so */
		assert_true(clock_ms() - start < 3800);
	j = (struct judged){0};
	assert_int_equal(race(o, &j, false, NULL), 0);
	assert_int_equal(j.best, '0');
	assert_in_range(clock_ms() - start, 3500, 20000);
	origin_close(o);
}

static int set_up(void **state)
{
	for (int i = 0; i < SERVERS; i++) {
		char path[128], text = (char)('0' + i);

		server_start(&servers[i], NULL);
		snprintf(path, sizeof(path), "%s/manifest", servers[i].dir);
		assert_int_equal(file_save(AT_FDCWD, path, &text, 1, 0, NULL), 0);
	}
	return 0;
}

static int tear_down(void **state)
{
	for (int i = 0; i < SERVERS; i++)
		server_stop(&servers[i]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_answer),
		cmocka_unit_test(grace),
		cmocka_unit_test(liar_and_dead_do_not_matter),
		cmocka_unit_test(retries),
		cmocka_unit_test(failures),
		cmocka_unit_test(ends_in_time),
		cmocka_unit_test(canceled),
		cmocka_unit_test(gone_and_back),
	};

	alarm(110); /* a hang is a failure */
	signal(SIGPIPE, SIG_IGN);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
