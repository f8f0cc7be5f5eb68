/* Recognises readers that go through the disk in order, and says what to fetch before they ask. Several readers at once are told
 * apart by where they are. No I/O, no locks: one thread at a time. */
#ifndef DISK_READAHEAD_H
#define DISK_READAHEAD_H

#include <stdint.h>

#define READAHEAD_STREAMS 16
#define READAHEAD_AFTER (1u << 20) /* bytes that a stream has read when it is believed: programs start with shorter runs */
#define READAHEAD_MOST (8u << 20)    /* bytes ahead at the most: 100 Mbit/s × 100 ms of twofold compressed data, three times */
#define READAHEAD_SLACK (256u << 10) /* the kernel's own readahead asks out of order by about this much */

struct readahead_stream {
	uint64_t next;	/* where the reader is */
	uint64_t start; /* where it began */
	uint64_t ahead; /* up to where it was fetched */
	uint64_t used; /* for finding the least recently used one */
};

struct readahead {
	struct readahead_stream streams[READAHEAD_STREAMS];
	uint64_t clock;
};

/* Tells it of a read. Returns the bytes to fetch from *from on; 0: nothing. The range may reach behind the disk's end. */
uint64_t readahead_note(struct readahead *r, uint64_t offset, uint64_t len, uint64_t *from);

#endif
