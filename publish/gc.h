/* Collecting garbage in a store: block files that no kept manifest names, and what dead publishers
 * left. */
#ifndef PUBLISH_GC_H
#define PUBLISH_GC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct gc_options {
	uint64_t keep; /* newest versions to keep of each image; older manifests are removed. 0:
			  keep all */
	uint64_t keep_seconds; /* and keep, too, what was the newest version within this time: it is in use */
	bool dry_run;  /* remove nothing, only count */
};

struct gc_result {
	uint64_t versions_removed;
	uint64_t blocks_removed, bytes_removed; /* block files, and boot packs */
	uint64_t other_removed;                 /* temporary files */
	uint64_t blocks_kept, bytes_kept;
};

/* Waits until no publisher works in the store, and holds new ones off. Nothing is removed where any
 * manifest or index node cannot be read or understood: then it is not known what is garbage. */
int gc_store(const char *path, const struct gc_options *o, struct gc_result *out, struct err *e);

#endif
