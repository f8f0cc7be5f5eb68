/* Addresses and ports: see mac_table.h. A search goes through the few hundred entries: free ones
 * cost one comparison. */
#include "network/mac_table.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool may_go(const struct mac_entry *m, uint64_t now_ms)
{
	return !m->seen_ms || now_ms - m->seen_ms >= MAC_AGE_MS;
}

static bool is(const struct mac_entry *m, const uint8_t *address)
{
	return m->seen_ms && !memcmp(m->address, address, sizeof(m->address));
}

int mac_table_learn(struct mac_table *t, unsigned port, const uint8_t *address, uint64_t now_ms)
{
	struct mac_entry *own = t->entries[port], *room = NULL;
	int other;

	for (unsigned i = 0; i < MAC_PER_PORT; i++) {
		if (is(&own[i], address)) {
			own[i].seen_ms = now_ms;
			return 0;
		}
		if (!room && may_go(&own[i], now_ms))
			room = &own[i];
	}
	other = mac_table_find(t, address);
	if (other >= 0)
		return -EADDRINUSE;
	if (!room)
		return -ENOSPC;
	memcpy(room->address, address, sizeof(room->address));
	room->seen_ms = now_ms;
	return 0;
}

int mac_table_find(const struct mac_table *t, const uint8_t *address)
{
	for (unsigned port = 0; port < MAC_TABLE_PORTS; port++)
		for (unsigned i = 0; i < MAC_PER_PORT; i++)
			if (is(&t->entries[port][i], address))
				return (int)port;
	return -1;
}

void mac_table_forget(struct mac_table *t, unsigned port)
{
	memset(t->entries[port], 0, sizeof(t->entries[port]));
}
