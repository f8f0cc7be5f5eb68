/* One frame from a guest, through all that looks into it: Ethernet, IPv4 and UDP, DHCP, DNS, and
 * the answers to them; IPv6 and neighbour discovery. */
#include "fuzz.h"

#include "network/dhcp.h"
#include "network/dns.h"
#include "network/ethernet.h"
#include "network/ipv6.h"

static const uint8_t station[ETHERNET_ADDRESS] = {2, 0, 0, 0, 0, 1};

/* What we say must be what a reader of ours takes for the same. */
static void check_frame(uint8_t *frame, size_t len)
{
	struct datagram sent = {.source = 1,
				.destination = 2,
				.source_port = 3,
				.destination_port = 4,
				.len = len},
			d;
	size_t whole = datagram_frame(frame, &sent, station, station);

	require(whole == UDP_HEADS + len && ethernet_valid(frame, whole));
	require(datagram_parse(&d, frame, whole) && d.len == len && d.data == frame + UDP_HEADS);
	require(d.source == 1 && d.destination == 2 && d.source_port == 3 &&
		d.destination_port == 4);
}

static void dhcp(const uint8_t *data, size_t size)
{
	static const struct dhcp_answer answer = {.address = 0x0a00020f,
		.server = 1,
		.mask = 2,
		.router = 3,
		.resolver = 4,
		.domain = "inetboot",
		.lease_s = 5};
	uint8_t frame[UDP_HEADS + DHCP_ANSWER_MAX];
	struct dhcp_answer a = answer;
	struct dhcp_request r;
	size_t len;

	if (!dhcp_parse(&r, data, size))
		return;
	require(!*r.name || name_valid(r.name));
	a.name = r.name;
	len = dhcp_reply(frame + UDP_HEADS, &r, &a);
	require(len <= DHCP_ANSWER_MAX);
	check_frame(frame, len);
}

static void dns(const uint8_t *data, size_t size)
{
	uint8_t frame[UDP_HEADS + DNS_ANSWER_MAX];
	struct dns_question q;
	size_t len;

	if (!dns_parse(&q, data, size))
		return;
	require(q.len <= size && (!*q.name || (q.ours && name_valid(q.name))));
	len = dns_answer(frame + UDP_HEADS, &q, DNS_FOUND, 0x0a00020f);
	require(len >= q.len && len <= DNS_ANSWER_MAX);
	check_frame(frame, len);
}

/* What it claims lies in the frame. */
static void ipv6(const uint8_t *data, size_t size)
{
	struct ipv6_claims c;

	if (!ipv6_parse(&c, data, size))
		return;
	require(!c.source || (c.source >= data && c.source + IPV6_ADDRESS <= data + size));
	require(!c.target || (c.discovery && c.target >= data && c.target + IPV6_ADDRESS <= data + size));
	require(ethernet_type(data) == ETHERNET_IPV6 || (!c.source && !c.target && !c.discovery));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct datagram d;
	uint32_t address;

	dhcp(data, size);
	dns(data, size);
	if (!ethernet_valid(data, size))
		return 0;
	ethernet_claim(data, size, &address);
	ethernet_is_service(data, size);
	ethernet_may_leave(data, size);
	ipv6(data, size);
	if (!datagram_parse(&d, data, size))
		return 0;
	require(d.data >= data && d.data + d.len <= data + size);
	dhcp(d.data, d.len);
	dns(d.data, d.len);
	return 0;
}
