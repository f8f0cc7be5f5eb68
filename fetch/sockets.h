/* The sockets of the event loop, which libcurl keeps to itself, so that connections which died with an address of this machine can be
 * ended. Should libcurl ever close one without telling: a descriptor counts only as long as it is the same socket. The loop's thread only.
 * Internal to fetch/. */
#ifndef FETCH_SOCKETS_H
#define FETCH_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOCKETS_MAX 128 /* that are known; those beyond are left alone */

struct sockets { /* initialise with {0} */
	struct {
		int fd;
		uint64_t id; /* the number of the socket itself; 0: none */
	} list[SOCKETS_MAX];
};

/* socket(), and remembers it. The descriptor, or -1. */
int sockets_open(struct sockets *s, int family, int type, int protocol);

/* close(), and forgets it: a curl_closesocket_callback. */
int sockets_close(void *sockets, int fd);

/* After a change of the network, or a silence: shuts down connections whose local address this machine has no more, and all that are not in use; libcurl
 * then drops them. used: local ports of those that are. Connections within this machine stay, unless `all`. */
void sockets_network_changed(struct sockets *s, const int *used, size_t used_count, bool all);

#endif
