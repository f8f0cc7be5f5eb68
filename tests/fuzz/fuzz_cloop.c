/* A whole cloop file: head, every offset, every block. */
#include "fuzz.h"

#include <errno.h>

#include "base/cleanup.h"
#include "format/cloop.h"

#define BLOCK_MOST (1u << 20) /* larger blocks are not inflated here: they only cost time */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *out = NULL;
	struct err e = ERR_INIT;
	struct cloop_head h;
	int r;

	r = cloop_head_parse(&h, data, size, size, &e);
	require(r == 0 || (r == -EINVAL && e.text[0]));
	if (r < 0)
		return 0;
	require(h.block_size && h.block_size % 512 == 0 && h.block_size <= CLOOP_BLOCK_MAX);
	require(h.blocks && h.blocks <= CLOOP_BLOCKS_MAX);
	if (h.block_size <= BLOCK_MOST)
		out = malloc(h.block_size);
	for (uint32_t i = 0; i < h.blocks; i++) {
		uint64_t offset;
		uint32_t len;

		r = cloop_block_range(
			&h, data + CLOOP_HEAD_LEN + (size_t)i * 8, size, &offset, &len, &e);
		require(r == 0 || (r == -EBADMSG && e.text[0]));
		if (r < 0)
			continue;
		require(len && offset >= CLOOP_HEAD_LEN + ((uint64_t)h.blocks + 1) * 8 &&
			offset + len <= size);
		if (!out)
			continue;
		r = cloop_block_decode(out, h.block_size, data + offset, len, &e);
		require(r == 0 || r == -EBADMSG);
	}
	return 0;
}
