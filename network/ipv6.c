/* IPv6: see ipv6.h. */
#include "network/ipv6.h"

#include <string.h>

#include "base/bytes.h"
#include "network/ethernet.h"

#define HEAD 40
#define HEADS_MOST 8 /* of those that may lie before the content */
#define DHCP_SERVER 547
#define UDP 17
#define ICMP 58

enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };
enum { ROUTER_SOLICITATION = 133, ROUTER, SOLICITATION, ADVERTISEMENT, REDIRECT };
enum { OPTION_SOURCE_STATION = 1, OPTION_TARGET_STATION = 2 };

struct content {
	unsigned kind;
	const uint8_t *data;
	size_t len; /* to the packet's end, at most to the frame's */
	bool fragment, later; /* it is one; not the first */
};

/* Goes behind the heads. */
static bool find_content(struct content *c, const uint8_t *ip, size_t len)
{
	size_t payload = load_be16(ip + 4), at = HEAD, size;

	/* 0 may stand for any length, with a head that says so. */
	if (payload && payload < len - HEAD)
		len = HEAD + payload;
	*c = (struct content){.kind = ip[6]};
	for (int i = 0; i <= HEADS_MOST; i++) {
		if (c->later || (c->kind != HOP_BY_HOP && c->kind != ROUTING && c->kind != FRAGMENT && c->kind != DESTINATION)) {
			c->data = ip + at;
			c->len = len - at;
			return true;
		}
		if (len - at < 8)
			return false;
		if (c->kind == FRAGMENT) {
			c->fragment = true;
			c->later = load_be16(ip + at + 2) >> 3;
		}
		size = c->kind == FRAGMENT ? 8 : 8 * (ip[at + 1] + 1u);
		if (len - at < size)
			return false;
		c->kind = ip[at];
		at += size;
	}
	return false;
}

/* Do the options speak of the frame's own station, where they speak of one? */
static bool options_are_own(const uint8_t *data, size_t len, const uint8_t *station)
{
	for (size_t at = 0, size; at < len; at += size) {
		if (len - at < 8 || !data[at + 1])
			return false;
		size = 8u * data[at + 1];
		if (size > len - at)
			return false;
		if ((data[at] == OPTION_SOURCE_STATION || data[at] == OPTION_TARGET_STATION) &&
			(size != 8 || memcmp(data + at + 2, station, ETHERNET_ADDRESS)))
			return false;
	}
	return true;
}

static bool parse_discovery(struct ipv6_claims *claims, const struct content *c, const uint8_t *station)
{
	size_t head = c->data[0] == ROUTER_SOLICITATION ? 8 : 8 + IPV6_ADDRESS;

	if (c->fragment || c->len < head || (c->data[0] == ADVERTISEMENT && !claims->source) || !options_are_own(c->data + head, c->len - head, station))
		return false;
	claims->discovery = true;
	if (c->data[0] == ADVERTISEMENT || (c->data[0] == SOLICITATION && !claims->source))
		claims->target = c->data + 8;
	return true;
}

bool ipv6_parse(struct ipv6_claims *claims, const uint8_t *frame, size_t len)
{
	static const uint8_t nobody[IPV6_ADDRESS];
	const uint8_t *ip = frame + ETHERNET_HEAD;
	struct content c;

	*claims = (struct ipv6_claims){0};
	if (ethernet_type(frame) != ETHERNET_IPV6)
		return true;
	len -= ETHERNET_HEAD;
	if (len < HEAD || !find_content(&c, ip, len))
		return false;
	if (memcmp(ip + 8, nobody, sizeof(nobody)))
		claims->source = ip + 8;
	if (c.later)
		return true;
	if (c.kind == UDP)
		return c.len >= 2 && load_be16(c.data) != DHCP_SERVER;
	if (c.kind != ICMP)
		return true;
	if (!c.len || c.data[0] == ROUTER || c.data[0] == REDIRECT)
		return false;
	return c.data[0] < ROUTER_SOLICITATION || c.data[0] > REDIRECT || parse_discovery(claims, &c, ethernet_source(frame));
}
