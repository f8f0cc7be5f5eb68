/* Mirrors and retries: right bytes or a clear error, within the promised time, whatever the servers
 * do. */
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
#include "fetch/backoff.h"
#include "fetch/mirror.h"
#include "fetch/origin.h"
#include "server.h"

#define FILE_LEN 100000
#define STALL_MS 400

static struct server a, b; /* two mirrors */
static uint8_t *content;   /* of blocks/file on both */

static int same_as_content(void *context, const struct buf *body, struct err *e)
{
	const struct origin_request *rq = context;
	size_t len = rq->len ? rq->len : FILE_LEN;

	if (body->len == len && !memcmp(body->data, content + rq->offset, len))
		return 0;
	return err_set(e, -EBADMSG, "these are other bytes");
}

static struct origin *open_two(unsigned timeout_ms, const char *first, const char *second)
{
	const char *urls[] = {first, second};
	struct origin_options options = {
		.timeout_ms = timeout_ms, .connect_ms = 2000, .stall_ms = STALL_MS};
	struct origin *o;
	struct err e = ERR_INIT;

	assert_int_equal(origin_open(&o, urls, second ? 2 : 1, &options, &e), 0);
	return o;
}

/* Gets blocks/file or a part of it, and checks the bytes where it says that all is well. */
static int get(struct origin *o, struct origin_request rq, struct err *e)
{
	struct origin_answer answer;
	struct err none = ERR_INIT;
	int r;

	rq.path = rq.path ? rq.path : "blocks/file";
	rq.max = rq.max ? rq.max : 1 << 20;
	rq.context = rq.context ? rq.context : &rq;
	e = e ? e : &none;
	r = origin_get(o, &rq, &answer, e);
	if (!r) {
		size_t len = rq.len ? rq.len : FILE_LEN;

		assert_int_equal(answer.body.len, len);
		assert_memory_equal(answer.body.data, content + rq.offset, len);
		assert_int_equal(answer.total, FILE_LEN);
		assert_non_null(answer.mirror);
		buf_free(&answer.body);
	} else {
		assert_int_equal(e->code, r);
		assert_null(answer.body.data);
		assert_non_null(strstr(e->text, "http://127.0.0.1:"));
	}
	return r;
}

static struct origin_request checked(void)
{
	return (struct origin_request){.check = same_as_content};
}

static void expect_text(const struct err *e, const char *part)
{
	if (!strstr(e->text, part))
		fail_msg("'%s' does not say '%s'", e->text, part);
}

/* ---- one mirror ---- */

static void plain(void **state)
{
	struct origin *o = open_two(10000, a.url, NULL);
	struct origin_stats stats;
	json_t *status;

	server_rules(&a, NULL);
	assert_int_equal(get(o, checked(), NULL), 0);
	assert_int_equal(get(o, (struct origin_request){.offset = 5, .len = 17}, NULL), 0);
	assert_int_equal(
		get(o, (struct origin_request){.offset = 5, .len = 17, .fresh = true}, NULL), 0);
	assert_int_equal(get(o, (struct origin_request){.offset = UINT64_MAX - 2, .len = 17}, NULL),
		-EINVAL);
	origin_stats(o, &stats);
	assert_int_equal(stats.requests, 3);
	assert_int_equal(stats.bytes, FILE_LEN + 34);
	assert_int_equal(stats.retries + stats.bad + stats.gone, 0);
	status = origin_status(o);
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(status, 0), "url")), a.url);
	assert_int_equal(
		json_integer_value(json_object_get(json_array_get(status, 0), "requests")), 3);
	json_decref(status);
	origin_close(o);
}

/* Faults that come once or twice: the bytes arrive in the end. */
static void passing_faults(void **state)
{
	static const char *const rules[] = {"* stall count=1", "* stall at=1000 count=1",
		"* reset count=2", "* reset at=1000 count=2", "* drip count=1",
		"* truncate count=2", "* truncate at=0 count=1", "* extra bytes=500 count=1",
		"* flip count=2", "* wronglength count=2", "* wronglength delta=5 count=2",
		"* login count=2", "* status code=408 count=2", "* status code=429 count=2",
		"* status code=500 count=2", "* status code=503 count=2",
		"* status code=502 count=2", "* status code=416 count=1", "* gzip count=1",
		"* loop count=6"};
	struct origin *o = open_two(15000, a.url, NULL);
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		server_rules(&a, rules[i], NULL);
		if (get(o, checked(), &e) < 0)
			fail_msg("%s: %s", rules[i], e.text);
	}
	origin_close(o);
}

/* Faults that stay: a clear error, even without a time limit, where the network is not to blame. */
static void staying_faults(void **state)
{
	static const struct {
		const char *rule;
		int code;
		size_t requests;
		const char *text;
	} cases[] = {
		{"* flip", -EBADMSG, ORIGIN_BAD_TRIES, "these are other bytes"},
		{"* login", -EBADMSG, ORIGIN_BAD_TRIES, "these are other bytes"},
		{"* wronglength", -EBADMSG, ORIGIN_BAD_TRIES, "these are other bytes"},
		{"* wronglength delta=2000000", -EBADMSG, ORIGIN_BAD_TRIES, "more than"},
		{"* gzip", -EBADMSG, ORIGIN_BAD_TRIES, "gzip"},
		{"* status code=416", -EBADMSG, ORIGIN_BAD_TRIES, "416"},
		{"* status code=400", -EBADMSG, ORIGIN_BAD_TRIES, "400"},
		{"* loop", -EBADMSG, ORIGIN_BAD_TRIES * (ORIGIN_REDIRECTS + 1), "redirects"},
		{"* status code=404", -ENOENT, 1, "404 Not Found"},
		{"* status code=410", -ENOENT, 1, "410"},
		{"* status code=401", -EACCES, 1, "401"},
		{"* status code=403", -EACCES, 1, "403"},
	};
	struct origin *o = open_two(0, a.url, NULL);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct err e = ERR_INIT;
		int r;

		server_rules(&a, cases[i].rule, NULL);
		r = get(o, checked(), &e);
		if (r != cases[i].code)
			fail_msg("%s: %d, %s", cases[i].rule, r, e.text);
		expect_text(&e, cases[i].text);
		expect_text(&e, "/blocks/file: ");
		assert_int_equal(server_requests(&a), cases[i].requests);
	}
	origin_close(o);
}

/* An answer that is cut off looks like a failing network, but not for ever. */
static void always_cut_off(void **state)
{
	struct origin *o = open_two(0, a.url, NULL);
	struct err e = ERR_INIT;

	server_rules(&a, "* truncate", NULL);
	assert_int_equal(get(o, checked(), &e), -EBADMSG);
	expect_text(&e, "closed after 50000 of 100000");
	assert_true(server_requests(&a) > ORIGIN_BAD_TRIES);
	origin_close(o);
}

static void longer_than_allowed(void **state)
{
	struct origin *o = open_two(0, a.url, NULL);
	struct err e = ERR_INIT;

	server_rules(&a, NULL);
	assert_int_equal(get(o, (struct origin_request){.max = 999}, &e), -EBADMSG);
	expect_text(&e, "999");
	origin_close(o);
}

static void ranges(void **state)
{
	struct origin *o = open_two(0, a.url, NULL);
	struct origin_request rq = {.path = "blocks/file", .offset = 10, .len = 1000, .max = 1000},
			      all = {.len = FILE_LEN};
	struct origin_answer answer;
	struct err e = ERR_INIT;

	server_rules(&a, NULL);
	assert_int_equal(origin_get(o, &rq, &answer, &e), 0);
	assert_int_equal(answer.total, FILE_LEN);
	assert_int_equal(answer.etag[0], '"');
	buf_free(&answer.body);
	rq.if_range = answer.etag;
	assert_int_equal(get(o, rq, &e), 0);
	server_rules(&a, "* change after=1", NULL);
	assert_int_equal(get(o, rq, &e), 0);
	assert_int_equal(get(o, rq, &e), -ESTALE);
	assert_int_equal(server_requests(&a), 2); /* no retries */
	expect_text(&e, "changed on the server");
	server_rules(&a, "* noranges", NULL);
	assert_int_equal(get(o, rq, &e), -ESTALE);
	rq.if_range = NULL;
	assert_int_equal(get(o, rq, &e), -EBADMSG);
	expect_text(&e, "does not support ranges");
	assert_int_equal(get(o, all, &e), 0);
	server_rules(&a, "* wrongrange count=1", NULL);
	assert_int_equal(get(o, rq, &e), 0);
	server_rules(&a, NULL);
	rq.offset = FILE_LEN + 5; /* behind the end */
	assert_int_equal(get(o, rq, &e), -EBADMSG);
	expect_text(&e, "416");
	origin_close(o);
}

/* ---- time ---- */

static double request_time(struct server *s, size_t i)
{
	json_t *log = server_log(s);
	json_t *entry = json_array_get(json_object_get(log, "requests"), i);
	double time = json_number_value(json_object_get(entry, "time"));

	assert_non_null(entry);
	json_decref(log);
	return time;
}

static void retry_after(void **state)
{
	static const char *const rules[] = {
		"* status code=503 retry=1 count=1", "* status code=429 retry=date:2 count=1"};

	for (size_t i = 0; i < 2; i++) {
		struct origin *o = open_two(10000, a.url, NULL);

		server_rules(&a, rules[i], NULL);
		assert_int_equal(get(o, checked(), NULL), 0);
		assert_int_equal(server_requests(&a), 2);
		assert_true(request_time(&a, 1) - request_time(&a, 0) >= 0.95);
		assert_true(request_time(&a, 1) - request_time(&a, 0) < 4);
		origin_close(o);
	}
}

static void time_limit(void **state)
{
	static const char *const rules[] = {
		"* stall", "* status code=503 retry=100", "* status code=500", "* reset"};

	for (size_t i = 0; i < 4; i++) {
		struct origin *o = open_two(900, a.url, NULL);
		struct err e = ERR_INIT;
		uint64_t start = clock_ms();

		server_rules(&a, rules[i], NULL);
		assert_int_equal(get(o, checked(), &e), -ETIMEDOUT);
		assert_in_range(clock_ms() - start, 850, 3000);
		expect_text(&e, "no good answer within 0.9 s");
		origin_close(o);
	}
}

static void backoff_grows(void **state)
{
	for (unsigned tries = 1; tries < 20; tries++) {
		uint64_t most = tries > 7 ? 10000 : 100u << (tries - 1);

		for (int i = 0; i < 100; i++)
			assert_in_range(backoff_ms(tries), most / 2, most);
	}
}

struct call {
	struct origin *o;
	pthread_t thread;
	int r;
	uint64_t ended_ms;
	bool background, bulk;
};

static void *call_get(void *context)
{
	struct call *c = context;
	struct origin_request rq = {
		.path = "blocks/file", .max = 1 << 20, .background = c->background, .bulk = c->bulk};
	struct origin_answer answer;

	c->r = origin_get(c->o, &rq, &answer, NULL);
	if (!c->r && (answer.body.len != FILE_LEN || memcmp(answer.body.data, content, FILE_LEN)))
		c->r = -EIO;
	buf_free(&answer.body);
	c->ended_ms = clock_ms();
	return NULL;
}

static void start_calls(struct origin *o, struct call *calls, size_t count, bool in_bulk)
{
	for (size_t i = 0; i < count; i++) {
		calls[i] = (struct call){.o = o, .background = in_bulk || (i & 1), .bulk = in_bulk};
		assert_int_equal(pthread_create(&calls[i].thread, NULL, call_get, &calls[i]), 0);
	}
}

static void expect_calls(struct call *calls, size_t count, int r)
{
	for (size_t i = 0; i < count; i++) {
		pthread_join(calls[i].thread, NULL);
		assert_int_equal(calls[i].r, r);
	}
}

static void canceled(void **state)
{
	static const char *const rules[] = {"* stall", "* status code=503 retry=50"};

	for (size_t i = 0; i < 2; i++) {
		const char *urls[] = {a.url};
		struct origin_options options = {.stall_ms = 60000};
		struct call calls[40]; /* more than run at once */
		struct origin_stats stats = {0};
		struct origin *o;
		uint64_t start;

		server_rules(&a, rules[i], NULL);
		assert_int_equal(origin_open(&o, urls, 1, &options, NULL), 0);
		start_calls(o, calls, 40, false);
		for (uint64_t end = clock_ms() + 10000; i ? !stats.gone : !server_requests(&a);) {
			assert_true(clock_ms() < end);
			usleep(1000);
			origin_stats(o, &stats);
		}
		start = clock_ms();
		origin_cancel(o);
		expect_calls(calls, 40, -ECANCELED);
		assert_true(clock_ms() - start < 1000);
		assert_int_equal(get(o, checked(), NULL), -ECANCELED);
		origin_close(o);
	}
}

static void await_requests(size_t count)
{
	for (uint64_t end = clock_ms() + 10000; server_requests(&a) < count;) {
		assert_true(clock_ms() < end);
		usleep(1000);
	}
}

/* Bulk requests wait for each other, and nobody for them. */
static void bulk(void **state)
{
	const char *urls[] = {a.url};
	struct origin_options options = {.stall_ms = 60000};
	struct call calls[12], demanded[1];
	struct origin *o;

	server_rules(&a, NULL);
	o = open_two(10000, a.url, NULL);
	start_calls(o, calls, 12, true);
	expect_calls(calls, 12, 0);
	origin_close(o);

	server_rules(&a, "* stall", NULL);
	assert_int_equal(origin_open(&o, urls, 1, &options, NULL), 0);
	start_calls(o, calls, 12, true);
	await_requests(MIRROR_ROOM_LEAST);
	start_calls(o, demanded, 1, false);
	await_requests(MIRROR_ROOM_LEAST + 1);
	usleep(50000); /* time to do wrong */
	assert_int_equal(server_requests(&a), MIRROR_ROOM_LEAST + 1);
	origin_cancel(o);
	expect_calls(calls, 12, -ECANCELED);
	expect_calls(demanded, 1, -ECANCELED);
	origin_close(o);
}

/* Runs f with stderr in a file, whose text comes back (free()). */
static char *said_by(void (*f)(void))
{
	struct buf text = BUF_INIT(1 << 16);
	char path[96];
	int before = dup(2), fd;

	snprintf(path, sizeof(path), "%s/stderr", b.dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(before >= 0 && fd >= 0);
	dup2(fd, 2);
	f();
	dup2(before, 2);
	close(before);
	close(fd);
	assert_int_equal(file_load(AT_FDCWD, path, &text, NULL), 0);
	assert_int_equal(buf_append(&text, "", 1), 0);
	return (char *)text.data;
}

static size_t times_said(const char *text, const char *part)
{
	size_t n = 0;

	for (; (text = strstr(text, part)); text++)
		n++;
	return n;
}

static void live_through_outage(void)
{
	struct origin *o = open_two(0, a.url, NULL);
	struct origin_stats stats;
	struct call calls[8];
	uint64_t start = clock_ms();
	uint64_t most = 0;

	server_rules(&a, NULL);
	server_gone(&a, 5);
	/* It is gone when a probe says so. */
	while (get(o, (struct origin_request){.once = true}, NULL) != -EHOSTUNREACH)
		assert_true(clock_ms() - start < 4500);
	start_calls(o, calls, 8, false);
	while (most < 8) {
		usleep(10000);
		origin_stats(o, &stats);
		most = stats.gone > most ? stats.gone : most;
		assert_true(clock_ms() - start < 20000);
	}
	expect_calls(calls, 8, 0);
	for (size_t i = 0; i < 8; i++) /* all wake up when the first gets through */
		assert_in_range(calls[i].ended_ms - start, 4500, 20000);
	origin_stats(o, &stats);
	assert_int_equal(stats.gone, 0);
	assert_true(stats.retries >= 8);
	origin_close(o);
}

static void gone_and_back(void **state)
{
	char *said = said_by(live_through_outage);

	if (times_said(said, "waiting for it to return") != 1 ||
		times_said(said, "answers again") != 1 || times_said(said, "\n") != 2)
		fail_msg("said: %s", said);
	free(said);
}

static void once(void **state)
{
	struct origin *o = open_two(0, "http://127.0.0.1:1", NULL);
	struct err e = ERR_INIT;
	uint64_t start = clock_ms();

	assert_int_equal(get(o, (struct origin_request){.once = true}, &e), -EHOSTUNREACH);
	assert_true(clock_ms() - start < 5000); /* far below what waiting for it to return would take */
	assert_int_equal(origin_add(o, a.url, &e), 0);
	server_rules(&a, NULL);
	assert_int_equal(get(o, (struct origin_request){.once = true}, &e), 0);
	server_rules(&a, "* status code=404", NULL);
	assert_int_equal(get(o, (struct origin_request){.once = true}, &e),
		-EHOSTUNREACH); /* the other may have it */
	expect_text(&e, "404");
	origin_close(o);
}

/* ---- two mirrors ---- */

/* What people give for their store is not for mirrors that its manifest names. */
static void headers_stay_at_home(void **state)
{
	static const char *const headers[] = {"Authorization: Bearer abc", NULL};
	struct origin_options options = {.headers = headers, .timeout_ms = 5000};
	const char *url = a.url;
	struct origin *o;
	json_t *log, *sent;

	server_rules(&a, "* status code=404", NULL);
	server_rules(&b, NULL);
	assert_int_equal(origin_open(&o, &url, 1, &options, NULL), 0);
	assert_int_equal(origin_add(o, b.url, NULL), 0);
	assert_int_equal(get(o, (struct origin_request){0}, NULL), 0);
	origin_close(o);
	for (int i = 0; i < 2; i++) {
		log = server_log(i ? &b : &a);
		assert_int_equal(json_array_size(json_object_get(log, "requests")), 1);
		sent = json_object_get(
			json_array_get(json_object_get(log, "requests"), 0), "headers");
		assert_int_equal(json_object_get(sent, "authorization") == NULL, i);
		json_decref(log);
	}
}

static void other_mirror_helps(void **state)
{
	static const char *const rules[] = {"* stall", "* stall at=500", "* reset",
		"* reset at=500", "* drip", "* truncate", "* flip", "* wronglength", "* login",
		"* status code=404", "* status code=403", "* status code=500",
		"* status code=503 retry=60", "* loop", "* gzip", "* gone seconds=0.2 count=1"};

	server_rules(&b, NULL);
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		struct origin *o = open_two(0, a.url, b.url);
		uint64_t start = clock_ms();
		struct err e = ERR_INIT;
		json_t *status;

		server_rules(&a, rules[i], NULL);
		if (get(o, checked(), &e) < 0)
			fail_msg("%s: %s", rules[i], e.text);
		assert_true(clock_ms() - start < 3000);
		/* Next time the good one comes first, unless the file only was not there. */
		assert_int_equal(get(o, checked(), &e), 0);
		status = origin_status(o);
		assert_int_equal(
			json_integer_value(json_object_get(json_array_get(status, 1), "requests")),
			2);
		json_decref(status);
		origin_close(o);
	}
	for (uint64_t end = clock_ms() + 10000;;) { /* back again? */
		struct origin *o = open_two(100, a.url, NULL);
		int r = get(o, (struct origin_request){.once = true}, NULL);

		origin_close(o);
		if (!r)
			break;
		assert_true(clock_ms() < end);
	}
}

static void errors_of_both(void **state)
{
	struct origin *o = open_two(0, a.url, b.url);
	struct err e = ERR_INIT;

	server_rules(&a, "* status code=404", NULL);
	server_rules(&b, "* status code=410", NULL);
	assert_int_equal(get(o, checked(), &e), -ENOENT);
	expect_text(&e, a.url);
	expect_text(&e, "404 Not Found (also tried ");
	expect_text(&e, b.url);
	expect_text(&e, "410");
	server_rules(&b, "* status code=403", NULL);
	assert_int_equal(get(o, checked(), &e), -EACCES);
	server_rules(&b, "* flip", NULL);
	assert_int_equal(get(o, checked(), &e), -EBADMSG);
	origin_close(o);
}

struct mix {
	struct origin *o;
	unsigned seed;
	int r;
	struct err e;
};

static void *read_mix(void *context)
{
	struct mix *m = context;

	for (int i = 0; i < 60 && !m->r; i++) {
		struct origin_request rq = {
			.path = "blocks/file", .max = 1 << 20, .check = same_as_content};
		struct origin_answer answer;

		rq.context = &rq;
		rq.background = rand_r(&m->seed) & 1;
		if (rand_r(&m->seed) & 1) {
			rq.offset = (uint64_t)rand_r(&m->seed) % (FILE_LEN - 1);
			rq.len = 1 + (uint64_t)rand_r(&m->seed) % (FILE_LEN - rq.offset);
		}
		m->r = origin_get(m->o, &rq, &answer, &m->e);
		buf_free(&answer.body);
	}
	return NULL;
}

/* One mirror lies, the other fails all the time: right bytes come from what is left. */
static void random_mix(void **state)
{
	struct origin *o = open_two(0, a.url, b.url);
	struct mix mixes[8];
	pthread_t threads[8];

	server_rules(&a, "* flip every=3", "* truncate every=7", "* login every=5",
		"* wronglength every=4", NULL);
	server_rules(&b, "* reset every=5", "* status code=503 every=6", "* reset at=10 every=7",
		"* stall every=40", NULL);
	for (unsigned i = 0; i < 8; i++) {
		mixes[i] = (struct mix){.o = o, .seed = i};
		assert_int_equal(pthread_create(&threads[i], NULL, read_mix, &mixes[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		if (mixes[i].r)
			fail_msg("%s", mixes[i].e.text);
	}
	origin_close(o);
}

static void bad_options(void **state)
{
	static const char *const urls[] = {"ftp://host/x", "file:///etc", "host/path", "http://",
		"", "http://user:secret@host/x", "http://ho st/", "http://127.0.0.1:99999/"};
	struct origin_options options = {.cacert = "/nonexistent.pem"};
	struct err e = ERR_INIT;
	struct origin *o;

	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
		struct origin_options none = {0};

		e.text[0] = 0;
		assert_int_equal(origin_open(&o, &urls[i], 1, &none, &e), -EINVAL);
		assert_true(e.text[0]);
		assert_null(strstr(e.text, "secret"));
	}
	assert_int_equal(
		origin_open(&o, (const char *const[]){"http://h"}, 1, &options, &e), -ENOENT);
	expect_text(&e, "/nonexistent.pem");
}

static int set_up(void **state)
{
	char path[128];
	struct server *servers[] = {&a, &b};

	for (size_t i = 0; i < 2; i++) {
		server_start(servers[i], NULL);
		snprintf(path, sizeof(path), "%s/blocks", servers[i]->dir);
		assert_int_equal(file_mkdirs(path, NULL), 0);
		free(content);
		content = server_file(servers[i], "blocks/file", FILE_LEN, 2);
	}
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
		cmocka_unit_test(backoff_grows),
		cmocka_unit_test(bad_options),
		cmocka_unit_test(plain),
		cmocka_unit_test(passing_faults),
		cmocka_unit_test(staying_faults),
		cmocka_unit_test(always_cut_off),
		cmocka_unit_test(longer_than_allowed),
		cmocka_unit_test(ranges),
		cmocka_unit_test(retry_after),
		cmocka_unit_test(time_limit),
		cmocka_unit_test(canceled),
		cmocka_unit_test(bulk),
		cmocka_unit_test(gone_and_back),
		cmocka_unit_test(once),
		cmocka_unit_test(headers_stay_at_home),
		cmocka_unit_test(other_mirror_helps),
		cmocka_unit_test(errors_of_both),
		cmocka_unit_test(random_mix),
	};

	alarm(110); /* a hang is a failure */
	signal(SIGPIPE, SIG_IGN);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
