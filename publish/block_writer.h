/* Putting blocks into a store: what it has already is neither compressed nor written again. A block
 * is written under a temporary name and renamed, so that a name always stands for a whole block. */
#ifndef PUBLISH_BLOCK_WRITER_H
#define PUBLISH_BLOCK_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"
#include "publish/store.h"

struct block_writer; /* what one publish has put so far */

struct block_stats {
	uint64_t blocks;     /* distinct blocks */
	uint64_t bytes;      /* compressed bytes of them */
	uint64_t new_blocks; /* of these, written by this publish */
	uint64_t new_bytes;  /* compressed */
};

/* A writer into an open store (store_open_publish()), at a zstd level. NULL: no memory. */
struct block_writer *block_writer_new(struct store *s, int level);

/* Stores a block under its hash unless it is there: then nothing is compressed. scratch: a buffer
 * of the calling thread with the cap BLOCK_FILE_MAX. Any thread. */
int block_writer_put(struct block_writer *w, const struct hash *hash, const void *data, size_t len,
	struct buf *scratch, struct err *e);

/* Counts a block that the store must have already: -ENOENT where it has not. Any thread. */
int block_writer_note(struct block_writer *w, const struct hash *hash, struct err *e);

void block_writer_stats(struct block_writer *w, struct block_stats *out); /* any thread */
void block_writer_free(struct block_writer *w);

#endif
