/* Dividing the memory: see budget.h. */
#include "disk/budget.h"

#define BUFFERS_SHARE 8 /* the default limit: 8 reads of 1 MiB at once, or 64 of 128 KiB */
#define PACK_SHARE 4
#define NODES_SHARE 4	/* of the rest */

void budget_divide(struct budget *out, size_t limit, bool pack)
{
	size_t rest;

	if (limit < MEMORY_LIMIT_LEAST)
		limit = MEMORY_LIMIT_LEAST;
	out->buffers = limit / BUFFERS_SHARE;
	rest = limit - BUDGET_FIXED - out->buffers;
	out->nodes = rest / NODES_SHARE;
	out->pack = pack ? (rest - out->nodes) / PACK_SHARE : 0;
	out->chunks = rest - out->nodes - out->pack;
}
