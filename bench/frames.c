/* A guest, as fast as it can be, at the socket of a switch or of a way out: frames to another
 *guest, TCP and UDP to this host. What is measured is what lies between; our own part is the same
 *for all.
 *
 *	frames KIND PATH TEST SECONDS
 *
 *	KIND	inetboot: SOCK_SEQPACKET, a frame a message; vde: vde_switch or uml_switch; passt:
 *a stream, each frame behind its length (32 bits) TEST	guest: full frames to another port of the
 *same switch, a window of them under way, acknowledged in pairs as TCP does guest-latency: a small
 *frame there and back host: TCP to the gateway's address, at which a sink of ours listens on this
 *host's loopback host-latency: a small UDP datagram there and back
 *
 * Prints {"bytes", "seconds", "lost"} or {"median_us"}, as JSON. What is lost is sent again after
 *RESEND_MS. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "network/vde.h"

#define HEAD 14
#define MOST 1514
#define WINDOW 40 /* frames under way to another guest */
#define TCP_WINDOW 262144 /* bytes under way, where the other side takes so many */
#define SEGMENT 1460
#define RESEND_MS 200
#define ANSWER_MS 5000
#define SAMPLES_MOST 200000
#define OURS 0x0a00020fU
#define GATEWAY 0x0a000202U
#define TYPE_TEST 0x88b5

enum kind { SEQPACKET, VDE, STREAM };

struct wire {
	enum kind kind;
	int fd;
	uint8_t mac[6], gateway[6];
	uint8_t in[1 << 18]; /* of a stream */
	size_t at, have;
};

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "frames: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- frames ---- */

static void wire_open(struct wire *w, const char *kind, const char *path, uint8_t number)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct vde_port port = VDE_PORT_INIT;
	struct err e = ERR_INIT;

	memset(w, 0, sizeof(*w));
	w->kind = !strcmp(kind, "vde") ? VDE : !strcmp(kind, "passt") ? STREAM : SEQPACKET;
	memcpy(w->mac, (uint8_t[]){2, 0, 0, 0, 0, number}, 6);
	if (w->kind == VDE) {
		if (vde_open(&port, path, &e) < 0) {
			fprintf(stderr, "frames: %s\n", e.text);
			exit(1);
		}
		w->fd = port.data; /* the other one stays open as long as we live */
		return;
	}
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	w->fd = socket(AF_UNIX, w->kind == STREAM ? SOCK_STREAM : SOCK_SEQPACKET, 0);
	if (connect(w->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		fail(path);
}

static void wire_send(struct wire *w, uint8_t *frame, size_t len)
{
	uint8_t head[4];
	struct iovec parts[2] = {{head, sizeof(head)}, {frame, len}};
	struct pollfd wait = {.fd = w->fd, .events = POLLOUT};

	store_be32(head, (uint32_t)len);
	for (;;) {
		ssize_t n =
			w->kind == STREAM ? writev(w->fd, parts, 2) : send(w->fd, frame, len, 0);

		if (n >= (ssize_t)len)
			return;
		if (n >= 0 || (errno != EAGAIN && errno != ENOBUFS))
			fail("sending");
		poll(&wait, 1, RESEND_MS);
	}
}

static bool readable(int fd, int wait_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	return poll(&wait, 1, wait_ms) > 0;
}

static size_t stream_receive(struct wire *w, uint8_t *frame, int wait_ms)
{
	for (;;) {
		size_t left = w->have - w->at, len = left >= 4 ? load_be32(w->in + w->at) : 0;
		ssize_t n;

		if (left >= 4 && left >= 4 + len) {
			memcpy(frame, w->in + w->at + 4, len < MOST ? len : MOST);
			w->at += 4 + len;
			return len;
		}
		memmove(w->in, w->in + w->at, left);
		w->at = 0;
		w->have = left;
		if (!readable(w->fd, wait_ms))
			return 0;
		n = read(w->fd, w->in + w->have, sizeof(w->in) - w->have);
		if (n <= 0)
			fail("receiving");
		w->have += (size_t)n;
	}
}

/* 0: none came. frame has room for MOST bytes. */
static size_t wire_receive(struct wire *w, uint8_t *frame, int wait_ms)
{
	ssize_t n;

	if (w->kind == STREAM)
		return stream_receive(w, frame, wait_ms);
	n = recv(w->fd, frame, MOST, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN && wait_ms && readable(w->fd, wait_ms))
		n = recv(w->fd, frame, MOST, MSG_DONTWAIT);
	if (!n || (n < 0 && errno != EAGAIN))
		fail("receiving");
	return n < 0 ? 0 : (size_t)n;
}

static void head_of(const struct wire *w, uint8_t *frame, const uint8_t *to, unsigned type)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, w->mac, 6);
	store_be16(frame + 12, (uint16_t)type);
}

static unsigned type_of(const uint8_t *frame)
{
	return load_be16(frame + 12);
}

/* ---- what is measured ---- */

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* ask() sends, and returns true when its answer is there. */
static void measure_latency(
	struct wire *w, bool (*ask)(struct wire *w, uint32_t number), uint64_t seconds)
{
	uint32_t *took = calloc(SAMPLES_MOST, sizeof(*took)), count = 0;
	uint64_t end = clock_ms() + seconds * 1000;

	while (took && clock_ms() < end && count < SAMPLES_MOST) {
		uint64_t begun = clock_us();

		if (ask(w, count))
			took[count++] = (uint32_t)(clock_us() - begun);
	}
	errno = ETIMEDOUT;
	if (!count)
		fail("no answer");
	qsort(took, count, sizeof(*took), compare);
	printf("{\"median_us\": %u}\n", took[count / 2]);
}

static void print_bytes(uint64_t bytes, uint64_t begun_us, uint64_t lost)
{
	printf("{\"bytes\": %llu, \"seconds\": %.3f, \"lost\": %llu}\n", (unsigned long long)bytes,
		(double)(clock_us() - begun_us) / 1e6, (unsigned long long)lost);
}

/* ---- to another guest ---- */

static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 2}, first_mac[6] = {2, 0, 0, 0, 0, 1};

/* The other guest: acknowledges every other frame with the number of those that came, and sends
 * small ones back. */
__attribute__((noreturn)) static void answer(struct wire *w)
{
	uint8_t frame[MOST], back[60] = {0};
	uint32_t count = 0;

	head_of(w, back, first_mac, TYPE_TEST);
	wire_send(w, back, sizeof(back)); /* the switch knows where we are */
	for (;;) {
		size_t len = wire_receive(w, frame, RESEND_MS);

		if (!len || type_of(frame) != TYPE_TEST || (len >= MOST && ++count % 2))
			continue;
		if (len < MOST)
			memcpy(back + 18, frame + 18, 4);
		store_be32(back + 14, count);
		wire_send(w, back, sizeof(back));
	}
}

static void measure_guest(struct wire *w, uint64_t seconds)
{
	uint8_t frame[MOST] = {0}, in[MOST];
	uint64_t begun = clock_us(), lost = 0, heard = clock_ms();
	uint32_t sent = 0, arrived = 0;

	while (clock_us() - begun < seconds * 1000000) {
		head_of(w, frame, other_mac, TYPE_TEST);
		while (sent - arrived < WINDOW) {
			wire_send(w, frame, sizeof(frame));
			sent++;
		}
		while (wire_receive(w, in, sent - arrived < WINDOW ? 0 : RESEND_MS))
			if (type_of(in) == TYPE_TEST) {
				uint32_t count = load_be32(in + 14);

				if (count > arrived)
					heard = clock_ms();
				arrived = count > arrived ? count : arrived;
				if (sent - arrived < WINDOW / 2)
					break;
			}
		if (clock_ms() - heard < RESEND_MS)
			continue;
		lost += sent - arrived;
		sent = arrived;
		heard = clock_ms();
	}
	print_bytes((uint64_t)arrived * MOST, begun, lost);
}

static bool ask_guest(struct wire *w, uint32_t number)
{
	uint8_t frame[60] = {0}, in[MOST];

	head_of(w, frame, other_mac, TYPE_TEST);
	store_be32(frame + 18, number + 1);
	wire_send(w, frame, sizeof(frame));
	while (wire_receive(w, in, RESEND_MS))
		if (type_of(in) == TYPE_TEST && load_be32(in + 18) == number + 1)
			return true;
	return false;
}

/* ---- to this host ---- */

static uint32_t sum(const uint8_t *data, size_t len, uint32_t total)
{
	for (size_t i = 0; i < len; i += 2)
		total += load_be16(data + i);
	return total;
}

static uint16_t fold(uint32_t total)
{
	total = (total & 0xffff) + (total >> 16);
	return (uint16_t) ~(total + (total >> 16));
}

static void ipv4_head(const struct wire *w, uint8_t *frame, uint8_t protocol, size_t len)
{
	uint8_t *ip = frame + HEAD;

	head_of(w, frame, w->gateway, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)(20 + len));
	ip[8] = 64;
	ip[9] = protocol;
	store_be32(ip + 12, OURS);
	store_be32(ip + 16, GATEWAY);
	store_be16(ip + 10, fold(sum(ip, 20, 0)));
}

static void send_arp(struct wire *w, unsigned what, const uint8_t *to)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint8_t frame[60] = {0};

	head_of(w, frame, to ? to : all, 0x0806);
	memcpy(frame + 14, (uint8_t[]){0, 1, 8, 0, 6, 4, 0, (uint8_t)what}, 8);
	memcpy(frame + 22, w->mac, 6);
	store_be32(frame + 28, OURS);
	if (to)
		memcpy(frame + 32, to, 6);
	store_be32(frame + 38, GATEWAY);
	wire_send(w, frame, sizeof(frame));
}

/* The next IPv4 packet of that protocol; 0: none. Answers ARP meanwhile. */
static size_t receive_ip(struct wire *w, uint8_t *frame, uint8_t protocol, int wait_ms)
{
	size_t len;

	while ((len = wire_receive(w, frame, wait_ms))) {
		if (type_of(frame) == 0x0806 && frame[21] == 1 && load_be32(frame + 38) == OURS)
			send_arp(w, 2, frame + 22);
		if (type_of(frame) == 0x0800 && frame[23] == protocol)
			return len;
	}
	return 0;
}

static void find_gateway(struct wire *w)
{
	uint64_t end = clock_ms() + ANSWER_MS;
	uint8_t frame[MOST];

	while (clock_ms() < end) {
		send_arp(w, 1, NULL);
		while (wire_receive(w, frame, RESEND_MS))
			if (type_of(frame) == 0x0806 && frame[21] == 2 &&
				load_be32(frame + 28) == GATEWAY) {
				memcpy(w->gateway, frame + 22, 6);
				return;
			}
	}
	errno = ETIMEDOUT;
	fail("no gateway");
}

/* On the loopback, in a process of its own: takes what comes, or sends it back. Returns its port.
 */
static uint16_t start_server(int type, pid_t *pid)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
			   from;
	socklen_t len = sizeof(a);
	static uint8_t data[1 << 18];
	int fd = socket(AF_INET, type, 0);

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		getsockname(fd, (struct sockaddr *)&a, &len) < 0 ||
		(type == SOCK_STREAM && listen(fd, 1) < 0))
		fail("a server");
	*pid = fork();
	if (*pid)
		return ntohs(a.sin_port);
	if (type == SOCK_STREAM) {
		int client = accept(fd, NULL, NULL);

		while (read(client, data, sizeof(data)) > 0)
			;
		_exit(0);
	}
	for (;;) {
		socklen_t from_len = sizeof(from);
		ssize_t n =
			recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &from_len);

		if (n > 0)
			sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, from_len);
	}
}

static uint16_t port; /* the server's */

static bool ask_host(struct wire *w, uint32_t number)
{
	uint8_t frame[60] = {0}, in[MOST];
	uint8_t *udp = frame + HEAD + 20;

	ipv4_head(w, frame, 17, 8 + 18);
	store_be16(udp, 5000);
	store_be16(udp + 2, port);
	store_be16(udp + 4, 8 + 18);
	store_be32(udp + 8, number + 1);
	store_be16(udp + 6, fold(sum(udp, 26, sum(frame + 26, 8, 17 + 26))));
	wire_send(w, frame, sizeof(frame));
	while (receive_ip(w, in, 17, RESEND_MS))
		if (load_be16(in + HEAD + 20) == port && load_be32(in + HEAD + 28) == number + 1)
			return true;
	return false;
}

struct tcp {
	uint32_t next, acknowledged, theirs; /* numbers */
	uint32_t window;
	unsigned scale;
};

static void send_segment(
	struct wire *w, const struct tcp *t, uint32_t number, unsigned flags, size_t len)
{
	static const uint8_t options[8] = {2, 4, SEGMENT >> 8, SEGMENT & 0xff, 1, 3, 3, 7}; /* and windows are scaled */
	static uint8_t frame[MOST]; /* the content is zeros */
	uint8_t *tcp = frame + HEAD + 20;
	size_t head = flags & 2 ? 28 : 20;

	ipv4_head(w, frame, 6, head + len);
	store_be16(tcp, 5000);
	store_be16(tcp + 2, port);
	store_be32(tcp + 4, number);
	store_be32(tcp + 8, t->theirs);
	tcp[12] = flags & 2 ? 0x70 : 0x50;
	tcp[13] = (uint8_t)flags;
	store_be16(tcp + 14, 65535);
	store_be16(tcp + 16, 0);
	memset(tcp + 20, 0, sizeof(options));
	if (flags & 2)
		memcpy(tcp + 20, options, sizeof(options));
	store_be16(tcp + 16, fold(sum(tcp, head, sum(frame + 26, 8, (uint32_t)(6 + head + len)))));
	wire_send(w, frame, HEAD + 20 + head + len);
}

/* By how many bits its sender shifts his windows, as its options say. */
static unsigned scale_of(const uint8_t *tcp)
{
	size_t end = (size_t)(tcp[12] >> 4) * 4;

	for (size_t at = 20; at + 2 < end && tcp[at]; at += tcp[at] == 1 || !tcp[at + 1] ? 1 : tcp[at + 1])
		if (tcp[at] == 3)
			return tcp[at + 2] & 15;
	return 0;
}

/* Takes what came. The flags, or 0: nothing. */
static unsigned take_segment(struct wire *w, struct tcp *t, int wait_ms)
{
	uint8_t in[MOST], *tcp = in + HEAD + 20;
	uint32_t number;

	if (!receive_ip(w, in, 6, wait_ms))
		return 0;
	number = load_be32(tcp + 8);
	if (tcp[13] & 0x10 && (int32_t)(number - t->acknowledged) >= 0)
		t->acknowledged = number;
	if (tcp[13] & 2) {
		t->theirs = load_be32(tcp + 4) + 1;
		t->scale = scale_of(tcp);
	}
	t->window = (uint32_t)load_be16(tcp + 14) << (tcp[13] & 2 ? 0 : t->scale);
	errno = ECONNRESET;
	if (tcp[13] & 4)
		fail("TCP");
	return tcp[13];
}

static void measure_host(struct wire *w, uint64_t seconds)
{
	struct tcp t = {.next = 1001, .acknowledged = 1000};
	uint64_t begun, lost = 0, heard, bytes = 0, end = clock_ms() + ANSWER_MS;

	while (t.acknowledged != 1001 && clock_ms() < end) {
		send_segment(w, &t, 1000, 2, 0);
		take_segment(w, &t, RESEND_MS);
	}
	errno = ETIMEDOUT;
	if (t.acknowledged != 1001)
		fail("no connection to this host");
	send_segment(w, &t, 1001, 0x10, 0);
	begun = clock_us();
	heard = clock_ms();
	while (clock_us() - begun < seconds * 1000000) {
		uint32_t before = t.acknowledged,
			 window = t.window < TCP_WINDOW ? t.window : TCP_WINDOW;

		while (t.next - t.acknowledged + SEGMENT <= window) {
			send_segment(w, &t, t.next, 0x10, SEGMENT);
			t.next += SEGMENT;
		}
		if (take_segment(w, &t, RESEND_MS))
			while (take_segment(w, &t, 0))
				;
		bytes += t.acknowledged - before;
		if (t.acknowledged != before)
			heard = clock_ms();
		if (clock_ms() - heard < RESEND_MS || t.next == t.acknowledged)
			continue;
		lost += (t.next - t.acknowledged) / SEGMENT;
		t.next = t.acknowledged;
		heard = clock_ms();
	}
	print_bytes(bytes, begun, lost);
	send_segment(w, &t, t.next, 0x14, 0);
}

int main(int argc, char **argv)
{
	static struct wire w, other;
	uint64_t seconds = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
	uint8_t frame[MOST];
	bool latency;
	pid_t pid;

	if (!seconds) {
		fprintf(stderr, "usage: frames inetboot|vde|passt PATH "
				"guest|guest-latency|host|host-latency SECONDS\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	wire_open(&w, argv[1], argv[2], 1);
	latency = strstr(argv[3], "-latency");
	if (!strncmp(argv[3], "guest", 5)) {
		wire_open(&other, argv[1], argv[2], 2);
		pid = fork();
		if (!pid)
			answer(&other);
		if (!wire_receive(&w, frame, ANSWER_MS))
			fail("nothing from the other guest");
		latency ? measure_latency(&w, ask_guest, seconds) : measure_guest(&w, seconds);
	} else {
		port = start_server(latency ? SOCK_DGRAM : SOCK_STREAM, &pid);
		find_gateway(&w);
		latency ? measure_latency(&w, ask_host, seconds) : measure_host(&w, seconds);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}
