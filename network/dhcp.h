/* DHCP as far as a switch that knows each of its ports needs it: a guest asks, and gets the address
 * of its port. No I/O, no allocation. (RFC 2131 and 2132.) */
#ifndef NETWORK_DHCP_H
#define NETWORK_DHCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "network/names.h"

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCP_ANSWER_MAX 548 /* bytes: what every client takes */

enum dhcp_kind {
	DHCP_DISCOVER = 1,
	DHCP_OFFER,
	DHCP_REQUEST,
	DHCP_DECLINE,
	DHCP_ACK,
	DHCP_NAK,
	DHCP_RELEASE,
	DHCP_INFORM
};

struct dhcp_request {
	enum dhcp_kind kind; /* DHCP_DISCOVER, DHCP_REQUEST or DHCP_INFORM: others need no answer */
	uint32_t wanted;     /* the IPv4 address that it asks for, or has; 0: none */
	uint32_t server;     /* whom it chose; 0: it does not say */
	char name[NAME_MAX_LEN + 1]; /* its host name, as name_clean() makes it; "": none */
	const uint8_t *head;         /* in the message */
};

struct dhcp_answer {
	uint32_t address, server, mask, router, resolver; /* router 0: none */
	const char *domain, *name;                        /* name "": none */
	uint32_t lease_s;
};

/* False: no request that is well formed, or one that needs no answer. r is good as long as data. */
bool dhcp_parse(struct dhcp_request *r, const uint8_t *data, size_t len);

/* What r gets: an offer, or, where it asks for what it cannot have, a refusal. out has room for
 * DHCP_ANSWER_MAX bytes. Returns the number of bytes. */
size_t dhcp_reply(uint8_t *out, const struct dhcp_request *r, const struct dhcp_answer *a);

#endif
