/* The switch: see switch.h. */
#include "network/switch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "network/address_table.h"
#include "network/addresses.h"
#include "network/dhcp.h"
#include "network/dns.h"
#include "network/ethernet.h"
#include "network/ipv6.h"
#include "network/meeting.h"

#define FRAMES_AT_ONCE 64   /* from one port, before the next has its turn */
#define FILES_MAX 4096      /* each connection through the uplink is one */
#define MEMORY_MAX (1ull << 30) /* bytes: what guests can have the uplink keep for them ends here, and the switch with it */
#define ACCEPT_REST_MS 1000 /* after a failure: most likely there are too many files */
#define LINGER_MS 2000      /* a switch on demand waits so long for the next guest, */
#define FIRST_MS 20000      /* and so long for the first */
#define LEASE_S 86400
#define LINK_LOCAL6 0xfe80U
#define HOST_NAME "host" /* the gateway's name */

struct port {
	int fd;           /* -1: free */
	int holder;       /* who handed it over holds this connection; -1 */
	bool begun;       /* its first message was read */
	uint32_t address; /* by DHCP; 0: it has not asked yet */
	char name[NAME_MAX_LEN + 1];
	uint64_t received, sent, refused,
		lost; /* frames: from it, to it, from it but dropped, for it but not read in time */
};

struct ethernet_switch {
	const struct switch_options *o;
	struct meeting meeting;
	struct uplink *uplink;
	struct port ports[ADDRESS_PORTS];
	struct address_table stations, neighbours; /* of Ethernet; of IPv6 */
	char names_by_address[~NET_MASK + 1][NAME_MAX_LEN + 1]; /* of guests that have left */
	uint32_t next_address; /* addresses are used in turn: others remember for a while who had
				  one */
	unsigned guests;
	uint64_t idle_ms;   /* when the last guest left */
	uint64_t accept_ms; /* no connection is taken before */
	int signals;
	bool had_guests;
	struct poll_set set;
	int port_at[ADDRESS_PORTS]; /* in the set */
};

static unsigned number_of(const struct ethernet_switch *s, const struct port *p)
{
	return (unsigned)(p - s->ports);
}

/* ---- frames out ---- */

static void send_to(struct port *p, const uint8_t *frame, size_t len)
{
	if (send(p->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len)
		p->sent++;
	else
		p->lost++;
}

static void send_to_all(
	struct ethernet_switch *s, const struct port *but, const uint8_t *frame, size_t len)
{
	for (unsigned i = 0; i < ADDRESS_PORTS; i++)
		if (s->ports[i].fd >= 0 && &s->ports[i] != but)
			send_to(&s->ports[i], frame, len);
}

static void from_uplink(void *context, const uint8_t *frame, size_t len)
{
	struct ethernet_switch *s = context;
	int to;

	if (len < ETHERNET_HEAD || len > ETHERNET_MOST)
		return;
	if (ethernet_to_group(frame)) {
		send_to_all(s, NULL, frame, len);
		return;
	}
	to = address_table_find(&s->stations, ethernet_destination(frame), ETHERNET_ADDRESS);
	if (to >= 0)
		send_to(&s->ports[to], frame, len);
}

/* A datagram of ours, from the uplink's station with that address; its d->len bytes stand behind
 * the heads. */
static void send_datagram(
	struct port *p, uint8_t *frame, const struct datagram *d, const uint8_t *to)
{
	uint8_t from[ETHERNET_ADDRESS];

	store_be16(from, NET_UPLINK_MAC);
	store_be32(from + 2, d->source);
	send_to(p, frame, datagram_frame(frame, d, from, to));
}

/* ---- addresses and names ---- */

static struct port *port_with_address(struct ethernet_switch *s, uint32_t address)
{
	for (unsigned i = 0; i < ADDRESS_PORTS; i++)
		if (s->ports[i].fd >= 0 && s->ports[i].address == address)
			return &s->ports[i];
	return NULL;
}

static struct port *port_with_name(struct ethernet_switch *s, const char *name)
{
	for (unsigned i = 0; i < ADDRESS_PORTS; i++)
		if (s->ports[i].fd >= 0 && *name && !strcmp(s->ports[i].name, name))
			return &s->ports[i];
	return NULL;
}

/* Calls itself by that name from now on, or by the first free one like it. */
static void give_name(struct ethernet_switch *s, struct port *p, const char *wanted)
{
	char name[NAME_MAX_LEN + 1];

	snprintf(name, sizeof(name), "%s", wanted);
	for (unsigned i = 2; !strcmp(name, HOST_NAME) || port_with_name(s, name); i++)
		snprintf(name, sizeof(name), "%.56s-%u", wanted, i);
	memcpy(p->name, name, sizeof(name));
}

/* The address that --forward keeps for the name; 0: none. Forwards with the same name share one. */
static uint32_t kept_address(const struct switch_options *o, const char *name)
{
	for (size_t i = 0; i < o->forward_count; i++)
		if (*name && !strcmp(o->forwards[i].guest, name))
			return NET_KEPT_FIRST + (uint32_t)i;
	return 0;
}

/* Is it one that guests get by DHCP, and have in no other way? */
static bool is_given(uint32_t address)
{
	return (address >= NET_GUEST_FIRST && address <= NET_GUEST_LAST) ||
	       (address >= NET_KEPT_FIRST && address <= NET_KEPT_LAST);
}

/* wanted: the address that it asks for, which it gets where that is free: it may have had it
 * before. */
static void give_address(struct ethernet_switch *s, struct port *p, uint32_t wanted)
{
	uint32_t address = kept_address(s->o, p->name);

	if (!address && wanted >= NET_GUEST_FIRST && wanted <= NET_GUEST_LAST)
		address = wanted;
	while (!address || port_with_address(s, address)) { /* there are more than ports */
		address = s->next_address;
		s->next_address = address == NET_GUEST_LAST ? NET_GUEST_FIRST : address + 1;
	}
	p->address = address;
}

/* ---- what the switch answers itself ---- */

static void answer_dhcp(struct ethernet_switch *s, struct port *p, const struct datagram *d)
{
	static const uint8_t all[ETHERNET_ADDRESS] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint8_t frame[UDP_HEADS + DHCP_ANSWER_MAX];
	struct dhcp_request r;
	struct dhcp_answer a = {
		.server = NET_GATEWAY,
		.mask = NET_MASK,
		.router = s->o->isolated ? 0 : NET_GATEWAY,
		.resolver = NET_RESOLVER,
		.domain = NAMES_DOMAIN,
		.lease_s = LEASE_S,
	};

	if (!dhcp_parse(&r, d->data, d->len) ||
		(r.kind == DHCP_REQUEST && r.server && r.server != NET_GATEWAY))
		return;
	if (!*p->name && *r.name)
		give_name(s, p, r.name);
	if (!p->address) {
		give_address(s, p, r.wanted);
		log_info("guest %s: %u.%u.%u.%u", *p->name ? p->name : "without a name",
			p->address >> 24, p->address >> 16 & 0xff, p->address >> 8 & 0xff,
			p->address & 0xff);
	}
	a.address = p->address;
	a.name = p->name;
	send_datagram(p, frame,
		&(struct datagram){
			.source = NET_GATEWAY,
			.destination = UINT32_MAX,
			.source_port = DHCP_SERVER_PORT,
			.destination_port = DHCP_CLIENT_PORT,
			.len = dhcp_reply(frame + UDP_HEADS, &r, &a),
		},
		all);
}

/* False: the question is not for us. */
static bool answer_dns(
	struct ethernet_switch *s, struct port *p, const uint8_t *from, const struct datagram *d)
{
	uint8_t frame[UDP_HEADS + DNS_ANSWER_MAX];
	struct dns_question q;
	struct port *found;
	enum dns_result result = DNS_REFUSED;
	uint32_t address = 0;

	if (!dns_parse(&q, d->data, d->len) || (!q.ours && !s->o->isolated))
		return false;
	if (q.ours) {
		found = port_with_name(s, q.name);
		address = !strcmp(q.name, HOST_NAME) ? NET_GATEWAY : found ? found->address : 0;
		result = address ? DNS_FOUND : DNS_NO_SUCH_NAME;
	}
	send_datagram(p, frame,
		&(struct datagram){
			.source = d->destination,
			.destination = d->source,
			.source_port = DNS_PORT,
			.destination_port = d->source_port,
			.len = dns_answer(frame + UDP_HEADS, &q, result, address),
		},
		from);
	return true;
}

/* ---- frames in ---- */

/* A guest that was switched off and on, or outlived another switch, has an address here that it does
 * not ask for again. If it is free, that is as good; its name comes along. */
static void take_back(struct ethernet_switch *s, struct port *p, uint32_t address)
{
	const char *name = s->names_by_address[address - NET_ADDRESS];

	p->address = address;
	if (!*p->name && *name)
		give_name(s, p, name);
}

/* May it say to have that IPv4 address? Not those of the uplink, and of those that are given only
 * its own. Others are between guests. */
static bool may_claim(struct ethernet_switch *s, struct port *p, uint32_t address)
{
	if (!p->address && is_given(address) && !port_with_address(s, address))
		take_back(s, p, address);
	return address == p->address ||
	       (address != NET_GATEWAY && address != NET_RESOLVER && !is_given(address));
}

static bool is_of_uplink(const uint8_t *station)
{
	return load_be16(station) == NET_UPLINK_MAC || load_be16(station) == NET_UPLINK_MAC6;
}

static bool is_ipv6_of_uplink(const uint8_t *address)
{
	static const uint8_t zeros[IPV6_ADDRESS];
	unsigned prefix = load_be16(address);

	return (prefix == NET_PREFIX6 || prefix == LINK_LOCAL6) && !memcmp(address + 2, zeros, IPV6_ADDRESS - 3) &&
	       (address[15] == (NET_GATEWAY & 0xff) || address[15] == (NET_RESOLVER & 0xff));
}

/* Whose is it? Its own, or nobody's yet. */
static bool may_have_ipv6(struct ethernet_switch *s, struct port *p, const uint8_t *address)
{
	int owner = address_table_find(&s->neighbours, address, IPV6_ADDRESS);

	return !is_ipv6_of_uplink(address) && (owner < 0 || (unsigned)owner == number_of(s, p));
}

static bool take_ipv6(struct ethernet_switch *s, struct port *p, const uint8_t *address)
{
	return may_have_ipv6(s, p, address) &&
	       !address_table_learn(&s->neighbours, number_of(s, p), address, IPV6_ADDRESS, clock_ms());
}

/* Neighbour discovery is what others believe, so it must be about the port's own addresses; who says first that he has one, or asks
 * whether he can, has it. A packet must only not be from another's. */
static bool may_claim_ipv6(struct ethernet_switch *s, struct port *p, const uint8_t *frame, size_t len)
{
	struct ipv6_claims c;

	if (!ipv6_parse(&c, frame, len))
		return false;
	if (c.source && !(c.discovery ? take_ipv6(s, p, c.source) : may_have_ipv6(s, p, c.source)))
		return false;
	if (!c.target || take_ipv6(s, p, c.target))
		return true;
	/* Who asks whether he can have what is another's shall hear from that one. */
	return !c.source && !may_have_ipv6(s, p, c.target);
}

static bool may_come_in(struct ethernet_switch *s, struct port *p, const uint8_t *frame, size_t len)
{
	uint32_t address;

	if (!ethernet_valid(frame, len) || is_of_uplink(ethernet_source(frame)) ||
		ethernet_is_service(frame, len))
		return false;
	if (ethernet_claim(frame, len, &address) && !may_claim(s, p, address))
		return false;
	if (!may_claim_ipv6(s, p, frame, len))
		return false;
	return !address_table_learn(&s->stations, number_of(s, p), ethernet_source(frame), ETHERNET_ADDRESS, clock_ms());
}

/* Only what is from the guest's own address: the uplink remembers who has which, for a few, and
 * looks for those that it does not know. */
static void to_uplink(struct ethernet_switch *s, const struct port *p, const uint8_t *frame, size_t len)
{
	uint32_t address;

	if (ethernet_may_leave(frame, len) &&
		(!ethernet_claim(frame, len, &address) || (address && address == p->address)))
		uplink_input(s->uplink, frame, len);
}

/* Is it a datagram that goes no further? */
static bool taken_by_us(struct ethernet_switch *s, struct port *p, const uint8_t *frame, size_t len)
{
	struct datagram d;

	if (!datagram_parse(&d, frame, len))
		return false;
	if (d.destination_port == DHCP_SERVER_PORT) {
		answer_dhcp(s, p, &d);
		return true;
	}
	return d.destination == NET_RESOLVER && d.destination_port == DNS_PORT &&
	       answer_dns(s, p, ethernet_source(frame), &d);
}

static void pass_on(struct ethernet_switch *s, struct port *p, const uint8_t *frame, size_t len)
{
	const uint8_t *to = ethernet_destination(frame);
	int port;

	if (ethernet_to_group(frame)) {
		send_to_all(s, p, frame, len);
		to_uplink(s, p, frame, len);
		return;
	}
	if (is_of_uplink(to)) {
		to_uplink(s, p, frame, len);
		return;
	}
	port = address_table_find(&s->stations, to, ETHERNET_ADDRESS);
	if (port < 0)
		send_to_all(s, p, frame, len);
	else if (&s->ports[port] != p)
		send_to(&s->ports[port], frame, len);
}

static void leave(struct ethernet_switch *s, struct port *p)
{
	log_info("guest %s has left: %llu frames from it, %llu to it, %llu refused, %llu that it "
		 "did not read in time",
		*p->name ? p->name : "without a name", (unsigned long long)p->received,
		(unsigned long long)p->sent, (unsigned long long)p->refused,
		(unsigned long long)p->lost);
	if (p->address)
		memcpy(s->names_by_address[p->address - NET_ADDRESS], p->name, sizeof(p->name));
	close(p->fd);
	cleanup_close(&p->holder);
	*p = (struct port){.fd = -1, .holder = -1};
	address_table_forget(&s->stations, number_of(s, p));
	address_table_forget(&s->neighbours, number_of(s, p));
	s->guests--;
	s->idle_ms = clock_ms();
}

/* The port's wire is now the one that was handed over, of a guest of that name. */
static void change_wire(struct ethernet_switch *s, struct port *p, int guest, const uint8_t *name, size_t len)
{
	char clean[NAME_MAX_LEN + 1];

	p->holder = p->fd;
	p->fd = guest;
	name_clean(clean, (const char *)name, len);
	if (*clean)
		give_name(s, p, clean);
}

/* A frame, as recv() with MSG_TRUNC has it; 0 at the end, or -errno. */
static ssize_t receive(struct ethernet_switch *s, struct port *p, uint8_t *frame, size_t size)
{
	int guest;
	ssize_t n;

	if (!p->begun) {
		n = meeting_first(p->fd, frame, size, &guest);
		p->begun = n > 0;
		if (guest < 0)
			return n;
		change_wire(s, p, guest, frame, strnlen((const char *)frame, (size_t)n < size ? (size_t)n : size));
	}
	n = recv(p->fd, frame, size, MSG_DONTWAIT | MSG_TRUNC);
	return n < 0 ? -errno : n;
}

static void read_port(struct ethernet_switch *s, struct port *p)
{
	uint8_t frame[ETHERNET_MOST];

	for (unsigned i = 0; i < FRAMES_AT_ONCE; i++) {
		ssize_t n = receive(s, p, frame, sizeof(frame));

		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n <= 0) { /* a message without a byte cannot be told from the end; no guest of
				 good will sends one */
			leave(s, p);
			return;
		}
		p->received++;
		if ((size_t)n > sizeof(frame) || !may_come_in(s, p, frame, (size_t)n))
			p->refused++;
		else if (!taken_by_us(s, p, frame, (size_t)n))
			pass_on(s, p, frame, (size_t)n);
	}
}

/* ---- the switch ---- */

static struct port *free_port(struct ethernet_switch *s)
{
	for (unsigned i = 0; i < ADDRESS_PORTS; i++)
		if (s->ports[i].fd < 0)
			return &s->ports[i];
	return NULL;
}

/* Takes one guest in. */
static bool take_guest(struct ethernet_switch *s)
{
	int fd = accept4(s->meeting.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct port *p = free_port(s);

	if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		s->accept_ms = clock_ms() + ACCEPT_REST_MS;
	if (fd < 0)
		return false;
	if (!p) {
		log_warning("a guest was sent away: %d are here, as many as there is room for",
			ADDRESS_PORTS);
		close(fd);
		return true;
	}
	*p = (struct port){.fd = fd, .holder = -1};
	s->guests++;
	s->had_guests = true;
	return true;
}

/* Nobody is here, and for a while nobody was. Returns the time until that may be so; 0: it is the
 * end. */
static int time_to_end(struct ethernet_switch *s)
{
	uint64_t now = clock_ms(), end = s->idle_ms + (s->had_guests ? LINGER_MS : FIRST_MS);

	if (!s->o->on_demand || s->guests)
		return -1;
	if (now < end)
		return (int)(end - now);
	if (meeting_end(&s->meeting) < 0)
		return LINGER_MS;
	if (!take_guest(s))
		return 0;
	meeting_go_on(&s->meeting);
	return -1;
}

static bool signal_came(const struct ethernet_switch *s)
{
	struct signalfd_siginfo info;

	return read(s->signals, &info, sizeof(info)) == sizeof(info);
}

/* Fills the set. Returns how long to wait. */
static int before_poll(struct ethernet_switch *s, int timeout)
{
	bool rests = clock_ms() < s->accept_ms;

	s->set.count = 0;
	poll_set_add(&s->set, s->signals, POLLIN);
	poll_set_add(&s->set, rests ? -1 : s->meeting.listener, POLLIN);
	if (rests && (timeout < 0 || timeout > ACCEPT_REST_MS))
		timeout = ACCEPT_REST_MS;
	for (unsigned i = 0; i < ADDRESS_PORTS; i++)
		s->port_at[i] =
			s->ports[i].fd < 0 ? -1 : poll_set_add(&s->set, s->ports[i].fd, POLLIN);
	uplink_before(s->uplink, &s->set, &timeout);
	return timeout;
}

static void loop(struct ethernet_switch *s)
{
	int timeout, r;

	while ((timeout = time_to_end(s))) {
		timeout = before_poll(s, timeout);
		r = poll(s->set.fds, s->set.count, timeout);
		if (r < 0)
			for (size_t i = 0; i < s->set.count; i++)
				s->set.fds[i].revents = 0;
		uplink_after(s->uplink, r < 0);
		for (unsigned i = 0; i < ADDRESS_PORTS; i++)
			if (poll_set_events(&s->set, s->port_at[i]))
				read_port(s, &s->ports[i]);
		if (poll_set_events(&s->set, 1))
			take_guest(s);
		if (poll_set_events(&s->set, 0) && signal_came(s))
			return;
	}
}

static int take_signals(struct ethernet_switch *s, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_errno(e, "cannot take signals");
	return 0;
}

static int open_forwards(struct ethernet_switch *s, struct err *e)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->o->forward_count; i++) {
		struct forward f = s->o->forwards[i].f;

		f.guest = kept_address(s->o, s->o->forwards[i].guest);
		r = uplink_forward(s->uplink, &f, e);
	}
	return r;
}

/* No files but those that the C library reads; sockets to anywhere, or, without a way out, none. */
static int confine(struct ethernet_switch *s, struct err *e)
{
	_cleanup_(sandbox_rules_free) struct sandbox_rules rules = {
		.network = !s->o->isolated,
		.any_port = !s->o->isolated,
		.serve = true,
	};
	struct rlimit files, memory = {.rlim_cur = MEMORY_MAX, .rlim_max = MEMORY_MAX};

	if (!SANITIZED)
		setrlimit(RLIMIT_DATA, &memory);
	if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur < FILES_MAX) {
		files.rlim_cur = files.rlim_max < FILES_MAX ? files.rlim_max : FILES_MAX;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return sandbox_enter(&rules, e);
}

int switch_run(const struct switch_options *o, struct err *e)
{
	struct ethernet_switch *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "no memory for a switch");
	s->o = o;
	s->meeting = (struct meeting)MEETING_INIT;
	s->signals = -1;
	s->next_address = NET_GUEST_FIRST;
	s->idle_ms = clock_ms();
	for (unsigned i = 0; i < ADDRESS_PORTS; i++)
		s->ports[i] = (struct port){.fd = -1, .holder = -1};
	r = meeting_open(&s->meeting, o->network, e);
	if (!r)
		r = uplink_open(&s->uplink, o->isolated, from_uplink, s, e);
	if (!r)
		r = open_forwards(s, e);
	if (!r)
		r = take_signals(s, e);
	if (!r)
		r = confine(s, e);
	if (!r) {
		o->ready(o->context, s->meeting.path);
		loop(s);
	}
	for (unsigned i = 0; i < ADDRESS_PORTS; i++) {
		cleanup_close(&s->ports[i].fd);
		cleanup_close(&s->ports[i].holder);
	}
	cleanup_close(&s->signals);
	uplink_close(s->uplink);
	meeting_close(&s->meeting);
	free(s->set.fds);
	free(s);
	return r;
}
