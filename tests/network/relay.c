/* A wide-area network between two network namespaces: a TUN device in each, and in between delay, rate, a queue, loss, and faults.
 *
 *	relay [-g] NAMESPACE-FILE DEVICE NAMESPACE-FILE DEVICE
 *
 * -g lets the kernels hand over many TCP segments as one, as network cards do (up to 64 KiB, which arrive together): without it, 1 Gbit/s
 * takes a processor of its own. Times, the queue and the counters are those of the packets that a wire would carry. For rates at which
 * 64 KiB are a short time.
 *
 * Says "ready" when both devices are there (without addresses, down). Then each line of standard input is an order, answered by one line:
 *
 *	rate BITS-PER-SECOND	of each direction; 0: without limit
 *	delay MS		one way
 *	queue BYTES		what waits for the wire; the rest is lost (default 256 KiB)
 *	loss PERCENT		of the packets, at random; a seed makes it the same each time
 *	seed N
 *	hole BYTES		longer packets vanish, and nobody is told: a path whose MTU is found out by no one; 0: none
 *	off, on			all packets vanish
 *	stats			"forward PACKETS BYTES LOST back PACKETS BYTES LOST"
 *
 * Ends when its input does, so it never outlives a test; the devices end with it. One thread; each direction has a ring of
 * packets that are on their way, in the order in which they arrive. bench/line.py measures over it, too. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PACKETS 8192 /* on the way, in each direction; -g: a fourth of it */
#define PACKET_MAX 2048
#define PACKET_MAX_MANY (65536 + sizeof(struct virtio_net_hdr))
#define SECOND 1000000000ull

struct packet {
	uint64_t sent_ns, due_ns; /* its last bit is on the wire; it arrives */
	size_t len;		  /* of bytes */
	size_t wire_len;	  /* of the packets that it stands for */
	uint64_t packets;
	uint8_t *bytes; /* -g: behind a struct virtio_net_hdr */
};

struct direction {
	int in, out;
	uint64_t first, sent, next; /* rings' counters: not yet arrived, not yet sent, free */
	uint64_t wire_free_ns;
	uint64_t waiting; /* bytes that are not yet sent */
	uint64_t packets, bytes, lost;
	struct packet *ring;
};

static struct direction forward, back;
static uint64_t rate, delay_ns, queue_max = 256 << 10, hole;
static double loss;
static uint64_t random_state = 1;
static bool off;
static bool many; /* -g */
static uint64_t ring_len = PACKETS;
static size_t packet_max = PACKET_MAX;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* A TUN device in another namespace. */
static int make_device(const char *namespace_file, const char *name)
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), other = open(namespace_file, O_RDONLY | O_CLOEXEC), fd;
	struct ifreq request = {.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (many ? IFF_VNET_HDR : 0))};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (own < 0 || other < 0 || setns(other, CLONE_NEWNET) < 0)
		die(namespace_file);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || (many && ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0))
		die("/dev/net/tun");
	if (setns(own, CLONE_NEWNET) < 0)
		die("setns");
	close(own);
	close(other);
	return fd;
}

static void make_ring(struct direction *d)
{
	uint8_t *bytes = calloc(ring_len, packet_max);

	d->ring = calloc(ring_len, sizeof(*d->ring));
	if (!d->ring || !bytes)
		die("packets");
	for (uint64_t i = 0; i < ring_len; i++)
		d->ring[i].bytes = bytes + i * packet_max;
}

static void measure(struct packet *p)
{
	struct virtio_net_hdr h;

	p->packets = 1;
	p->wire_len = p->len;
	if (!many)
		return;
	memcpy(&h, p->bytes, sizeof(h));
	p->wire_len -= sizeof(h);
	if (h.gso_type != VIRTIO_NET_HDR_GSO_NONE && h.gso_size && p->wire_len > h.hdr_len) {
		p->packets = (p->wire_len - h.hdr_len + h.gso_size - 1) / h.gso_size;
		p->wire_len += (p->packets - 1) * h.hdr_len;
	}
}

/* Uniform in [0, 1): xorshift64*. */
static double chance(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (double)((random_state * 2685821657736338717ull) >> 11) / (double)(1ull << 53);
}

static void deliver(struct direction *d, uint64_t now)
{
	while (d->sent < d->next && d->ring[d->sent % ring_len].sent_ns <= now)
		d->waiting -= d->ring[d->sent++ % ring_len].wire_len;
	while (d->first < d->sent && d->ring[d->first % ring_len].due_ns <= now) {
		struct packet *p = &d->ring[d->first++ % ring_len];

		if (off || write(d->out, p->bytes, p->len) < 0)
			d->lost += p->packets;
	}
}

static void take(struct direction *d, uint64_t now)
{
	struct packet *p = &d->ring[d->next % ring_len];
	uint64_t begin = d->wire_free_ns > now ? d->wire_free_ns : now;
	ssize_t n;

	if (d->next - d->first == ring_len)
		return; /* the rest waits in the device's own queue */
	while ((n = read(d->in, p->bytes, packet_max)) > 0) {
		p->len = (size_t)n;
		measure(p);
		d->packets += p->packets;
		d->bytes += p->wire_len;
		if (off || (hole && p->wire_len > hole) || d->waiting + p->wire_len > queue_max || (loss > 0 && chance() * 100 < loss)) {
			d->lost += p->packets;
			continue;
		}
		p->sent_ns = begin + (rate ? p->wire_len * 8 * SECOND / rate : 0);
		p->due_ns = p->sent_ns + delay_ns;
		begin = d->wire_free_ns = p->sent_ns;
		d->waiting += p->wire_len;
		d->next++;
		deliver(d, now);
		if (d->next - d->first == ring_len)
			return;
		p = &d->ring[d->next % ring_len];
	}
}

/* When something arrives or leaves the queue; UINT64_MAX: nothing is on the way. */
static uint64_t next_event(const struct direction *d)
{
	return d->first < d->sent ? d->ring[d->first % ring_len].due_ns
	     : d->sent < d->next  ? d->ring[d->sent % ring_len].sent_ns
				  : UINT64_MAX;
}

static void obey(const char *line)
{
	char order[16];
	double value = 0;
	int fields = sscanf(line, "%15s %lf", order, &value);

	if (fields == 2 && !strcmp(order, "rate"))
		rate = (uint64_t)value;
	else if (fields == 2 && !strcmp(order, "delay"))
		delay_ns = (uint64_t)(value * 1e6);
	else if (fields == 2 && !strcmp(order, "queue"))
		queue_max = (uint64_t)value;
	else if (fields == 2 && !strcmp(order, "loss"))
		loss = value;
	else if (fields == 2 && !strcmp(order, "seed") && value >= 1)
		random_state = (uint64_t)value;
	else if (fields == 2 && !strcmp(order, "hole"))
		hole = (uint64_t)value;
	else if (fields == 1 && (!strcmp(order, "off") || !strcmp(order, "on")))
		off = !strcmp(order, "off");
	else if (fields != 1 || strcmp(order, "stats") != 0) {
		printf("no such order: %s", line);
		return;
	}
	printf("forward %" PRIu64 " %" PRIu64 " %" PRIu64 " back %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", forward.packets, forward.bytes,
		forward.lost, back.packets, back.bytes, back.lost);
}

/* false: the input has ended. */
static bool take_orders(void)
{
	static char text[256];
	static size_t used;
	ssize_t n = read(STDIN_FILENO, text + used, sizeof(text) - 1 - used);
	char *end;

	if (n <= 0)
		return false;
	used += (size_t)n;
	text[used] = 0;
	while ((end = strchr(text, '\n'))) {
		*end++ = 0;
		obey(text);
		used -= (size_t)(end - text);
		memmove(text, end, used + 1);
	}
	fflush(stdout);
	return used < sizeof(text) - 1;
}

int main(int argc, char **argv)
{
	many = argc == 6 && !strcmp(argv[1], "-g");
	if (argc != (many ? 6 : 5)) {
		fprintf(stderr, "usage: relay [-g] NAMESPACE-FILE DEVICE NAMESPACE-FILE DEVICE\n");
		return 2;
	}
	if (many) {
		argv++;
		ring_len = PACKETS / 4;
		packet_max = PACKET_MAX_MANY;
	}
	make_ring(&forward);
	make_ring(&back);
	forward.in = back.out = make_device(argv[1], argv[2]);
	back.in = forward.out = make_device(argv[3], argv[4]);
	prctl(PR_SET_TIMERSLACK, 1);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {forward.in, POLLIN, 0}, {back.in, POLLIN, 0}};
		uint64_t now = now_ns(), next = next_event(&forward), other = next_event(&back);
		struct timespec wait = {0};

		next = other < next ? other : next;
		if (next > now) {
			wait.tv_sec = (time_t)((next - now) / SECOND);
			wait.tv_nsec = (long)((next - now) % SECOND);
		}
		if (ppoll(fds, 3, next == UINT64_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR)
			die("ppoll");
		if (fds[0].revents && !take_orders())
			return 0;
		now = now_ns();
		deliver(&forward, now);
		deliver(&back, now);
		take(&forward, now);
		take(&back, now);
	}
}
