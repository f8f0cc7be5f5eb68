/* Recognises readers that go through the disk in order, or in equal steps, and says what to fetch before they ask. Several readers at once are told
 * apart by where they are. No I/O, no locks: one thread at a time. */
#ifndef DISK_READAHEAD_H
#define DISK_READAHEAD_H

#include <stdint.h>

#define READAHEAD_STREAMS 16
#define READAHEAD_AFTER (1u << 20) /* bytes that a stream has read when it is believed: programs start with shorter runs */
#define READAHEAD_MOST (8u << 20)    /* bytes ahead at the most: 100 Mbit/s × 100 ms of twofold compressed data, three times */
#define READAHEAD_SLACK (256u << 10) /* the kernel's own readahead asks out of order by about this much */

#define READAHEAD_STEPPERS 8
#define READAHEAD_SINGLES 16 /* reads among which those of a stepper are looked for */
#define READAHEAD_STEPS_AHEAD 8
#define READAHEAD_STEP_MOST (256u << 20) /* bytes */

struct readahead_stepper { /* a reader whose reads are always as far apart */
	uint64_t last; /* where its last read began */
	int64_t step;  /* bytes from one to the next */
	uint64_t used; /* 0: there is none */
};

struct readahead_stream {
	uint64_t next;	/* where the reader is */
	uint64_t start; /* where it began */
	uint64_t ahead; /* up to where it was fetched */
	uint64_t used; /* for finding the least recently used one */
};

struct readahead {
	struct readahead_stream streams[READAHEAD_STREAMS];
	struct readahead_stepper steppers[READAHEAD_STEPPERS];
	uint64_t singles[READAHEAD_SINGLES]; /* where the latest reads began that nobody continued: a ring */
	unsigned single_count;
	uint64_t clock;
};

/* Tells it of a read. Returns the bytes to fetch from *from on; 0: nothing. The range may reach behind the disk's end. */
uint64_t readahead_note(struct readahead *r, uint64_t offset, uint64_t len, uint64_t *from);

#endif
