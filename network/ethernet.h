/* Ethernet frames, and as much of ARP, IPv4 and UDP in them as the switch looks at. Everything in
 * them is from a guest. No I/O, no allocation. */
#ifndef NETWORK_ETHERNET_H
#define NETWORK_ETHERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define ETHERNET_HEAD 14 /* destination, source, type */
#define ETHERNET_ADDRESS 6
#define ETHERNET_IPV6 0x86dd /* its type: see ipv6.h */
#define ETHERNET_MOST 1514                 /* bytes of a frame: 1500 of content */
#define UDP_HEADS (ETHERNET_HEAD + 20 + 8) /* before the content of a datagram that we make */

/* A frame that may be passed on at all: of a length that is allowed, from one station (not a group,
 * not nobody, and in ARP the same), without a VLAN's tag. The functions below want such a frame. */
bool ethernet_valid(const uint8_t *frame, size_t len);

static inline const uint8_t *ethernet_destination(const uint8_t *frame)
{
	return frame;
}

static inline const uint8_t *ethernet_source(const uint8_t *frame)
{
	return frame + ETHERNET_ADDRESS;
}

static inline unsigned ethernet_type(const uint8_t *frame)
{
	return load_be16(frame + 2 * ETHERNET_ADDRESS);
}

/* Is it for a group, as broadcasts are? */
static inline bool ethernet_to_group(const uint8_t *frame)
{
	return frame[0] & 1;
}

/* The IPv4 address that a valid frame's sender says to be his, in ARP or as a packet's source.
 * False: the frame is of neither kind. */
bool ethernet_claim(const uint8_t *frame, size_t len, uint32_t *address);

/* Does it say to be from one who gives addresses: an answer of DHCP, also the beginning of one in
 * fragments? (Of IPv6's: ipv6.h.) */
bool ethernet_is_service(const uint8_t *frame, size_t len);

/* May it go to the uplink? ARP, IPv4, IPv6; no fragments of IPv4, which would be kept there. */
bool ethernet_may_leave(const uint8_t *frame, size_t len);

struct datagram {
	uint32_t source, destination; /* IPv4 addresses and ports, in the host's order */
	uint16_t source_port, destination_port;
	const uint8_t *data; /* in the frame */
	size_t len;
};

/* The UDP datagram in a valid frame. False: it holds none, or a fragment, or one whose lengths do
 * not fit together. */
bool datagram_parse(struct datagram *d, const uint8_t *frame, size_t len);

/* A frame around the d->len bytes that stand at out + UDP_HEADS (d->data is not looked at). The UDP
 * checksum is left out, as IPv4 allows. Returns the frame's length. */
size_t datagram_frame(
	uint8_t *out, const struct datagram *d, const uint8_t *from, const uint8_t *to);

#endif
