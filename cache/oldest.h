/* The oldest files of many, in bounded memory: of all that are added, the `room` least recently
 * used are kept. One thread. */
#ifndef CACHE_OLDEST_H
#define CACHE_OLDEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/sha256.h"

struct old_file {
	int64_t used; /* milliseconds since 1970 */
	uint64_t size;
	struct hash hash;
	enum old_kind { OLD_BLOCK, OLD_PACK, OLD_PACK_PART } kind;
};

struct oldest {
	struct old_file
		*files; /* a heap, the youngest first; after oldest_sort() the oldest first */
	size_t count, allocated, room;
};

void oldest_init(struct oldest *o, size_t room);
/* Keeps f if it is among the oldest (and memory allows). */
void oldest_add(struct oldest *o, const struct old_file *f);
/* Sorts by age, the oldest first. Nothing can be added afterwards. */
void oldest_sort(struct oldest *o);
void oldest_free(struct oldest *o);

#endif
