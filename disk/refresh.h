/* A disk that was started from the copy of its manifest, as no server answered soon enough: asks on in a thread of its own, so that the
 * next start is from what is the newest now. The running disk stays as it is. */
#ifndef DISK_REFRESH_H
#define DISK_REFRESH_H

#include "cache/cache.h"
#include "fetch/origin.h"
#include "format/link.h"

struct refresh;

/* All are borrowed. present: the version that was started. NULL where no thread can be had: then nobody asks. */
struct refresh *refresh_start(const struct link *l, uint64_t present, struct origin *origin, struct cache *cache);

/* Ends it. A request that it has running ends by origin_cancel(), which must have been called. NULL is fine. */
void refresh_end(struct refresh *r);

#endif
