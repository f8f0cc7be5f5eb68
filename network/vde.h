/* A port of an Ethernet switch that is not ours: vde_switch (package vde2) or uml_switch (package
 * uml-utilities). The protocol is theirs, in the host's byte order:
 *
 *	control	a stream socket of the switch's: SOCKET/ctl where SOCKET is a folder (vde2), else
 *		SOCKET itself. We send one request, with the address of a socket of ours; the
 *		answer is the address of one of the switch's. The port is ours as long as the
 *		connection is open
 *	data	Ethernet frames, one a datagram, between these two addresses */
#ifndef NETWORK_VDE_H
#define NETWORK_VDE_H

#include "base/err.h"

#define VDE_ANSWER_MS 5000 /* for the switch to give us a port */

struct vde_port {
	int control; /* at its end (POLLIN, POLLHUP) the switch is gone */
	int data;    /* connected, does not block: nobody but the switch can send to it */
};

#define VDE_PORT_INIT                                                                              \
	{                                                                                          \
		.control = -1, .data = -1                                                          \
	}

/* Takes a port of the switch at path. 0; or -errno, e says what to do, and vde_close() is still to
 * be called. Makes no files. */
int vde_open(struct vde_port *p, const char *path, struct err *e);
void vde_close(struct vde_port *p);

#endif
