/* The wire between a guest and a switch that is not ours (network/vde.h). User-Mode Linux connects to a Unix socket with one frame a
 * message (its transport bess), and has since Linux 6.16 no other device that speaks with these switches.
 *
 *	the bridge	takes a connection of the guest's, starts a wire for it, and waits for that; touches no frame
 *	a wire		takes a port of the switch, enters a cage in which it can send and receive on its two sockets and nothing
 *			else, and moves frames until one side ends. So a guest that switches its device off and on has a port of the
 *			switch that is there then
 *
 * What the switch does not take at once waits in the guest; what the guest does not is lost to it: no guest can hold up a switch for
 * others. One frame is held at most; those that are no Ethernet frames by their length are dropped. Frames are not looked into: addresses are the switch's business. */
#ifndef MACHINE_BRIDGE_H
#define MACHINE_BRIDGE_H

#include <sys/types.h>

#include "base/err.h"

#define BRIDGE_FRAME_LEAST 14
#define BRIDGE_FRAME_MOST 1518 /* bytes: with a VLAN's tag */

/* Listens at path, for the guest, and starts the bridge to the switch; it ends with this process. Where the switch gives no port, that is
 * said now, and 0 not returned. Call while the process has one thread. */
int bridge_start(const char *path, const char *vde, pid_t *pid, struct err *e);

/* Ends it, and waits. -1: there is none. */
void bridge_stop(pid_t pid);

#endif
