/* IPv6 packets, as far as the switch looks into them: whose addresses they speak of, by their source
 * and by neighbour discovery (RFC 4861), and what only the uplink may say. Everything in them is from
 * a guest. No I/O, no allocation. */
#ifndef NETWORK_IPV6_H
#define NETWORK_IPV6_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPV6_ADDRESS 16 /* bytes */

struct ipv6_claims {
	const uint8_t *source; /* in the frame; NULL: nobody, or no IPv6 */
	const uint8_t *target; /* the address that a neighbour's advertisement says to be the
				  sender's, or that one without an address would like to have; NULL */
	bool discovery; /* it is neighbour discovery: others remember the source */
};

/* Of a valid frame. False: it must not come from a guest. That is
 *
 *	a service: an answer of DHCPv6, a router's advertisement or redirect;
 *	neighbour discovery that is not well formed, in fragments, or about another station than the
 *	one that the frame is from; an advertisement that is from nobody;
 *	more heads before the content than we look behind, or a head that is cut off. */
bool ipv6_parse(struct ipv6_claims *c, const uint8_t *frame, size_t len);

#endif
