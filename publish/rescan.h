/* The pieces of a changed disk, without looking at all of it: what the scanner (scanner.h) would find in the whole of it, from the pieces that it
 * had before and the ranges that were written. Only around these is it scanned again.
 *
 * Why the result is the same. Where the scanner cuts depends on the bytes in front of a border, and on CHUNK_MIN bytes behind it: whether a hole
 * begins there. So all old pieces that end RESCAN_MARGIN bytes before a change are pieces of the new disk, too; and the scanner, started
 * at an old border (scanner_start()), goes on as if it had come from the disk's beginning. Behind the change the new scan is followed
 * until it makes a border where an old one was: from there on both see the same bytes, and would make the same borders up to the next change, if there are
 * RESCAN_MARGIN bytes between. Pieces are cut by content, so this happens after some pieces.
 *
 * An old index that another chunker made gives other pieces, as good: the bytes are right in any case. */
#ifndef PUBLISH_RESCAN_H
#define PUBLISH_RESCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "format/index.h"
#include "publish/scanner.h"

#define RESCAN_MARGIN (CHUNK_MIN + SCANNER_PAGE)

struct rescan_range {
	uint64_t start, end; /* bytes */
	bool zeros;	     /* they are known to be zeros */
};

/* Where it all comes from. All return 0 (or 1 where that is said) or -errno with e set, which ends the scan. */
struct rescan_source {
	/* The next piece of the old disk, in disk order. 1; 0: that was all. */
	int (*entry)(void *context, struct index_entry *out, struct err *e);
	/* The first range of changed bytes that ends behind `from`; what lies before it may be cut off. Ranges may touch each other. 1; 0:
	 * there is none. */
	int (*change)(void *context, uint64_t from, struct rescan_range *out, struct err *e);
	/* Bytes of an old piece, which is no hole. */
	int (*read_old)(void *context, const struct index_entry *entry, uint64_t skip, void *buf, size_t len, struct err *e);
	/* Changed bytes, of a range without zeros. */
	int (*read_new)(void *context, void *buf, size_t len, uint64_t offset, struct err *e);
	void *context;
};

/* Where it goes: pieces in disk order, which may be holes that touch each other. */
struct rescan_sink {
	/* An old one, taken over. */
	int (*keep)(void *context, const struct index_entry *entry, struct err *e);
	/* Scanned anew; a slab is asked for at the beginning of each scan. */
	const struct scanner_ops *ops;
	void *context;
};

struct rescan_stats {
	uint64_t scanned; /* bytes, holes not counted */
	uint64_t changed; /* of them, those in changed ranges */
};

/* One thread. */
int rescan(const struct rescan_source *from, const struct rescan_sink *to, struct rescan_stats *stats, struct err *e);

#endif
