/* An Ethernet switch for guests. Each connection is a port, or brings one (meeting_hand_over()). A port has one IPv4 address, which the
 * switch gives by DHCP, and one name, which the guest says there: the first that asks for a name
 * has it, others get NAME-2 and so on. The switch answers DNS for NAME.inetboot; all else is the
 * uplink's.
 *
 * No guest is trusted. What comes in at a port is dropped and counted where it is no valid frame,
 * says to be from a station of another port or of the uplink, or from an IPv4 address of theirs, or
 * answers DHCP. What a guest does not read in time is lost to it alone: its socket's buffer is its
 * queue, and nothing here waits for it. One thread. */
#ifndef NETWORK_SWITCH_H
#define NETWORK_SWITCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "network/names.h"
#include "network/uplink.h"

#define SWITCH_FORWARDS_MAX 32

struct switch_options {
	const char *network;
	bool isolated;  /* no way out */
	bool on_demand; /* ends when the last guest has left, or none comes */
	struct switch_forward {
		struct forward f; /* but for the guest's address: an address is kept for who has */
		char guest[NAME_MAX_LEN + 1]; /* this name */
	} forwards[SWITCH_FORWARDS_MAX];
	size_t forward_count;
	void (*ready)(void *context,
		const char *path); /* called once, when guests may connect to the socket at path */
	void *context;
};

/* Runs until SIGTERM, SIGINT or SIGHUP, or as on_demand says. Confines the process first. 0 or
 * -errno. */
int switch_run(const struct switch_options *o, struct err *e);

#endif
