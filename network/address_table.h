/* Which address is behind which port: Ethernet's in one table, IPv6's in another. Whoever comes first
 * has it. Bounded, for each port and so as a whole; an address that nobody has sent from for a while
 * makes room for others of the same port. To others it stays closed: nobody shall be somebody else
 * who is only silent. One thread. */
#ifndef NETWORK_ADDRESS_TABLE_H
#define NETWORK_ADDRESS_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define ADDRESSES_PER_PORT                                                                         \
	8 /* a guest may have guests of its own, behind a bridge, and some IPv6 addresses; a flood \
	     of new ones ends here */
#define ADDRESS_AGE_MS 300000 /* until it may be forgotten */
#define ADDRESS_PORTS 64
#define ADDRESS_BYTES 16 /* at most */

struct address_table { /* initialise with {0} */
	struct address_entry {
		uint8_t address[ADDRESS_BYTES]; /* zeros behind it */
		uint64_t seen_ms;               /* 0: free */
	} entries[ADDRESS_PORTS][ADDRESSES_PER_PORT];
};

/* All addresses in a table have the same length, of len bytes. */

/* A frame from address came in at port. 0; -EADDRINUSE: it is another port's, -ENOSPC: the port has
 * as many as it may. */
int address_table_learn(struct address_table *t, unsigned port, const uint8_t *address, size_t len, uint64_t now_ms);

/* The port behind which address is, or -1. */
int address_table_find(const struct address_table *t, const uint8_t *address, size_t len);

/* The port's guest has left. */
void address_table_forget(struct address_table *t, unsigned port);

#endif
