/* Sources: what a virtual disk reads from. Layers compose: each is a source, some hold another. */
#ifndef DISK_SOURCE_H
#define DISK_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct source;

struct extent {
	uint64_t len; /* bytes, > 0 */
	bool hole;    /* reads as zeros, and nothing is kept or fetched for it */
};

struct source_ops {
	const char *name; /* "store", "cloop", "file", "http" */

	/* Reads exactly len > 0 bytes at offset; the range lies inside the source (source_read() checks). Blocks as long as
	 * it takes. Any thread, concurrently. 0; -EIO and its like with e set; -EINTR/-ECANCELED at shutdown. */
	int (*read)(struct source *s, void *buf, size_t len, uint64_t offset, struct err *e);

	/* A hint that the range will be read soon. May wait for metadata, not for the data; may do nothing. Any thread. May be NULL. */
	void (*prefetch)(struct source *s, uint64_t offset, uint64_t len);

	/* Is a read of this range one that was foreseen, so that nothing follows from it? Then nobody guesses what comes next. Never waits. Any thread.
	 * May be NULL: no read is. */
	bool (*expects)(struct source *s, uint64_t offset, uint64_t len);

	/* Tells what the range, len > 0 bytes inside the source, begins with: data or a hole, and how far that goes within the range. It looks
	 * at metadata only, and at a bounded part of them, so *out may end before the data or the hole does. What is not known to be a
	 * hole is data. May wait for metadata. Errors as read(). Any thread, concurrently. May be NULL: all is data. */
	int (*extent)(struct source *s, uint64_t offset, uint64_t len, struct extent *out, struct err *e);

	/* Adds what it knows about itself to a JSON object. Any thread. May be NULL. */
	void (*status)(struct source *s, json_t *out);

	/* Makes running and later reads fail soon with -ECANCELED. Any thread. May be NULL. */
	void (*cancel)(struct source *s);

	/* Frees it, and the source that it holds. No other call may be running. */
	void (*close)(struct source *s);
};

struct source {
	const struct source_ops *ops;
	uint64_t size; /* bytes; does not change */
};

/* Checks the range (-EINVAL outside), then reads. */
int source_read(struct source *s, void *buf, size_t len, uint64_t offset, struct err *e);
void source_prefetch(struct source *s, uint64_t offset, uint64_t len);
bool source_expects(struct source *s, uint64_t offset, uint64_t len);
/* Checks the range (-EINVAL outside, or empty), then asks. */
int source_extent(struct source *s, uint64_t offset, uint64_t len, struct extent *out, struct err *e);
void source_status(struct source *s, json_t *out);
void source_cancel(struct source *s);
void source_close(struct source *s); /* NULL is fine */

#endif
