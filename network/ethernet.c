/* Frames: see ethernet.h. */
#include "network/ethernet.h"

#include <string.h>

#include "base/bytes.h"
#include "network/dhcp.h"

#define TYPE_IPV4 0x0800
#define TYPE_ARP 0x0806
#define TYPE_IPV6 0x86dd
#define ARP_LEN 28
#define ARP_STATION 8 /* where the sender's station is, */
#define ARP_SENDER 14 /* and its IPv4 address */
#define IPV4_HEAD 20
#define PROTOCOL_UDP 17
#define UDP_HEAD 8
#define FRAGMENT 0x3fff /* more of them follow, or the place of this one */
#define FRAGMENT_PLACE 0x1fff
#define IPV6_HEAD 40
#define IPV6_HEADS_MOST 8 /* of those that may lie before the content */
#define ICMPV6 58
#define ICMPV6_ROUTER 134
#define ICMPV6_REDIRECT 137
#define DHCPV6_SERVER 547

static unsigned type_of(const uint8_t *frame)
{
	return load_be16(frame + 2 * ETHERNET_ADDRESS);
}

/* A tag of a VLAN: what stands behind it would go past those who look at a frame's type, and guests
 * take it off. */
static bool is_tagged(const uint8_t *frame)
{
	unsigned type = type_of(frame);

	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

bool ethernet_valid(const uint8_t *frame, size_t len)
{
	static const uint8_t nobody[ETHERNET_ADDRESS];

	if (len < ETHERNET_HEAD || len > ETHERNET_MOST || ethernet_source(frame)[0] & 1 ||
		!memcmp(ethernet_source(frame), nobody, sizeof(nobody)) || is_tagged(frame))
		return false;
	return type_of(frame) != TYPE_ARP || len < ETHERNET_HEAD + ARP_LEN ||
	       !memcmp(frame + ETHERNET_HEAD + ARP_STATION, ethernet_source(frame),
		       ETHERNET_ADDRESS);
}

/* ICMPv6 and UDP may have other heads before them. */
static bool is_ipv6_service(const uint8_t *ip, size_t len)
{
	unsigned kind;
	size_t at = IPV6_HEAD;

	if (len < IPV6_HEAD)
		return false;
	kind = ip[6];
	for (int i = 0; i < IPV6_HEADS_MOST && at + 8 <= len; i++) {
		unsigned next = ip[at];

		if (kind == ICMPV6)
			return next == ICMPV6_ROUTER || next == ICMPV6_REDIRECT;
		if (kind == PROTOCOL_UDP)
			return load_be16(ip + at) == DHCPV6_SERVER;
		if (kind != 0 && kind != 43 && kind != 44 && kind != 60)
			return false;
		at += kind == 44 ? 8 : 8 * (ip[at + 1] + 1u);
		kind = next;
	}
	return false;
}

bool ethernet_is_service(const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETHERNET_HEAD;
	size_t head;

	len -= ETHERNET_HEAD;
	if (type_of(frame) == TYPE_IPV6)
		return is_ipv6_service(ip, len);
	if (type_of(frame) != TYPE_IPV4 || len < IPV4_HEAD || ip[9] != PROTOCOL_UDP)
		return false;
	head = (size_t)(ip[0] & 0xf) * 4;
	return !(load_be16(ip + 6) & FRAGMENT_PLACE) && head >= IPV4_HEAD && len >= head + 2 &&
	       load_be16(ip + head) == DHCP_SERVER_PORT;
}

bool ethernet_may_leave(const uint8_t *frame, size_t len)
{
	unsigned type = type_of(frame);

	if (type == TYPE_IPV4)
		return len >= ETHERNET_HEAD + IPV4_HEAD &&
		       !(load_be16(frame + ETHERNET_HEAD + 6) & FRAGMENT);
	return type == TYPE_ARP || type == TYPE_IPV6;
}

bool ethernet_claim(const uint8_t *frame, size_t len, uint32_t *address)
{
	const uint8_t *content = frame + ETHERNET_HEAD;
	unsigned type = type_of(frame);

	if (type == TYPE_ARP && len >= ETHERNET_HEAD + ARP_LEN) {
		*address = load_be32(content + ARP_SENDER);
		return true;
	}
	if (type == TYPE_IPV4 && len >= ETHERNET_HEAD + IPV4_HEAD) {
		*address = load_be32(content + 12);
		return true;
	}
	return false;
}

bool datagram_parse(struct datagram *d, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETHERNET_HEAD, *udp;
	size_t head, total, udp_len;

	if (len < UDP_HEADS || type_of(frame) != TYPE_IPV4 ||
		ip[0] >> 4 != 4 || ip[9] != PROTOCOL_UDP)
		return false;
	head = (size_t)(ip[0] & 0xf) * 4;
	total = load_be16(ip + 2);
	/* A frame may be padded behind the packet, but not shorter. */
	if (head < IPV4_HEAD || total < head + UDP_HEAD || total > len - ETHERNET_HEAD ||
		load_be16(ip + 6) & FRAGMENT)
		return false;
	udp = ip + head;
	udp_len = load_be16(udp + 4);
	if (udp_len < UDP_HEAD || udp_len > total - head)
		return false;
	*d = (struct datagram){
		.source = load_be32(ip + 12),
		.destination = load_be32(ip + 16),
		.source_port = load_be16(udp),
		.destination_port = load_be16(udp + 2),
		.data = udp + UDP_HEAD,
		.len = udp_len - UDP_HEAD,
	};
	return true;
}

static uint16_t checksum(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += load_be16(data + i);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

size_t datagram_frame(
	uint8_t *out, const struct datagram *d, const uint8_t *from, const uint8_t *to)
{
	uint8_t *ip = out + ETHERNET_HEAD, *udp = ip + IPV4_HEAD;

	memset(out, 0, UDP_HEADS);
	memcpy(out, to, ETHERNET_ADDRESS);
	memcpy(out + ETHERNET_ADDRESS, from, ETHERNET_ADDRESS);
	store_be16(out + 2 * ETHERNET_ADDRESS, TYPE_IPV4);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)(IPV4_HEAD + UDP_HEAD + d->len));
	ip[8] = 64; /* hops */
	ip[9] = PROTOCOL_UDP;
	store_be32(ip + 12, d->source);
	store_be32(ip + 16, d->destination);
	store_be16(ip + 10, checksum(ip, IPV4_HEAD));
	store_be16(udp, d->source_port);
	store_be16(udp + 2, d->destination_port);
	store_be16(udp + 4, (uint16_t)(UDP_HEAD + d->len));
	return UDP_HEADS + d->len;
}
