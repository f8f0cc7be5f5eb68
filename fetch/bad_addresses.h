/* Addresses of servers that did not answer lately: they are passed over for a while, so that a name with a dead address costs one short wait,
 * not one for each connection. One thread. Internal to fetch/. */
#ifndef FETCH_BAD_ADDRESSES_H
#define FETCH_BAD_ADDRESSES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define BAD_ADDRESSES_MAX 16 /* the oldest is forgotten */
#define BAD_ADDRESSES_S 60
#define ADDRESS_TRIES_MAX 4 /* of one transfer, that are remembered */
#define ADDRESS_SLOW_MS 300 /* one that was not waited for so long may be good */

union address { /* with its port; family 0: none */
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

struct bad_addresses { /* initialise with {0} */
	struct {
		union address address;
		uint64_t until_us;
	} list[BAD_ADDRESSES_MAX];
};

struct address_tries { /* what one transfer tried to connect to; initialise with {0} */
	struct {
		union address address;
		uint64_t begun_us;
	} list[ADDRESS_TRIES_MAX];
	unsigned count;
};

bool bad_addresses_has(const struct bad_addresses *b, const struct sockaddr *a, uint64_t now_us);

/* A transfer tries an address. */
void address_tries_add(struct address_tries *t, const struct sockaddr *a, uint64_t now_us);

/* It got its connection, to the address that `text` says, or none (NULL): those that were tried in vain are bad now. */
void address_tries_end(struct address_tries *t, const char *text, struct bad_addresses *b, uint64_t now_us);

#endif
