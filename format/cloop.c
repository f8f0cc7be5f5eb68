/* Block size, number of blocks and offsets are checked before anybody allocates or reads by them.
 * zlib checks the content (Adler-32), which finds accidents, not forgery: a cloop file is as
 * trustworthy as the way it came. */
#include "format/cloop.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include <zlib.h>

#define PREAMBLE_LEN 128
#define SECTOR 512

static uint64_t table_end(const struct cloop_head *h)
{
	return CLOOP_HEAD_LEN + ((uint64_t)h->blocks + 1) * 8;
}

/* What a block can grow to: compressBound() for zlib's own streams, and what the cloop driver
 * itself allows. */
static uint64_t compressed_max(uint32_t block_size)
{
	return (uint64_t)block_size + block_size / 1000 + 64;
}

bool cloop_probe(const void *data, size_t len)
{
	static const char mark[] = "#V2.0 Format";

	return len >= CLOOP_HEAD_LEN && memmem(data, PREAMBLE_LEN, mark, sizeof(mark) - 1);
}

int cloop_head_parse(
	struct cloop_head *out, const void *data, size_t len, uint64_t file_size, struct err *e)
{
	const uint8_t *p = data;
	struct cloop_head h;

	if (!cloop_probe(data, len))
		return err_set(e, -EINVAL, "not a cloop file of format V2.0");
	h.block_size = load_be32(p + PREAMBLE_LEN);
	h.blocks = load_be32(p + PREAMBLE_LEN + 4);
	if (!h.block_size || h.block_size % SECTOR || h.block_size > CLOOP_BLOCK_MAX)
		return err_set(e, -EINVAL, "cloop block size %u is not a multiple of %u up to %u",
			h.block_size, SECTOR, CLOOP_BLOCK_MAX);
	if (!h.blocks || h.blocks > CLOOP_BLOCKS_MAX)
		return err_set(e, -EINVAL, "cloop file of %u blocks: 1 to %u are possible",
			h.blocks, CLOOP_BLOCKS_MAX);
	if (table_end(&h) > file_size)
		return err_set(e, -EINVAL,
			"cloop file is truncated: its table of %u blocks does not fit into %llu "
			"bytes",
			h.blocks, (unsigned long long)file_size);
	*out = h;
	return 0;
}

int cloop_block_range(const struct cloop_head *h, const uint8_t entries[16], uint64_t file_size,
	uint64_t *offset, uint32_t *len, struct err *e)
{
	uint64_t start = load_be64(entries), end = load_be64(entries + 8);

	if (start < table_end(h) || end <= start)
		return err_set(e, -EBADMSG, "damaged cloop offset table: block from %llu to %llu",
			(unsigned long long)start, (unsigned long long)end);
	if (end > file_size)
		return err_set(e, -EBADMSG,
			"cloop file is truncated: a block ends at %llu, the file at %llu",
			(unsigned long long)end, (unsigned long long)file_size);
	if (end - start > compressed_max(h->block_size))
		return err_set(e, -EBADMSG,
			"damaged cloop offset table: %llu compressed bytes for a block of %u",
			(unsigned long long)(end - start), h->block_size);
	*offset = start;
	*len = (uint32_t)(end - start); /* compressed_max(CLOOP_BLOCK_MAX) is far below 4 GiB */
	return 0;
}

int cloop_block_decode(void *out, uint32_t block_size, const void *data, size_t len, struct err *e)
{
	z_stream z = {.next_in = (Bytef *)data,
		.avail_in = (uInt)len,
		.next_out = out,
		.avail_out = block_size};
	int r;

	if (len > compressed_max(block_size))
		return err_set(e, -EBADMSG, "%zu compressed bytes for a cloop block of %u", len,
			block_size);
	if (inflateInit(&z) != Z_OK)
		return err_set(e, -ENOMEM, "no memory to inflate");
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	if (r == Z_MEM_ERROR)
		return err_set(e, -ENOMEM, "no memory to inflate");
	if (r != Z_STREAM_END)
		return err_set(e, -EBADMSG, "damaged cloop block: %s",
			r == Z_BUF_ERROR ? "wrong length" : "bad zlib data");
	if (z.avail_out)
		return err_set(e, -EBADMSG, "damaged cloop block: %u bytes missing of %u",
			z.avail_out, block_size);
	return 0;
}
