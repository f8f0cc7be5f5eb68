/* Content-defined chunking: FastCDC with normalised chunking (W. Xia et al., "FastCDC: a Fast and Efficient Content-Defined
 * Chunking Approach for Data Deduplication", USENIX ATC 2016; normalisation level 2). The gear table is derived, so that
 * everybody gets the same: entry i is the first 8 bytes, little-endian, of SHA-256 of the byte i. Pure; any thread. */
#ifndef FORMAT_CHUNKER_H
#define FORMAT_CHUNKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_MIN (16u << 10)
#define CHUNK_AVG (64u << 10)
#define CHUNK_MAX (256u << 10)

/* The length of the chunk that starts at data: between CHUNK_MIN and CHUNK_MAX. If `len` is less than CHUNK_MAX and no cut is found,
 * returns len: so give CHUNK_MAX bytes or all that is left. len > 0. */
size_t chunker_cut(const uint8_t *data, size_t len);

#endif
