/* A boot pack for those who do not play it: its head alone, which tells the pages that it has, or
 * all of it. */
#ifndef DISK_PACK_FETCH_H
#define DISK_PACK_FETCH_H

#include "fetch/origin.h"
#include "format/pack.h"

/* Fetches it, and checks it. The caller frees *out by pack_free(). Errors as of origin_get(); waits
 * for the network as that does. */
int pack_fetch_head(struct pack *out, const struct profile *profile, uint64_t image_size,
	struct origin *origin, struct err *e);

/* Fetches all of it into a file, checked. Errors as of origin_get() with its `once`. */
int pack_fetch_all(int fd, const struct profile *profile, uint64_t image_size,
	struct origin *origin, struct err *e);

#endif
