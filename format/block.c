/* Contexts are large (150 KiB to decompress) and slow to make. Each thread that compresses keeps one, found through a pthread key, whose
 * destructor releases it when the thread ends. Those to decompress are shared: there may be a hundred threads that do it now and then,
 * but only as many at the same time as there are processors get on with it, so DECODERS are enough, and a thread waits for one.
 *
 * What arrives is hostile. Before anything is decompressed: the frame's magic number (no legacy, no
 * skippable frames), its claimed content size, and that it ends where the data ends. Decompression
 * writes straight into the caller's buffer and stops at its end, so the window size that a frame
 * asks for is never allocated. */
#include "format/block.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/text.h"

#define DECODERS 8

static struct {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	ZSTD_DCtx *spare[DECODERS]; /* kept for ever */
	unsigned spares, made;
} decoders = {.lock = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER};

static pthread_once_t encoder_once = PTHREAD_ONCE_INIT;
static pthread_key_t encoder_key;
static int encoder_failed;

static void free_encoder(void *p)
{
	ZSTD_freeCCtx(p);
}

static void make_key(void)
{
	encoder_failed = pthread_key_create(&encoder_key, free_encoder);
}

static ZSTD_CCtx *thread_encoder(void)
{
	ZSTD_CCtx *c;

	pthread_once(&encoder_once, make_key);
	if (encoder_failed)
		return NULL;
	c = pthread_getspecific(encoder_key);
	if (c)
		return c;
	c = ZSTD_createCCtx();
	if (c && pthread_setspecific(encoder_key, c)) {
		ZSTD_freeCCtx(c);
		return NULL;
	}
	return c;
}

/* NULL: no memory. */
static ZSTD_DCtx *take_decoder(void)
{
	ZSTD_DCtx *d = NULL;

	pthread_mutex_lock(&decoders.lock);
	while (!decoders.spares && decoders.made == DECODERS)
		pthread_cond_wait(&decoders.freed, &decoders.lock);
	if (decoders.spares) {
		d = decoders.spare[--decoders.spares];
	} else {
		d = ZSTD_createDCtx();
		decoders.made += d != NULL;
	}
	pthread_mutex_unlock(&decoders.lock);
	return d;
}

static void give_decoder(ZSTD_DCtx *d)
{
	pthread_mutex_lock(&decoders.lock);
	decoders.spare[decoders.spares++] = d;
	pthread_cond_signal(&decoders.freed);
	pthread_mutex_unlock(&decoders.lock);
}

void block_path(const struct hash *h, char out[BLOCK_PATH_MAX])
{
	static const char folder[] = "blocks/";
	char *at = out + sizeof(folder) - 1;

	memcpy(out, folder, sizeof(folder) - 1);
	hex_encode(at, h->bytes, 1);
	at[2] = '/';
	hex_encode(at + 3, h->bytes, HASH_LEN);
}

int64_t block_claimed_len(const void *frame, size_t frame_len, struct err *e)
{
	static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
	unsigned long long claimed;

	if (frame_len < sizeof(magic) || memcmp(frame, magic, sizeof(magic)) != 0)
		return err_set(e, -EBADMSG, "not a zstd frame (%zu bytes)", frame_len);
	claimed = ZSTD_getFrameContentSize(frame, frame_len);
	if (claimed == ZSTD_CONTENTSIZE_ERROR)
		return err_set(e, -EBADMSG, "damaged zstd frame header");
	if (claimed == ZSTD_CONTENTSIZE_UNKNOWN)
		return err_set(e, -EBADMSG, "the zstd frame does not say its content size");
	if (!claimed || claimed > BLOCK_LEN_MAX)
		return err_set(e, -EBADMSG, "the zstd frame claims %llu bytes, a block has 1 to %u",
			claimed, BLOCK_LEN_MAX);
	return (int64_t)claimed;
}

int block_unpack(void *out, size_t len, const void *frame, size_t frame_len, struct err *e)
{
	ZSTD_DCtx *ctx;
	int64_t claimed;
	size_t n;

	claimed = block_claimed_len(frame, frame_len, e);
	if (claimed < 0)
		return (int)claimed;
	if ((uint64_t)claimed != len)
		return err_set(e, -EBADMSG,
			"wrong length: the zstd frame claims %lld bytes, %zu expected",
			(long long)claimed, len);

	n = ZSTD_findFrameCompressedSize(frame, frame_len);
	if (ZSTD_isError(n))
		return err_set(
			e, -EBADMSG, "damaged or truncated zstd frame: %s", ZSTD_getErrorName(n));
	if (n != frame_len)
		return err_set(e, -EBADMSG, "%zu bytes behind the zstd frame", frame_len - n);

	ctx = take_decoder();
	if (!ctx)
		return err_set(e, -ENOMEM, "no memory to decompress");
	n = ZSTD_decompressDCtx(ctx, out, len, frame, frame_len);
	give_decoder(ctx);
	if (ZSTD_isError(n)) {
		if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
			return err_set(e, -ENOMEM, "no memory to decompress");
		return err_set(e, -EBADMSG, "damaged zstd frame: %s", ZSTD_getErrorName(n));
	}
	if (n != len)
		return err_set(e, -EBADMSG, "wrong length: %zu bytes, %zu expected", n, len);
	return 0;
}

int block_decode(void *out, size_t len, const struct hash *hash, const void *frame,
	size_t frame_len, struct err *e)
{
	struct hash found;
	int r = block_unpack(out, len, frame, frame_len, e);

	if (r < 0)
		return r;
	hash_of(&found, out, len);
	if (!hash_equal(&found, hash)) {
		char hex[HASH_HEX_MAX];

		hash_hex(&found, hex);
		return err_set(e, -EBADMSG, "wrong content: its SHA-256 is %s", hex);
	}
	return 0;
}

int block_encode(struct buf *out, const void *data, size_t len, int level, struct err *e)
{
	ZSTD_CCtx *ctx;
	size_t n;
	int r;

	if (!len || len > BLOCK_LEN_MAX)
		return err_set(e, -EINVAL, "a block of %zu bytes: 1 to %u are possible", len,
			BLOCK_LEN_MAX);
	if (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel())
		return err_set(e, -EINVAL, "no such zstd level: %d (highest: %d)", level,
			ZSTD_maxCLevel());

	out->len = 0;
	r = buf_reserve(out, ZSTD_compressBound(len));
	if (r < 0)
		return err_set(e, r, "no room for a compressed block of %zu bytes", len);
	ctx = thread_encoder();
	if (!ctx)
		return err_set(e, -ENOMEM, "no memory to compress");
	n = ZSTD_compressCCtx(ctx, out->data, ZSTD_compressBound(len), data, len, level);
	if (ZSTD_isError(n))
		return err_set(e,
			ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO,
			"cannot compress: %s", ZSTD_getErrorName(n));
	out->len = n;
	return 0;
}
