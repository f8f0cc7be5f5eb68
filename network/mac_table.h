/* Which Ethernet address is behind which port. Bounded, for each port and so as a whole; an address
 * that nobody has sent from for a while makes room for others of the same port. To others it stays
 * closed: nobody shall be somebody else who is only silent. One thread. */
#ifndef NETWORK_MAC_TABLE_H
#define NETWORK_MAC_TABLE_H

#include <stdint.h>

#define MAC_PER_PORT                                                                               \
	8 /* a guest may have guests of its own, behind a bridge; a flood of new addresses ends    \
	     here */
#define MAC_AGE_MS 300000 /* until it may be forgotten */
#define MAC_TABLE_PORTS 64

struct mac_table { /* initialise with {0} */
	struct mac_entry {
		uint8_t address[6];
		uint64_t seen_ms; /* 0: free */
	} entries[MAC_TABLE_PORTS][MAC_PER_PORT];
};

/* A frame from address came in at port. 0; -EADDRINUSE: it is another port's, -ENOSPC: the port has
 * as many as it may. */
int mac_table_learn(struct mac_table *t, unsigned port, const uint8_t *address, uint64_t now_ms);

/* The port behind which address is, or -1. */
int mac_table_find(const struct mac_table *t, const uint8_t *address);

/* The port's guest has left. */
void mac_table_forget(struct mac_table *t, unsigned port);

#endif
