/* Blocks: one plain zstd frame with its content size in the header, named by the SHA-256 of the uncompressed bytes.
 * File name inside a store: blocks/ab/abcdef... Contexts are kept per thread: any thread may call. */
#ifndef FORMAT_BLOCK_H
#define FORMAT_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

#define BLOCK_LEN_MAX (4u << 20) /* uncompressed bytes of any block, index nodes included */
/* Bytes of a block file: what zstd may need for incompressible data of BLOCK_LEN_MAX (ZSTD_COMPRESSBOUND). */
#define BLOCK_FILE_MAX (BLOCK_LEN_MAX + (BLOCK_LEN_MAX >> 8) + 64)

#define BLOCK_PATH_MAX 96
/* "blocks/ab/abcdef..." */
void block_path(const struct hash *h, char out[BLOCK_PATH_MAX]);

/* The content size that a frame's header claims; -EBADMSG where there is none, where it is 0 or above BLOCK_LEN_MAX, or where
 * the data is no zstd frame. For callers that do not know a length beforehand (verify). */
int64_t block_claimed_len(const void *frame, size_t frame_len, struct err *e);

/* Decompresses exactly one frame of exactly `len` uncompressed bytes into out (room for len bytes). The frame's
 * claimed size is compared with len before anything is decompressed; bytes behind the frame are an error.
 * -EBADMSG with a sentence that says what is wrong. out's content is undefined on failure. */
int block_unpack(void *out, size_t len, const void *frame, size_t frame_len, struct err *e);

/* The same, and checks the hash of what came out. */
int block_decode(void *out, size_t len, const struct hash *hash, const void *frame, size_t frame_len, struct err *e);

/* Compresses data into one frame at the given zstd level, replacing what `out` held (its cap must be ≥ BLOCK_FILE_MAX). */
int block_encode(struct buf *out, const void *data, size_t len, int level, struct err *e);

#endif
