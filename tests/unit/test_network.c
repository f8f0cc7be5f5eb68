/* What happens to the machine's network while transfers run: its address goes, another comes, one of a server's addresses is dead. In a network
 * namespace of its own, so that nothing else notices. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "fetch/network_watch.h"
#include "fetch/origin.h"
#include "server.h"

#define FILE_LEN 50000
#define ADDRESS "10.99.0.1"
#define DEAD "10.99.0.2" /* nobody answers there, not even to refuse */

static struct server server;
static uint8_t *content;
static int dead = -1; /* a socket on DEAD whose queue is full */
static int filling[8];

static void ip(const char *arguments)
{
	char command[128];

	snprintf(command, sizeof(command), "ip %s", arguments);
	assert_int_equal(system(command), 0);
}

static struct origin *open_url(const char *host)
{
	struct origin_options options = {.timeout_ms = 50000, .stall_ms = 40000};
	char url[128];
	const char *urls[] = {url};
	struct origin *o;

	snprintf(url, sizeof(url), "http://%s:%u", host, server.port);
	assert_int_equal(origin_open(&o, urls, 1, &options, NULL), 0);
	return o;
}

static uint64_t get(struct origin *o)
{
	struct origin_request rq = {.path = "file", .max = FILE_LEN};
	struct origin_answer answer;
	struct err e = ERR_INIT;
	uint64_t start = clock_ms();

	if (origin_get(o, &rq, &answer, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(answer.body.len, FILE_LEN);
	assert_memory_equal(answer.body.data, content, FILE_LEN);
	buf_free(&answer.body);
	return clock_ms() - start;
}

static unsigned connections(void)
{
	json_t *log = server_log(&server);
	unsigned n = (unsigned)json_integer_value(json_object_get(log, "connections"));

	json_decref(log);
	return n;
}

static void *get_in_thread(void *context)
{
	get(context);
	return NULL;
}

static void wait_for_requests(size_t count)
{
	for (uint64_t end = clock_ms() + 10000; server_requests(&server) < count; usleep(1000))
		assert_true(clock_ms() < end);
}

/* ---- the watch alone ---- */

static enum network_news news_within(struct network_watch *w, unsigned ms)
{
	enum network_news news = NETWORK_SAME;

	for (uint64_t end = clock_ms() + ms; clock_ms() < end && news == NETWORK_SAME; usleep(1000))
		news = network_watch_look(w, clock_us());
	return news;
}

static void watch(void **state)
{
	struct network_watch w;

	network_watch_open(&w);
	assert_true(w.fd >= 0);
	assert_int_equal(network_watch_wait_ms(&w, clock_us()), -1);
	assert_int_equal(news_within(&w, 50), NETWORK_SAME);
	ip("address add 10.99.1.1/32 dev lo");
	assert_int_equal(news_within(&w, 5000), NETWORK_CHANGED);
	ip("address del 10.99.1.1/32 dev lo"); /* soon after: told in a while */
	assert_int_equal(network_watch_look(&w, clock_us()), NETWORK_SAME);
	assert_in_range(network_watch_wait_ms(&w, clock_us()), 0, 2001);
	assert_int_equal(network_watch_look(&w, clock_us() + 3000000), NETWORK_CHANGED);
	w.asleep_us -= 60000000; /* as if the machine had slept for a minute */
	assert_int_equal(network_watch_look(&w, clock_us()), NETWORK_SLEPT);
	network_watch_close(&w);
	w.due_us = 0;
	assert_int_equal(network_watch_look(&w, clock_us()), NETWORK_SAME); /* no netlink: no trouble */
}

/* ---- transfers ---- */

static void idle_connections_are_dropped(void **state)
{
	struct origin *o = open_url(ADDRESS);
	uint64_t end;

	server_rules(&server, NULL);
	get(o);
	get(o);
	assert_int_equal(connections(), 1 + 1); /* one of ours, one that asks for the log */
	ip("address add 10.99.1.2/32 dev lo");
	for (end = clock_ms() + 10000; connections() < 100;) {
		unsigned before = connections();

		get(o);
		if (connections() - before == 2) /* a new one */
			break;
		assert_true(clock_ms() < end);
		usleep(20000);
	}
	ip("address del 10.99.1.2/32 dev lo");
	origin_close(o);
}

/* A transfer that got nothing more is begun again, and does not wait for its time limit. */
static void stalled_transfers_restart(void **state)
{
	static const char *const rules[] = {"* stall count=1", "* stall at=1000 count=1"};

	for (size_t i = 0; i < 2; i++) {
		struct origin *o = open_url(ADDRESS);
		uint64_t start = clock_ms();
		pthread_t thread;

		server_rules(&server, rules[i], NULL);
		assert_int_equal(pthread_create(&thread, NULL, get_in_thread, o), 0);
		wait_for_requests(1);
		ip("address add 10.99.1.3/32 dev lo");
		pthread_join(thread, NULL);
		assert_in_range(clock_ms() - start, 500, 15000);
		ip("address del 10.99.1.3/32 dev lo");
		origin_close(o);
	}
}

/* The address that connections were made from goes away, and comes back: a request waits no longer than that takes. */
static void address_goes_and_comes(void **state)
{
	struct origin *o = open_url(ADDRESS);
	uint64_t start;
	pthread_t thread;

	server_rules(&server, NULL);
	get(o);
	server_rules(&server, "* stall count=1", NULL);
	assert_int_equal(pthread_create(&thread, NULL, get_in_thread, o), 0);
	wait_for_requests(1);
	ip("address del " ADDRESS "/32 dev lo");
	usleep(2500000); /* the outage itself */
	start = clock_ms();
	ip("address add " ADDRESS "/32 dev lo");
	pthread_join(thread, NULL);
	assert_true(clock_ms() - start < 12000);
	origin_close(o);
}

/* ---- names ---- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	bool ok = fd >= 0 && !file_write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return ok;
}

static struct sockaddr_in address_of(const char *text)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server.port)};

	inet_pton(AF_INET, text, &a.sin_addr);
	return a;
}

/* A socket that listens, with a full queue: the kernel drops what asks for a connection. */
static bool dig_hole(void)
{
	struct sockaddr_in a = address_of(DEAD);
	char path[128];
	int yes = 1;

	snprintf(path, sizeof(path), "%s/hosts", server.dir);
	if (!write_file(path, "127.0.0.1 localhost\n" DEAD " twofold.test\n" ADDRESS " twofold.test\n") ||
		mount(path, "/etc/hosts", NULL, MS_BIND, NULL) < 0)
		return false;
	dead = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(dead, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)), 0);
	assert_int_equal(bind(dead, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(dead, 0), 0);
	for (size_t i = 0; i < sizeof(filling) / sizeof(*filling); i++) {
		filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(filling[i], (struct sockaddr *)&a, sizeof(a));
	}
	return true;
}

/* What wants to connect there reaches the server then, which listens everywhere. */
static void fill_hole(void)
{
	close(dead);
	for (size_t i = 0; i < sizeof(filling) / sizeof(*filling); i++)
		close(filling[i]);
}

/* A name with two addresses, of which one is a black hole: one short wait at most, then it is passed over. */
static void dead_address(void **state)
{
	uint64_t total = 0;
	struct origin *o;

	if (!dig_hole())
		skip();
	server_rules(&server, NULL);
	o = open_url("twofold.test");
	for (int i = 0; i < 10; i++) {
		server_rules(&server, "* status code=500 count=1", NULL); /* the retry makes a new connection, to either of them */
		total += get(o);
	}
	assert_true(total < 7000);
	origin_close(o);
}

/* Where all are bad, all are tried. */
static void only_dead_addresses(void **state)
{
	struct origin *o;
	pthread_t thread;

	if (dead < 0)
		skip();
	server_rules(&server, NULL);
	o = open_url(DEAD);
	assert_int_equal(pthread_create(&thread, NULL, get_in_thread, o), 0);
	usleep(4500000); /* longer than a first try: the address is known to be bad */
	fill_hole(); /* and now the server answers there */
	pthread_join(thread, NULL);
	origin_close(o);
}

/* ---- setting up ---- */

static bool enter_namespaces(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0)
		return false;
	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_file("/proc/self/setgroups", "deny");
	if (!write_file("/proc/self/uid_map", map))
		return false;
	snprintf(map, sizeof(map), "0 %u 1", gid);
	return write_file("/proc/self/gid_map", map) && !system("ip link set lo up");
}

static int set_up(void **state)
{
	static const char *const everywhere[] = {"--bind", "0.0.0.0", NULL};

	ip("address add " ADDRESS "/32 dev lo");
	ip("address add " DEAD "/32 dev lo");
	server_start(&server, everywhere);
	content = server_file(&server, "file", FILE_LEN, 4);
	return 0;
}

static int tear_down(void **state)
{
	umount2("/etc/hosts", MNT_DETACH);
	server_stop(&server);
	free(content);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(watch),
		cmocka_unit_test(idle_connections_are_dropped),
		cmocka_unit_test(stalled_transfers_restart),
		cmocka_unit_test(address_goes_and_comes),
		cmocka_unit_test(dead_address),
		cmocka_unit_test(only_dead_addresses),
	};

	alarm(110); /* a hang is a failure */
	signal(SIGPIPE, SIG_IGN);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	if (!enter_namespaces()) {
		printf("skipped: this user may not make network namespaces here, or there is no ip program\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
