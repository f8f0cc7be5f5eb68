/* Cuts the bytes of a disk into pieces: chunks and holes. The result depends on the bytes alone,
 *never on how they arrive: a sparse file, a copy of it full of written zeros, and a pipe give the
 *same pieces. The rule:
 *
 *	A hole is a maximal run of all-zero 4 KiB pages (counted from the disk's start; the last
 *page may be short) that is CHUNK_MIN bytes or longer. What lies between two holes is cut by
 *chunker_cut() from its own start.
 *
 * So a run of known zeros of any length costs nothing: its first CHUNK_MIN bytes are looked at like
 *all others, which opens the hole, and whole pages are then added to it by arithmetic. Cutting at
 *holes also starts the chunker afresh behind each, so that equal files behind unequal free space
 *give equal chunks.
 *
 * Bytes live in slabs that the owner hands out; pieces point into them. Pure: no I/O. One thread.
*/
#ifndef PUBLISH_SCANNER_H
#define PUBLISH_SCANNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format/chunker.h"

#define SCANNER_PAGE 4096u
#define SCANNER_SLAB (2u << 20) /* bytes of a slab */
/* What can be left uncut at a slab's end and is copied to the next: a chunk that has not found its
 * end, a run of zeros that is not yet known to be a hole, and a part of a page. */
#define SCANNER_TAIL_MAX (CHUNK_MAX + CHUNK_MIN + SCANNER_PAGE)

struct scanner_ops {
	/* A chunk of len bytes at data (inside the newest slab), or a hole of len bytes (data
	 * NULL), in disk order. 0 or -errno, which ends the scan. */
	int (*piece)(void *context, const uint8_t *data, uint64_t len, struct err *e);

	/* A fresh slab of SCANNER_SLAB bytes that begins with a copy of the `len` bytes at tail (in
	 * the slab before; len 0 the first time). After it returns the scanner does not touch the
	 * slab before. NULL and e set: ends the scan. */
	uint8_t *(*slab)(void *context, const uint8_t *tail, size_t len, struct err *e);
};

struct scanner {
	const struct scanner_ops *ops;
	void *context;
	uint8_t *slab;
	size_t fill;    /* bytes in the slab */
	size_t cut;     /* start of what has not been handed out */
	size_t scan;    /* up to here pages have been looked at; a page boundary of the disk */
	size_t run;     /* start of the run of zero pages that ends at scan, or scan itself */
	bool in_hole;   /* scan stands in a hole: cut == scan */
	uint64_t hole;  /* bytes of it so far */
	uint64_t total; /* bytes of the disk in front of what comes next */
	size_t part;    /* bytes that the page has in which the scan was started, until they are there */
};

void scanner_init(struct scanner *s, const struct scanner_ops *ops, void *context);

/* The same in the middle of a disk: `offset` is a border that a scan from its beginning makes, and the
 * pieces from there on are the same. */
void scanner_start(struct scanner *s, const struct scanner_ops *ops, void *context, uint64_t offset);

/* Where the next bytes go: *room > 0 bytes at *at. */
int scanner_room(struct scanner *s, uint8_t **at, size_t *room, struct err *e);

/* len bytes were put there. */
int scanner_fed(struct scanner *s, size_t len, struct err *e);

/* The next len bytes are known to be zero. */
int scanner_zeros(struct scanner *s, uint64_t len, struct err *e);

/* That was all: hands out what is left. */
int scanner_end(struct scanner *s, struct err *e);

#endif
