/* The network's way out, by libslirp: it answers ARP for the gateway, makes connections and
 * datagrams of the host's out of those of guests, and takes connections at ports of the host for
 * them. No privileges. One thread. */
#ifndef NETWORK_UPLINK_H
#define NETWORK_UPLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "network/poll_set.h"

struct uplink;

/* A frame for the guests. Called from within uplink_input() and uplink_after(). */
typedef void (*uplink_output)(void *context, const uint8_t *frame, size_t len);

/* isolated: guests get nowhere through it; connections to them do work. */
int uplink_open(
	struct uplink **u, bool isolated, uplink_output output, void *context, struct err *e);
/* The same in the network with that address, of 256; the way out has .2, the resolver .3. */
int uplink_open_at(struct uplink **u, uint32_t network, bool isolated, uplink_output output,
	void *context, struct err *e);
void uplink_close(struct uplink *u);

struct forward {
	bool udp;
	uint32_t host, guest; /* IPv4 addresses and ports, in the host's order */
	uint16_t host_port, guest_port;
};

/* Listens for guests at the host's port. To be called before the process confines itself. */
int uplink_forward(struct uplink *u, const struct forward *f, struct err *e);

/* What guests send to that address and TCP port goes to the Unix socket at path, also where they are
 * isolated. */
int uplink_unix(struct uplink *u, const char *path, uint32_t address, uint16_t port, struct err *e);

/* A valid frame from a guest. */
void uplink_input(struct uplink *u, const uint8_t *frame, size_t len);

/* Before poll(): adds to the set, and makes *timeout_ms (-1: none) shorter where something is due.
 */
void uplink_before(struct uplink *u, struct poll_set *set, int *timeout_ms);
/* After it, with the same set. */
void uplink_after(struct uplink *u, bool failed);

#endif
