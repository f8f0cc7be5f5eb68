/* What is between a guest and its switch. User-Mode Linux connects to a Unix socket with one frame a message (its transport bess), and does
 * not live through the end of that connection: where its kernel sends after it, it hangs. So the guest connects to the bridge, a process that
 * holds the connection as long as the machine runs, and finds a switch for it again and again.
 *
 *	ours	the connection is handed over to the switch (meeting_hand_over()): no frame goes through the bridge
 *	another	one of vde2 or uml-utilities (network/vde.h). A child, the wire, takes a port of the switch, enters a cage in which it can send and
 *		receive on its two sockets and nothing else, and moves frames until one side ends
 *
 * On a wire, what the switch does not take at once waits in the guest; what the guest does not is lost to it: no guest can hold up a switch for
 * others. One frame is held at most; those that are no Ethernet frames by their length are dropped. Frames are not looked into: addresses are the switch's business. */
#ifndef MACHINE_BRIDGE_H
#define MACHINE_BRIDGE_H

#include <sys/types.h>

#include "base/err.h"

#define BRIDGE_FRAME_LEAST 14
#define BRIDGE_FRAME_MOST 1518 /* bytes: with a VLAN's tag */

struct bridge_switch {
	const char *socket; /* of a switch of ours, whichever listens there; or NULL: */
	const char *vde;    /* of another */
	const char *name;   /* the guest's, for ours */
};

/* Listens at path, for the guest, and starts the bridge, which ends with this process. Where a switch that is not ours gives no port, that is
 * said now, and 0 not returned. messages: as log_to() has it. Call while the process has one thread. */
int bridge_start(const char *path, const struct bridge_switch *to, int messages, pid_t *pid, struct err *e);

/* Ends it, and waits. -1: there is none. */
void bridge_stop(pid_t pid);

#endif
