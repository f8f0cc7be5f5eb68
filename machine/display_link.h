/* The way of a guest to its display: a network device of its own, vec1, with nothing on it but an X server. A child takes frames of the guest at a socket
 * (SOCK_SEQPACKET, as the network's switch), and its libslirp leads connections to one address and port to the X server's Unix socket, and all
 * others nowhere. The guest's frames are hostile, so the child is in a cage, and where it can be in a folder with nothing but that socket in it. */
#ifndef MACHINE_DISPLAY_LINK_H
#define MACHINE_DISPLAY_LINK_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Addresses of a network that is for documentation, so that no real one has them. */
#define DISPLAY_LINK_GUEST "192.0.2.15/24"
#define DISPLAY_LINK_HOST "192.0.2.4"

/* Starts it; the guest connects to DIR/display, and its X clients to display DISPLAY_LINK_HOST:0. number: of the X server. isolated: the process has a mount
 * namespace of its own. messages: as log_to() has it. Returns the child's pid; ending it is ending the link. */
pid_t display_link_start(const char *dir, unsigned number, bool isolated, int messages, struct err *e);

#endif
