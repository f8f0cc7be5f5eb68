/* block_decode() with the length that the frame claims; and the same bytes as data, which must
 * survive compression. */
#include "fuzz.h"

#include <errno.h>

#include "base/cleanup.h"
#include "format/block.h"

static void check_frame(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	int64_t len = block_claimed_len(data, size, &e);
	_cleanup_free_ uint8_t *out = NULL;
	struct hash h = {{0}};
	int r;

	require(len == -EBADMSG || (len > 0 && len <= BLOCK_LEN_MAX));
	if (len < 0) {
		require(e.text[0]);
		return;
	}
	out = malloc((size_t)len);
	r = block_decode(out, (size_t)len, &h, data, size, &e);
	require(r == -EBADMSG && e.text[0]); /* nothing hashes to zero */
	if (!strstr(e.text, "wrong content"))
		return;
	hash_of(&h, out, (size_t)len);
	require(block_decode(out, (size_t)len, &h, data, size, NULL) == 0);
}

static void check_round_trip(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf frame = BUF_INIT(BLOCK_FILE_MAX);
	_cleanup_free_ uint8_t *out = malloc(size ? size : 1);
	struct hash h;

	if (!size) {
		require(block_encode(&frame, data, size, 1, NULL) == -EINVAL);
		return;
	}
	hash_of(&h, data, size);
	require(block_encode(&frame, data, size, 1, NULL) == 0);
	require(block_decode(out, size, &h, frame.data, frame.len, NULL) == 0);
	require(!memcmp(out, data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_frame(data, size);
	check_round_trip(data, size);
	return 0;
}
