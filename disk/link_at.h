/* A link to another version. Any thread. */
#ifndef DISK_LINK_AT_H
#define DISK_LINK_AT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* The link, with `version` (0: without one) instead of what it says; in_store: it names an image in a store. A path becomes absolute.
 * Allocated; NULL and e set. */
char *link_at(const char *link, bool in_store, uint64_t version, struct err *e);

#endif
