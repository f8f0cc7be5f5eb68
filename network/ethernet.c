/* Frames: see ethernet.h. */
#include "network/ethernet.h"

#include <string.h>

#include "base/bytes.h"
#include "network/dhcp.h"

#define TYPE_IPV4 0x0800
#define TYPE_ARP 0x0806
#define ARP_LEN 28
#define ARP_STATION 8 /* where the sender's station is, */
#define ARP_SENDER 14 /* and its IPv4 address */
#define IPV4_HEAD 20
#define PROTOCOL_UDP 17
#define UDP_HEAD 8
#define FRAGMENT 0x3fff /* more of them follow, or the place of this one */
#define FRAGMENT_PLACE 0x1fff

/* A tag of a VLAN: what stands behind it would go past those who look at a frame's type, and guests
 * take it off. */
static bool is_tagged(const uint8_t *frame)
{
	unsigned type = ethernet_type(frame);

	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

bool ethernet_valid(const uint8_t *frame, size_t len)
{
	static const uint8_t nobody[ETHERNET_ADDRESS];

	if (len < ETHERNET_HEAD || len > ETHERNET_MOST || ethernet_source(frame)[0] & 1 ||
		!memcmp(ethernet_source(frame), nobody, sizeof(nobody)) || is_tagged(frame))
		return false;
	return ethernet_type(frame) != TYPE_ARP || len < ETHERNET_HEAD + ARP_LEN ||
	       !memcmp(frame + ETHERNET_HEAD + ARP_STATION, ethernet_source(frame),
		       ETHERNET_ADDRESS);
}

bool ethernet_is_service(const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETHERNET_HEAD;
	size_t head;

	len -= ETHERNET_HEAD;
	if (ethernet_type(frame) != TYPE_IPV4 || len < IPV4_HEAD || ip[9] != PROTOCOL_UDP)
		return false;
	head = (size_t)(ip[0] & 0xf) * 4;
	return !(load_be16(ip + 6) & FRAGMENT_PLACE) && head >= IPV4_HEAD && len >= head + 2 &&
	       load_be16(ip + head) == DHCP_SERVER_PORT;
}

bool ethernet_may_leave(const uint8_t *frame, size_t len)
{
	unsigned type = ethernet_type(frame);

	if (type == TYPE_IPV4)
		return len >= ETHERNET_HEAD + IPV4_HEAD &&
		       !(load_be16(frame + ETHERNET_HEAD + 6) & FRAGMENT);
	return type == TYPE_ARP || type == ETHERNET_IPV6;
}

bool ethernet_claim(const uint8_t *frame, size_t len, uint32_t *address)
{
	const uint8_t *content = frame + ETHERNET_HEAD;
	unsigned type = ethernet_type(frame);

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

	if (len < UDP_HEADS || ethernet_type(frame) != TYPE_IPV4 ||
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
