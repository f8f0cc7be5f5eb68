/* cloop, the compressed loopback image of KNOPPIX (format V2.0): 128 bytes of preamble (a shell script that holds
 * "#V2.0 Format"), u32be block size, u32be number of blocks, (blocks + 1) × u64be offsets, zlib streams; the last block
 * is padded to the block size. Facts from cloop-utils' documentation and files that it makes. Pure: no I/O. */
#ifndef FORMAT_CLOOP_H
#define FORMAT_CLOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CLOOP_HEAD_LEN 136
#define CLOOP_BLOCK_MAX (64u << 20) /* bytes; larger block sizes are refused */
#define CLOOP_BLOCKS_MAX (1u << 24) /* number; bounds the offset table to 128 MiB */

struct cloop_head {
	uint32_t block_size; /* bytes, a multiple of 512 */
	uint32_t blocks;
};

/* Do these first bytes look like a cloop file? */
bool cloop_probe(const void *data, size_t len);

/* Checks the first CLOOP_HEAD_LEN bytes. file_size (bytes) bounds the table. */
int cloop_head_parse(struct cloop_head *out, const void *data, size_t len, uint64_t file_size, struct err *e);

/* The byte offset and length of a compressed block, from its two neighbouring offset table entries (16 raw bytes).
 * Checks: ascending, behind the table, inside file_size, and not longer than zlib's bound for block_size. */
int cloop_block_range(const struct cloop_head *h, const uint8_t entries[16], uint64_t file_size, uint64_t *offset,
	uint32_t *len, struct err *e);

/* Inflates one block of exactly block_size bytes. -EBADMSG. */
int cloop_block_decode(void *out, uint32_t block_size, const void *data, size_t len, struct err *e);

#endif
