/* The way out: see uplink.h. libslirp asks for a clock, and for timers: those that it has are few,
 * and made once. */
#include "network/uplink.h"

#include <errno.h>
#include <netinet/in.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "network/addresses.h"

#define TIMERS_MAX 8

struct timer {
	SlirpTimerCb run;
	void *context;
	uint64_t due_ms; /* 0: not */
};

struct uplink {
	Slirp *slirp;
	uplink_output output;
	void *context;
	struct timer timers[TIMERS_MAX];
	struct poll_set *set; /* while it is asked what to wait for */
};

static ssize_t send_packet(const void *data, size_t len, void *opaque)
{
	struct uplink *u = opaque;

	u->output(u->context, data, len);
	return (ssize_t)len;
}

static void guest_error(const char *text, void *opaque)
{
	log_debug("a guest's packet: %s", text);
}

static int64_t clock_ns(void *opaque)
{
	return (int64_t)clock_us() * 1000;
}

static void *timer_new(SlirpTimerCb run, void *context, void *opaque)
{
	struct uplink *u = opaque;

	for (unsigned i = 0; i < TIMERS_MAX; i++)
		if (!u->timers[i].run) {
			u->timers[i] = (struct timer){.run = run, .context = context};
			return &u->timers[i];
		}
	return NULL;
}

static void timer_free(void *timer, void *opaque)
{
	if (timer)
		*(struct timer *)timer = (struct timer){0};
}

static void timer_mod(void *timer, int64_t due_ms, void *opaque)
{
	if (timer)
		((struct timer *)timer)->due_ms = due_ms > 0 ? (uint64_t)due_ms : 1;
}

static void no_poll_fd(int fd, void *opaque)
{
}

static void notify(void *opaque)
{
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = no_poll_fd,
	.unregister_poll_fd = no_poll_fd,
	.notify = notify,
};

static struct in_addr in_addr(uint32_t address)
{
	return (struct in_addr){htonl(address)};
}

int uplink_open(
	struct uplink **out, bool isolated, uplink_output output, void *context, struct err *e)
{
	return uplink_open_at(out, NET_ADDRESS, isolated, output, context, e);
}

int uplink_open_at(struct uplink **out, uint32_t network, bool isolated, uplink_output output,
	void *context, struct err *e)
{
	/* The prefix is of the kind that all choose last: a host without IPv6 itself would only
	 * cost its guests time. */
	static const struct in6_addr prefix = {.s6_addr = {NET_PREFIX6 >> 8, NET_PREFIX6 & 0xff}},
				     host = {.s6_addr = {NET_PREFIX6 >> 8, NET_PREFIX6 & 0xff, [15] = 2}},
				     resolver = {.s6_addr = {NET_PREFIX6 >> 8, NET_PREFIX6 & 0xff, [15] = 3}};
	SlirpConfig config = {
		.version = 4,
		.restricted = isolated,
		.in_enabled = true,
		.vnetwork = in_addr(network),
		.vnetmask = in_addr(NET_MASK),
		.vhost = in_addr(network + NET_GATEWAY - NET_ADDRESS),
		.vdhcp_start = in_addr(network + NET_GUEST_FIRST - NET_ADDRESS),
		.vnameserver = in_addr(network + NET_RESOLVER - NET_ADDRESS),
		.in6_enabled = !isolated,
		.vprefix_addr6 = prefix,
		.vprefix_len = 64,
		.vhost6 = host,
		.vnameserver6 = resolver,
		.disable_dhcp = true, /* the switch does that: see switch.h */
	};
	struct uplink *u = calloc(1, sizeof(*u));

	if (!u)
		return err_set(e, -ENOMEM, "no memory for the network's way out");
	u->output = output;
	u->context = context;
	u->slirp = slirp_new(&config, &callbacks, u);
	if (!u->slirp) {
		free(u);
		return err_set(e, -EINVAL, "libslirp %s does not start: it must be 4.7 or newer",
			slirp_version_string());
	}
	*out = u;
	return 0;
}

void uplink_close(struct uplink *u)
{
	if (!u)
		return;
	slirp_cleanup(u->slirp);
	free(u);
}

int uplink_forward(struct uplink *u, const struct forward *f, struct err *e)
{
	if (!slirp_add_hostfwd(u->slirp, f->udp, in_addr(f->host), f->host_port, in_addr(f->guest),
		    f->guest_port))
		return 0;
	return err_errno(e, "cannot listen on port %u of this host", f->host_port);
}

int uplink_unix(struct uplink *u, const char *path, uint32_t address, uint16_t port, struct err *e)
{
	struct in_addr at = in_addr(address);

	if (!slirp_add_unix(u->slirp, path, &at, port))
		return 0;
	return err_set(e, -EINVAL, "libslirp does not lead guests to %s", path);
}

void uplink_input(struct uplink *u, const uint8_t *frame, size_t len)
{
	slirp_input(u->slirp, frame, (int)len);
}

static int add_poll(int fd, int events, void *opaque)
{
	struct uplink *u = opaque;
	short wanted = 0;

	if (events & SLIRP_POLL_IN)
		wanted |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		wanted |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		wanted |= POLLPRI;
	return poll_set_add(u->set, fd, wanted);
}

void uplink_before(struct uplink *u, struct poll_set *set, int *timeout_ms)
{
	uint32_t wait = *timeout_ms < 0 ? UINT32_MAX : (uint32_t)*timeout_ms;
	uint64_t now = clock_ms();

	u->set = set;
	slirp_pollfds_fill(u->slirp, &wait, add_poll, u);
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		uint64_t due = u->timers[i].due_ms;

		if (due && due < now + wait)
			wait = due > now ? (uint32_t)(due - now) : 0;
	}
	*timeout_ms = wait > INT32_MAX ? -1 : (int)wait;
}

static int get_events(int index, void *opaque)
{
	short got = poll_set_events(((struct uplink *)opaque)->set, index);
	int events = 0;

	if (got & POLLIN)
		events |= SLIRP_POLL_IN;
	if (got & POLLOUT)
		events |= SLIRP_POLL_OUT;
	if (got & POLLPRI)
		events |= SLIRP_POLL_PRI;
	if (got & (POLLERR | POLLNVAL))
		events |= SLIRP_POLL_ERR;
	if (got & POLLHUP)
		events |= SLIRP_POLL_HUP;
	return events;
}

void uplink_after(struct uplink *u, bool failed)
{
	uint64_t now = clock_ms();

	slirp_pollfds_poll(u->slirp, failed, get_events, u);
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct timer *t = &u->timers[i];

		if (t->due_ms && t->due_ms <= now) {
			t->due_ms = 0;
			t->run(t->context);
		}
	}
}
