/* Addresses and ports: see address_table.h. A search goes through the few hundred entries: free ones
 * cost one comparison. */
#include "network/address_table.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct key {
	uint8_t bytes[ADDRESS_BYTES];
};

static struct key key_of(const uint8_t *address, size_t len)
{
	struct key k = {0};

	memcpy(k.bytes, address, len);
	return k;
}

static bool may_go(const struct address_entry *e, uint64_t now_ms)
{
	return !e->seen_ms || now_ms - e->seen_ms >= ADDRESS_AGE_MS;
}

static bool is(const struct address_entry *e, const struct key *k)
{
	return e->seen_ms && !memcmp(e->address, k->bytes, sizeof(e->address));
}

static int find(const struct address_table *t, const struct key *k)
{
	for (unsigned port = 0; port < ADDRESS_PORTS; port++)
		for (unsigned i = 0; i < ADDRESSES_PER_PORT; i++)
			if (is(&t->entries[port][i], k))
				return (int)port;
	return -1;
}

int address_table_learn(struct address_table *t, unsigned port, const uint8_t *address, size_t len, uint64_t now_ms)
{
	struct address_entry *own = t->entries[port], *room = NULL;
	struct key k = key_of(address, len);

	for (unsigned i = 0; i < ADDRESSES_PER_PORT; i++) {
		if (is(&own[i], &k)) {
			own[i].seen_ms = now_ms;
			return 0;
		}
		if (!room && may_go(&own[i], now_ms))
			room = &own[i];
	}
	if (find(t, &k) >= 0)
		return -EADDRINUSE;
	if (!room)
		return -ENOSPC;
	memcpy(room->address, k.bytes, sizeof(room->address));
	room->seen_ms = now_ms;
	return 0;
}

int address_table_find(const struct address_table *t, const uint8_t *address, size_t len)
{
	struct key k = key_of(address, len);

	return find(t, &k);
}

void address_table_forget(struct address_table *t, unsigned port)
{
	memset(t->entries[port], 0, sizeof(t->entries[port]));
}
