/* Transfers: every way in which a server can misbehave, order and number of those in flight,
 * cancelling, redirects, proxies, TLS. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "fetch/http.h"
#include "fetch/http_head.h"
#include "server.h"

#define FILE_LEN 200000
#define LARGE_LEN 4000000
#define STALL_MS 400

static struct server server;
static uint8_t *content; /* of /file */

/* One that waits: for tests in which a busy machine must not look like a stalled server. */
static struct http *open_patient(void)
{
	struct http_options o = {.connect_ms = 30000, .stall_ms = 30000};
	struct http *h;

	assert_int_equal(http_open(&h, &o, NULL), 0);
	return h;
}

static struct http *open_http(
	const char *proxy, const char *cacert, const char *const *headers, bool netrc)
{
	struct http_options o = {.proxy = proxy,
		.cacert = cacert,
		.headers = headers,
		.netrc = netrc,
		.connect_ms = 5000,
		.stall_ms = STALL_MS};
	struct http *h;
	struct err e = ERR_INIT;

	assert_int_equal(http_open(&h, &o, &e), 0);
	return h;
}

static void get(struct http *h, const char *base, const char *path, struct http_request rq,
	struct http_answer *a)
{
	char url[256];

	snprintf(url, sizeof(url), "%s%s", base, path);
	rq.url = url;
	rq.max = rq.max ? rq.max : 1 << 20;
	assert_int_equal(http_get(h, &rq, clock_ms() + 20000, a), 0);
}

static void expect_file(const struct http_answer *a, size_t offset, size_t len)
{
	if (a->outcome != HTTP_OK)
		fail_msg("outcome %d: %s", a->outcome, a->text);
	assert_int_equal(a->body.len, len);
	assert_memory_equal(a->body.data, content + offset, len);
}

static void whole_and_parts(void **state)
{
	struct http *h = open_http(NULL, NULL, NULL, false);
	struct http_answer a;
	char etag[HTTP_ETAG_MAX];

	server_rules(&server, NULL);
	get(h, server.url, "/file", (struct http_request){0}, &a);
	expect_file(&a, 0, FILE_LEN);
	assert_int_equal(a.total, FILE_LEN);
	assert_int_equal(a.version, 11);
	assert_string_equal(a.type, "application/octet-stream");
	assert_int_equal(a.etag[0], '"');
	assert_true(a.latency_us > 0 && a.spent_us >= a.latency_us);
	memcpy(etag, a.etag, sizeof(etag));
	buf_free(&a.body);
	get(h, server.url, "/file",
		(struct http_request){.offset = 1000, .len = 5000, .if_range = etag}, &a);
	expect_file(&a, 1000, 5000);
	assert_int_equal(a.total, FILE_LEN);
	buf_free(&a.body);
	get(h, server.url, "/file", (struct http_request){.offset = FILE_LEN - 1, .len = 1}, &a);
	expect_file(&a, FILE_LEN - 1, 1);
	buf_free(&a.body);
	get(h, server.url, "/file",
		(struct http_request){.offset = 10, .len = 5, .if_range = "\"other\""}, &a);
	assert_int_equal(a.outcome, HTTP_STALE);
	buf_free(&a.body);
	get(h, server.url, "/empty", (struct http_request){0}, &a);
	expect_file(&a, 0, 0);
	buf_free(&a.body);
	http_close(h);
}

static void faults(void **state)
{
	static const struct {
		const char *rule;
		uint64_t offset, len;
		enum http_outcome outcome;
		const char *text; /* part of what is said */
	} cases[] = {
		{"* stall", 0, 0, HTTP_NO_ANSWER, "no answer within"},
		{"* stall at=100000", 0, 0, HTTP_NO_ANSWER, "less than 1 kB/s"},
		{"* stall at=0", 0, 0, HTTP_NO_ANSWER, ""},
		{"* reset", 0, 0, HTTP_NO_ANSWER, "reset"},
		{"* reset at=100000", 0, 0, HTTP_NO_ANSWER, "reset"},
		{"* drip rate=100", 0, 0, HTTP_NO_ANSWER, "less than 1 kB/s"},
		{"* truncate", 0, 0, HTTP_SHORT, "after 100000 of 200000"},
		{"* truncate at=0", 0, 0, HTTP_SHORT, "after 0 of"},
		{"* truncate at=10", 50, 1000, HTTP_SHORT, "after 10 of 1000"},
		{"* wronglength delta=-10", 50, 1000, HTTP_WRONG, "990"},
		{"* wronglength delta=10", 50, 1000, HTTP_WRONG, "1010"},
		{"* wrongrange", 50, 1000, HTTP_WRONG, "51-1050"},
		{"* noranges", 50, 1000, HTTP_WRONG, "does not support ranges"},
		{"* noranges", 0, FILE_LEN, HTTP_OK, ""},
		{"* gzip", 0, 0, HTTP_WRONG, "gzip"},
		{"* login", 0, 1000, HTTP_WRONG, "ranges"},
		{"* login", 0, 0, HTTP_OK, ""}, /* only what the body holds can tell */
		{"* status code=404", 0, 0, HTTP_MISSING, "404 Not Found"},
		{"* status code=410", 0, 0, HTTP_MISSING, "410"},
		{"* status code=401", 0, 0, HTTP_DENIED, "401"},
		{"* status code=403", 0, 0, HTTP_DENIED, "403"},
		{"* status code=408", 0, 0, HTTP_NO_ANSWER, "408"},
		{"* status code=416", 50, 1000, HTTP_WRONG, "416"},
		{"* status code=400", 0, 0, HTTP_WRONG, "400"},
		{"* status code=204", 0, 0, HTTP_WRONG, "204"},
		{"* status code=304", 0, 0, HTTP_WRONG, "304"},
		{"* status code=429", 0, 0, HTTP_NO_ANSWER, "429"},
		{"* status code=500", 0, 0, HTTP_NO_ANSWER, "500"},
		{"* status code=503", 0, 0, HTTP_NO_ANSWER, "503"},
		{"* loop", 0, 0, HTTP_WRONG, "redirects"},
		{"* redirect to=file:///etc/passwd", 0, 0, HTTP_WRONG, "not http"},
		{"* redirect to=gopher://127.0.0.1:1/x", 0, 0, HTTP_WRONG, "not http"},
		{"* redirect to=http://", 0, 0, HTTP_WRONG, ""},
		{"/file redirect to=/moved", 0, 0, HTTP_OK, ""},
		{"/file redirect to=moved", 70, 1000, HTTP_OK, ""},
		{"* gone seconds=0.3 count=1", 0, 0, HTTP_NO_ANSWER, ""},
	};
	struct http *h = open_http(NULL, NULL, NULL, false);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_request rq = {.offset = cases[i].offset, .len = cases[i].len};
		uint64_t start = clock_ms();
		struct http_answer a;

		server_rules(&server, cases[i].rule, NULL);
		get(h, server.url, "/file", rq, &a);
		if (a.outcome != cases[i].outcome || !strstr(a.text, cases[i].text))
			fail_msg("%s: outcome %d, '%s'", cases[i].rule, a.outcome, a.text);
		if (a.outcome != HTTP_OK)
			assert_true(a.text[0]);
		else if (!strstr(cases[i].rule, "login"))
			expect_file(&a, cases[i].offset, cases[i].len ? cases[i].len : FILE_LEN);
		assert_true(clock_ms() - start < 5000);
		buf_free(&a.body);
		if (strstr(cases[i].rule,
			    "gone")) { /* wait for its return: the next orders need it */
			do
				usleep(20000),
					get(h, server.url, "/file", (struct http_request){0}, &a),
					buf_free(&a.body);
			while (!a.status && clock_ms() - start < 10000);
			assert_int_not_equal(a.status, 0);
		}
	}
	http_close(h);
}

static void bounds(void **state)
{
	struct http *h = open_http(NULL, NULL, NULL, false);
	struct http_answer a;

	/* Announced too long: refused before the body. */
	server_rules(&server, NULL);
	get(h, server.url, "/file", (struct http_request){.max = 1000}, &a);
	assert_int_equal(a.outcome, HTTP_WRONG);
	assert_non_null(strstr(a.text, "more than the 1000"));
	assert_true(a.body.len == 0);
	/* Bytes behind the body must not become the next answer. */
	server_rules(&server, "* extra bytes=100 count=1", NULL);
	for (int i = 0; i < 3; i++) {
		get(h, server.url, "/file",
			(struct http_request){.offset = 5, .len = 100, .new_connection = i == 2},
			&a);
		if (a.outcome == HTTP_OK || i != 1)
			expect_file(&a, 5, 100);
		buf_free(&a.body);
	}
	http_close(h);
}

static void retry_after(void **state)
{
	struct http *h = open_http(NULL, NULL, NULL, false);
	struct http_answer a;

	server_rules(&server, "* status code=503 retry=7", NULL);
	get(h, server.url, "/file", (struct http_request){0}, &a);
	assert_int_equal(a.retry_after_ms, 7000);
	server_rules(&server, "* status code=429 retry=date:5", NULL);
	get(h, server.url, "/file", (struct http_request){0}, &a);
	assert_in_range(a.retry_after_ms, 4000, 6000);
	http_close(h);
}

static void heads(void **state)
{
	static const char *const hostile[] = {"", "\r\n", ":", "HTTP/", "HTTP/9.9 99999999999",
		"ETag:", "ETag: W/\"weak\"", "ETag: \"", "Content-Range: bytes 0-0/*",
		"Content-Range: bytes 5-4/10", "Content-Range: bytes 0-10/10",
		"Content-Range: bytes 99999999999999999999-1/2", "Content-Range: bytes -1-2/3",
		"Content-Range: bytes", "Content-Range: ", "Retry-After: -5", "Retry-After: never",
		"Content-Length: -1", "Content-Length: 18446744073709551616"};
	struct http_head h = {0};
	char text[HTTP_TEXT_MAX], line[10000];
	struct http_request part = {.offset = 0, .len = 1, .max = 1};

	for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++)
		http_head_line(&h, hostile[i], strlen(hostile[i]));
	assert_false(h.has_range);
	assert_false(h.has_length);
	assert_string_equal(h.etag, "");
	assert_int_equal(http_head_retry_ms(&h), 0);
	memset(line, 'x', sizeof(line));
	memcpy(line, "ETag: \"", 7);
	http_head_line(&h, line, sizeof(line));
	assert_string_equal(h.etag, "");
	http_head_line(&h, "HTTP/1.1 206 x", 14);
	assert_int_equal(h.status, 206);
	assert_int_equal(http_head_judge(&h, &part, text), HTTP_WRONG);
	http_head_line(&h, "Content-Range: bytes 0-0/18446744073709551615", 45);
	assert_true(h.has_range);
	assert_int_equal(http_head_judge(&h, &part, text), HTTP_OK);
	http_head_line(&h, "HTTP/2 200 ", 11); /* a new head forgets the old one */
	assert_int_equal(h.version, 20);
	assert_false(h.has_range);
	http_head_line(&h, "Retry-After: 99999999999", 24);
	assert_int_equal(http_head_retry_ms(&h), 86400000);
}

/* Starts count transfers for PATHi, finished later by finish_all(). */
static void start_many(
	struct http *h, const char *path, bool background, struct http_transfer **t, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char url[128];
		struct http_request rq = {.url = url, .max = 1 << 20, .background = background};

		snprintf(url, sizeof(url), "%s/%s%zu", server.url, path, i);
		assert_int_equal(http_start(h, &rq, &t[i]), 0);
	}
}

static void wait_all(struct http *h, struct http_transfer **t, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(http_wait(h, &t[i], 1, clock_ms() + 30000), 0);
		assert_int_equal(http_answer(t[i])->outcome, HTTP_MISSING);
		http_finish(t[i]);
	}
}

static void many_in_flight(void **state)
{
	struct http *h = open_patient();
	struct http_transfer *t[64];
	long most;
	json_t *log;

	server_rules(&server, "* delay ms=200", NULL);
	start_many(h, "many", false, t, 64);
	wait_all(h, t, 64);
	log = server_log(&server);
	most = (long)json_integer_value(json_object_get(log, "concurrent"));
	assert_in_range(most, 8, HTTP_IN_FLIGHT);
	assert_int_equal(json_array_size(json_object_get(log, "requests")), 64);
	json_decref(log);
	http_close(h);
}

static void demand_goes_first(void **state)
{
	struct http *h = open_patient();
	struct http_transfer *background[60], *demand[4];
	size_t i, seen = 0, behind = 0;
	json_t *log, *entry;

	server_rules(&server, "* delay ms=300", NULL);
	start_many(h, "background", true, background, 60);
	/* Until the slots that background may have are taken. */
	for (uint64_t end = clock_ms() + 10000;
		server_requests(&server) < HTTP_IN_FLIGHT - HTTP_DEMAND_SLOTS;)
		assert_true(clock_ms() < end);
	start_many(h, "demand", false, demand, 4);
	wait_all(h, demand, 4);
	wait_all(h, background, 60);
	log = server_log(&server);
	assert_int_equal(json_integer_value(json_object_get(log, "concurrent")),
		HTTP_IN_FLIGHT - HTTP_DEMAND_SLOTS + 4);
	json_array_foreach(json_object_get(log, "requests"), i, entry)
	{
		bool demanded = strstr(json_string_value(json_object_get(entry, "path")), "demand");

		seen += demanded;
		behind += !demanded && seen < 4;
	}
	/* The demanded ones took free slots at once: no queued background transfer was started
	 * before them. */
	assert_in_range(behind, 1, HTTP_IN_FLIGHT - HTTP_DEMAND_SLOTS);
	json_decref(log);
	http_close(h);
}

static void cancelling(void **state)
{
	struct http_options o = {.connect_ms = 5000, .stall_ms = 60000};
	struct http_transfer *t[40], *late;
	struct http_request rq = {.url = server.url, .max = 10};
	struct http *h;
	uint64_t start = clock_ms();

	server_rules(&server, "* stall", NULL);
	assert_int_equal(http_open(&h, &o, NULL), 0);
	start_many(h, "stall", false, t, 40);
	assert_int_equal(http_wait(h, t, 40, clock_ms() + 200), -ETIMEDOUT);
	for (size_t i = 0; i < 20; i++) /* running ones and queued ones */
		http_finish(t[2 * i]);
	http_cancel(h);
	for (size_t i = 0; i < 20; i++) {
		assert_int_equal(http_wait(h, &t[2 * i + 1], 1, clock_ms() + 5000), 0);
		assert_int_equal(http_answer(t[2 * i + 1])->outcome, HTTP_CANCELED);
		http_finish(t[2 * i + 1]);
	}
	assert_int_equal(http_start(h, &rq, &late), -ECANCELED);
	http_close(h);
	assert_true(clock_ms() - start < 3000);
	server_rules(&server, NULL);
}

static void first_of_two(void **state)
{
	struct http *h = open_http(NULL, NULL, NULL, false);
	struct http_transfer *t[2];
	char slow[128], good[128];
	struct http_request rq = {.url = slow, .max = 1 << 20};

	server_rules(&server, "/slow stall", NULL);
	snprintf(slow, sizeof(slow), "%s/slow", server.url);
	snprintf(good, sizeof(good), "%s/file", server.url);
	assert_int_equal(http_start(h, &rq, &t[0]), 0);
	rq.url = good;
	assert_int_equal(http_start(h, &rq, &t[1]), 0);
	assert_int_equal(http_wait(h, t, 2, clock_ms() + 20000), 1);
	expect_file(http_answer(t[1]), 0, FILE_LEN);
	http_finish(t[0]);
	http_finish(t[1]);
	http_close(h);
}

static void keep_alive(void **state)
{
	struct http *h = open_patient();
	struct http_answer a;
	json_t *log;

	server_rules(&server, NULL);
	for (int i = 0; i < 20; i++) {
		get(h, server.url, "/file", (struct http_request){.new_connection = i == 10}, &a);
		expect_file(&a, 0, FILE_LEN);
		buf_free(&a.body);
	}
	log = server_log(&server);
	assert_int_equal(
		json_integer_value(json_object_get(log, "connections")), 3); /* 2 and the log's */
	json_decref(log);
	http_close(h);
}

static const char *sent_header(json_t *log, size_t request, const char *name)
{
	json_t *entry = json_array_get(json_object_get(log, "requests"), request);

	return json_string_value(json_object_get(json_object_get(entry, "headers"), name));
}

static void headers(void **state)
{
	static const char *const ours[] = {"X-Token: secret", "Authorization: Bearer abc", NULL};
	static const char *const split[] = {"X-Token: a\r\nHost: evil", NULL};
	static const char *const none[] = {"no colon", NULL};
	struct http_options bad = {.headers = split, .connect_ms = 1000, .stall_ms = 1000};
	struct http *h = open_http(NULL, NULL, ours, false);
	struct server other;
	struct http_answer a;
	char rule[128];
	json_t *log;

	server_start(&other, NULL);
	free(server_file(&other, "file", 10, 1));
	snprintf(rule, sizeof(rule), "/elsewhere redirect to=%s/file", other.url);
	server_rules(&server, rule, "/here redirect to=/file", NULL);
	get(h, server.url, "/here", (struct http_request){.revalidate = true}, &a);
	expect_file(&a, 0, FILE_LEN);
	buf_free(&a.body);
	get(h, server.url, "/elsewhere", (struct http_request){0}, &a);
	assert_int_equal(a.outcome, HTTP_OK);
	buf_free(&a.body);
	log = server_log(&server);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(sent_header(log, i, "x-token"), "secret");
		assert_string_equal(sent_header(log, i, "authorization"), "Bearer abc");
		assert_string_equal(sent_header(log, i, "accept-encoding"), "identity");
		assert_string_equal(
			sent_header(log, i, "user-agent"), "inetboot/" INETBOOT_VERSION);
		assert_true(!sent_header(log, i, "cache-control") == (i == 2));
	}
	json_decref(log);
	log = server_log(&other);
	assert_int_equal(json_array_size(json_object_get(log, "requests")), 1);
	assert_null(sent_header(log, 0, "x-token"));
	assert_null(sent_header(log, 0, "authorization"));
	json_decref(log);
	server_stop(&other);
	http_close(h);
	assert_int_equal(http_open(&h, &bad, NULL), -EINVAL);
	bad.headers = none;
	assert_int_equal(http_open(&h, &bad, NULL), -EINVAL);
}

static void netrc(void **state)
{
	char home[64], path[96];
	_cleanup_free_ char *before = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
	struct http_answer a;
	struct http *h;
	FILE *f;

	folder_make(home);
	snprintf(path, sizeof(path), "%s/.netrc", home);
	f = fopen(path, "we");
	fputs("machine 127.0.0.1 login me password tell-nobody\n", f);
	fclose(f);
	setenv("HOME", home, 1);
	server_rules(&server, "* auth user=me password=tell-nobody", NULL);
	h = open_http(NULL, NULL, NULL, true);
	get(h, server.url, "/file", (struct http_request){0}, &a);
	expect_file(&a, 0, FILE_LEN);
	buf_free(&a.body);
	http_close(h);
	h = open_http(NULL, NULL, NULL, false);
	get(h, server.url, "/file", (struct http_request){0}, &a);
	assert_int_equal(a.outcome, HTTP_DENIED);
	buf_free(&a.body);
	http_close(h);
	if (before)
		setenv("HOME", before, 1);
	folder_remove(home);
}

static void proxy(void **state)
{
	static const char *const options[] = {"--proxy", NULL};
	struct server proxy_server;
	struct http_answer a;
	struct http *h;
	json_t *log;

	server_rules(&server, NULL);
	server_start(&proxy_server, options);
	h = open_http(proxy_server.url, NULL, NULL, false);
	get(h, server.url, "/file", (struct http_request){.offset = 7, .len = 70}, &a);
	expect_file(&a, 7, 70);
	buf_free(&a.body);
	http_close(h);
	setenv("http_proxy", proxy_server.url, 1);
	h = open_http(NULL, NULL, NULL, false);
	get(h, server.url, "/file", (struct http_request){0}, &a);
	expect_file(&a, 0, FILE_LEN);
	buf_free(&a.body);
	http_close(h);
	unsetenv("http_proxy");
	log = server_log(&proxy_server);
	for (size_t i = 0; i < 2; i++)
		assert_true(json_is_true(json_object_get(
			json_array_get(json_object_get(log, "requests"), i), "proxied")));
	json_decref(log);
	assert_int_equal(server_requests(&server), 2);
	server_stop(&proxy_server);
}

static void tls(void **state)
{
	char certs[64], cert[96], key[96], url[64];
	const char *options[] = {"--cert", cert, "--key", key, NULL};
	struct server secure;
	struct http_answer a;
	struct http *h;

	folder_make(certs);
	snprintf(cert, sizeof(cert), "%s/cert.pem", certs);
	snprintf(key, sizeof(key), "%s/key.pem", certs);
	if (!certificate_make(certs)) {
		folder_remove(certs);
		skip();
	}
	server_start(&secure, options);
	free(server_file(&secure, "file", FILE_LEN, 1));
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", secure.port);
	h = open_http(NULL, NULL, NULL, false);
	get(h, url, "/file", (struct http_request){0}, &a);
	assert_int_equal(a.outcome, HTTP_WRONG);
	assert_non_null(strstr(a.text, "certificate"));
	buf_free(&a.body);
	http_close(h);
	h = open_http(NULL, cert, NULL, false);
	get(h, url, "/file", (struct http_request){0}, &a);
	expect_file(&a, 0, FILE_LEN);
	assert_int_equal(a.version, 11);
	buf_free(&a.body);
	http_close(h);
	server_stop(&secure);
	folder_remove(certs);
}

/* HTTP/2 is used where it is offered, and 64 transfers that start together share one connection. */
static void http2(void **state)
{
	char certs[64], cert[96], path[96], first[64] = "", line[64];
	struct http_transfer *t[64];
	struct server nginx;
	size_t lines = 0;
	struct http *h;
	FILE *log;

	folder_make(certs);
	snprintf(cert, sizeof(cert), "%s/cert.pem", certs);
	if (!certificate_make(certs) || !nginx_start(&nginx, server.dir, certs)) {
		folder_remove(certs);
		skip();
	}
	h = open_http(NULL, cert, NULL, false);
	for (size_t i = 0; i < 64; i++) {
		char url[128];
		struct http_request rq = {.url = url, .offset = i * 1000, .len = 1000};

		snprintf(url, sizeof(url), "%s/file", nginx.url);
		assert_int_equal(http_start(h, &rq, &t[i]), 0);
	}
	for (size_t i = 0; i < 64; i++) {
		assert_int_equal(http_wait(h, &t[i], 1, clock_ms() + 20000), 0);
		expect_file(http_answer(t[i]), i * 1000, 1000);
		assert_int_equal(http_answer(t[i])->version, 20);
		http_finish(t[i]);
	}
	http_close(h);
	nginx_stop(&nginx);
	snprintf(path, sizeof(path), "%s/access.log", certs);
	log = fopen(path, "re");
	assert_non_null(log);
	for (; fgets(line, sizeof(line), log); lines++) {
		if (!lines)
			memcpy(first, line, sizeof(first));
		assert_string_equal(line, first);
		assert_non_null(strstr(line, "HTTP/2"));
	}
	fclose(log);
	assert_int_equal(lines, 64);
	folder_remove(certs);
}

/* Into namespaces of our own, in which the only name server never answers. false: not possible
 * here. */
static bool silence_dns(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
		.sin_port = htons(53),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	char path[] = "/tmp/inetboot-resolv-XXXXXX";
	int fd = mkstemp(path), silent;
	bool ok;

	if (fd < 0 || dprintf(fd, "nameserver 127.0.0.1\n") < 0)
		return false;
	close(fd);
	ok = !unshare((geteuid() ? CLONE_NEWUSER : 0) | CLONE_NEWNS | CLONE_NEWNET) &&
	     !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	     !mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL);
	unlink(path);
	silent = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return ok && !ioctl(silent, SIOCSIFFLAGS, &lo) &&
	       !bind(silent, (struct sockaddr *)&at, sizeof(at));
}

/* Taking back a transfer whose name is being resolved must not hold up the others. */
static int resolve_in_silence(void)
{
	struct http_request rq = {.url = "http://nowhere.example/", .max = 10};
	struct http_transfer *t;
	struct http_answer a;
	struct http *h;
	uint64_t start;

	if (!silence_dns())
		return 77;
	h = open_patient();
	if (http_start(h, &rq, &t) < 0 || http_wait(h, &t, 1, clock_ms() + 500) != -ETIMEDOUT)
		return 1;
	start = clock_ms();
	http_finish(t);
	rq.url = "http://127.0.0.1:1/";
	if (http_get(h, &rq, clock_ms() + 5000, &a) < 0 || a.outcome != HTTP_NO_ANSWER)
		return 2;
	http_close(h);
	return clock_ms() - start < 1000 ? 0 : 3;
}

static void dead_dns(void **state)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		_exit(resolve_in_silence());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- sinks ---- */

struct sunk { /* the sink's alone, until the transfer is over */
	const uint8_t *right;
	uint64_t next;	    /* the byte that comes next */
	uint64_t enough;    /* 1 there; 0: never */
	uint64_t refuse_at; /* -EBADMSG behind it; 0: never */
	uint64_t pause_at;  /* -EAGAIN behind it, `pauses` times; then behind twice as much, and so on */
	unsigned pauses;
	bool over; /* it said 1 or refused */
	const char *wrong;
	_Atomic unsigned offers; /* that were not taken */
};

static int take_piece(void *context, uint64_t at, const void *data, size_t len, struct err *e)
{
	struct sunk *s = context;

	if (s->over)
		s->wrong = "called though it was over";
	else if (at > s->next)
		s->wrong = "a gap";
	else if (memcmp(data, s->right + at, len) != 0)
		s->wrong = "wrong bytes";
	if (s->pauses && at + len > s->pause_at) {
		s->pauses--;
		s->offers++;
		return -EAGAIN;
	}
	if (s->pause_at && at + len > s->pause_at)
		s->pause_at *= 2;
	if (at + len > s->next)
		s->next = at + len;
	if (s->refuse_at && s->next > s->refuse_at) {
		s->over = true;
		return err_set(e, -EBADMSG, "nobody wants this");
	}
	s->over = s->enough && s->next >= s->enough;
	return s->over;
}

static struct http_transfer *start_sink(struct http *h, const char *path, uint64_t offset, uint64_t len, struct sunk *s)
{
	char url[256];
	struct http_request rq = {.url = url, .offset = offset, .len = len, .sink = take_piece, .context = s};
	struct http_transfer *t;

	snprintf(url, sizeof(url), "%s%s", server.url, path);
	assert_int_equal(http_start(h, &rq, &t), 0);
	return t;
}

/* Waits for its end, and wakes it up now and then. */
static struct http_answer *end_sink(struct http *h, struct http_transfer *t, const struct sunk *s, unsigned wake_ms)
{
	uint64_t until = clock_ms() + 20000;

	while (http_wait(h, &t, 1, clock_ms() + wake_ms) < 0) {
		assert_true(clock_ms() < until);
		http_wake(h);
	}
	if (s->wrong)
		fail_msg("%s", s->wrong);
	return http_answer(t);
}

static void expect(struct http_answer *a, enum http_outcome outcome, const char *text)
{
	if (a->outcome != outcome || !strstr(a->text, text))
		fail_msg("outcome %d: %s", a->outcome, a->text);
	assert_int_equal(a->body.len, 0);
}

static void sinks(void **state)
{
	struct http *h = open_http(NULL, NULL, NULL, false);
	uint8_t *large = server_file(&server, "large", LARGE_LEN, 2);
	struct http_transfer *t;
	struct http_answer *a;
	struct sunk s;

	server_rules(&server, NULL);
	s = (struct sunk){.right = large, .next = 1000};
	t = start_sink(h, "/large", 1000, LARGE_LEN - 2000, &s);
	a = end_sink(h, t, &s, 1000);
	expect(a, HTTP_OK, "");
	assert_int_equal(a->sunk, LARGE_LEN - 2000);
	assert_int_equal(s.next, LARGE_LEN - 1000);
	http_finish(t);
	/* Enough before the end. */
	s = (struct sunk){.right = large, .next = 1000, .enough = 1000000};
	t = start_sink(h, "/large", 1000, LARGE_LEN - 1000, &s);
	expect(end_sink(h, t, &s, 1000), HTTP_OK, "");
	assert_true(s.over && s.next < LARGE_LEN);
	http_finish(t);
	/* A server that sends the whole: it begins at 0. */
	server_rules(&server, "* noranges", NULL);
	s = (struct sunk){.right = large, .enough = 3000000};
	t = start_sink(h, "/large", 2000000, 1000000, &s);
	expect(end_sink(h, t, &s, 1000), HTTP_OK, "");
	http_finish(t);
	s = (struct sunk){.right = large};
	t = start_sink(h, "/large", 2000000, LARGE_LEN - 2000000, &s);
	expect(end_sink(h, t, &s, 1000), HTTP_OK, "");
	assert_int_equal(s.next, LARGE_LEN);
	http_finish(t);
	/* One that has less than was asked for is none of ours. */
	t = start_sink(h, "/large", 2000000, LARGE_LEN, &s);
	expect(end_sink(h, t, &s, 1000), HTTP_WRONG, "ranges");
	http_finish(t);
	/* Refused. */
	server_rules(&server, NULL);
	s = (struct sunk){.right = large, .refuse_at = 500000};
	t = start_sink(h, "/large", 0, LARGE_LEN, &s);
	expect(end_sink(h, t, &s, 1000), HTTP_WRONG, "nobody wants this");
	http_finish(t);
	/* An error page is not for it. */
	server_rules(&server, "* status code=404", NULL);
	s = (struct sunk){.right = large};
	t = start_sink(h, "/large", 0, LARGE_LEN, &s);
	expect(end_sink(h, t, &s, 1000), HTTP_MISSING, "404");
	assert_int_equal(s.next, 0);
	http_finish(t);
	http_close(h);
	free(large);
}

/* One that takes nothing for a while is no stalled server; what it did not take comes again, and nothing comes after its last word. */
static void sinks_pause(void **state)
{
	struct http *h = open_http(NULL, NULL, NULL, false);
	uint8_t *large = server_file(&server, "large", LARGE_LEN, 2);
	struct http_transfer *t;
	struct sunk s;

	server_rules(&server, NULL);
	s = (struct sunk){.right = large, .pause_at = 100000, .pauses = 30};
	t = start_sink(h, "/large", 0, LARGE_LEN, &s);
	expect(end_sink(h, t, &s, STALL_MS / 8), HTTP_OK, "");
	assert_int_equal(s.next, LARGE_LEN);
	assert_int_equal(s.offers, 30);
	http_finish(t);
	/* Its last word is about a piece that had to wait. */
	for (unsigned n = 0; n < 4; n++) {
		uint64_t last = 100000 + n * 500000;

		server_rules(&server, n % 2 ? "* noranges" : NULL, NULL);
		s = (struct sunk){.right = large, .pause_at = last, .pauses = 3, .enough = last};
		t = start_sink(h, "/large", 0, LARGE_LEN - 10000, &s);
		expect(end_sink(h, t, &s, 50), HTTP_OK, "");
		assert_true(s.over);
		http_finish(t);
		s = (struct sunk){.right = large, .pause_at = last, .pauses = 3, .refuse_at = last};
		t = start_sink(h, "/large", 0, LARGE_LEN - 10000, &s);
		expect(end_sink(h, t, &s, 50), HTTP_WRONG, "nobody wants this");
		assert_true(s.over);
		http_finish(t);
	}
	/* So it is where nothing more would come to ask it about. */
	server_rules(&server, "* stall at=100000", NULL);
	s = (struct sunk){.right = large, .pause_at = 99999, .pauses = 3, .enough = 100000};
	t = start_sink(h, "/large", 0, LARGE_LEN, &s);
	expect(end_sink(h, t, &s, 50), HTTP_OK, "");
	http_finish(t);
	http_close(h);
	free(large);
}

/* Who is cut off goes on from where it was. */
static void sinks_cut(void **state)
{
	static const struct {
		const char *rule;
		enum http_outcome outcome;
	} cases[] = {{"* reset at=1000000", HTTP_NO_ANSWER}, {"* truncate at=1000000", HTTP_SHORT}, {"* stall at=1000000", HTTP_NO_ANSWER}};
	struct http *h = open_http(NULL, NULL, NULL, false);
	uint8_t *large = server_file(&server, "large", LARGE_LEN, 2);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct sunk s = {.right = large};
		struct http_answer *a;
		struct http_transfer *t;
		unsigned tries = 0;

		server_rules(&server, cases[i].rule, NULL);
		do {
			uint64_t from = s.next;

			t = start_sink(h, "/large", from, LARGE_LEN - from, &s);
			a = end_sink(h, t, &s, 1000);
			assert_int_equal(a->sunk, s.next - from);
			if (s.next < LARGE_LEN)
				expect(a, cases[i].outcome, "");
			http_finish(t);
			assert_true(++tries < 100); /* a reset may take back what was sent */
		} while (s.next < LARGE_LEN);
		assert_true(tries > 3);
	}
	http_close(h);
	free(large);
}

/* One that waits is given up at once; its context is not touched any more. */
static void sinks_cancelled(void **state)
{
	uint8_t *large = server_file(&server, "large", LARGE_LEN, 2);

	server_rules(&server, NULL);
	for (unsigned n = 0; n < 30; n++) {
		struct http *h = open_patient();
		struct sunk *s = calloc(1, sizeof(*s));
		struct http_transfer *t;
		uint64_t start = clock_ms();

		*s = (struct sunk){.right = large, .pause_at = 1 + n * 10000, .pauses = n % 3 ? 1000000 : 0};
		t = start_sink(h, "/large", 0, LARGE_LEN, s);
		while (n % 3 && !s->offers) {
			assert_true(clock_ms() < start + 20000);
			usleep(1000);
		}
		start = clock_ms();
		if (n % 2) {
			http_cancel(h);
			assert_int_equal(http_wait(h, &t, 1, clock_ms() + 20000), 0);
			assert_int_equal(http_answer(t)->outcome, HTTP_CANCELED);
		}
		http_finish(t);
		assert_true(clock_ms() - start < 10000);
		free(s);
		http_close(h);
	}
	free(large);
}

static int set_up(void **state)
{
	server_start(&server, NULL);
	content = server_file(&server, "file", FILE_LEN, 1);
	free(server_file(&server, "moved", FILE_LEN, 1));
	free(server_file(&server, "empty", 0, 1));
	return 0;
}

static int tear_down(void **state)
{
	server_stop(&server);
	free(content);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads),
		cmocka_unit_test(whole_and_parts),
		cmocka_unit_test(faults),
		cmocka_unit_test(bounds),
		cmocka_unit_test(retry_after),
		cmocka_unit_test(many_in_flight),
		cmocka_unit_test(demand_goes_first),
		cmocka_unit_test(cancelling),
		cmocka_unit_test(first_of_two),
		cmocka_unit_test(keep_alive),
		cmocka_unit_test(headers),
		cmocka_unit_test(netrc),
		cmocka_unit_test(proxy),
		cmocka_unit_test(tls),
		cmocka_unit_test(http2),
		cmocka_unit_test(sinks),
		cmocka_unit_test(sinks_pause),
		cmocka_unit_test(sinks_cut),
		cmocka_unit_test(sinks_cancelled),
		cmocka_unit_test(dead_dns),
	};

	alarm(100); /* a hang is a failure */
	signal(SIGPIPE, SIG_IGN);
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("all_proxy");
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
