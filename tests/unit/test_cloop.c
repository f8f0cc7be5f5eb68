/* cloop: a small file made here, and every way in which its numbers can be wrong. */
#include "random.h"

#include <endian.h>
#include <errno.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "format/cloop.h"

#define BLOCK 1024
#define BLOCKS 3
#define TABLE_END (CLOOP_HEAD_LEN + (BLOCKS + 1) * 8)

static void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

static void make_head(uint8_t head[CLOOP_HEAD_LEN], uint32_t block_size, uint32_t blocks)
{
	memset(head, 0, CLOOP_HEAD_LEN);
	strcpy((char *)head, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t "
			     "iso9660 /dev/cloop $1\n");
	put32(head + 128, block_size);
	put32(head + 132, blocks);
}

static void test_whole_file(void **state)
{
	struct random r = random_start(7);
	uint8_t file[TABLE_END + BLOCKS * 2 * BLOCK], data[BLOCKS * BLOCK], back[BLOCK];
	struct err e = ERR_INIT;
	struct cloop_head h;
	uint64_t at = TABLE_END;

	make_head(file, BLOCK, BLOCKS);
	random_fill(&r, data, sizeof(data));
	memset(data + BLOCK, 0, BLOCK);
	for (int i = 0; i < BLOCKS; i++) {
		uLongf len = 2 * BLOCK;

		put64(file + CLOOP_HEAD_LEN + i * 8, at);
		assert_int_equal(compress(file + at, &len, data + i * BLOCK, BLOCK), Z_OK);
		at += len;
	}
	put64(file + CLOOP_HEAD_LEN + BLOCKS * 8, at);

	assert_true(cloop_probe(file, sizeof(file)));
	assert_int_equal(cloop_head_parse(&h, file, sizeof(file), at, &e), 0);
	assert_int_equal(h.block_size, BLOCK);
	assert_int_equal(h.blocks, BLOCKS);
	for (int i = 0; i < BLOCKS; i++) {
		uint64_t offset;
		uint32_t len;

		assert_int_equal(
			cloop_block_range(&h, file + CLOOP_HEAD_LEN + i * 8, at, &offset, &len, &e),
			0);
		assert_int_equal(cloop_block_decode(back, BLOCK, file + offset, len, &e), 0);
		assert_memory_equal(back, data + i * BLOCK, BLOCK);
	}
}

static void test_probe(void **state)
{
	uint8_t head[CLOOP_HEAD_LEN];

	make_head(head, BLOCK, BLOCKS);
	assert_true(cloop_probe(head, sizeof(head)));
	assert_false(cloop_probe(head, sizeof(head) - 1));
	assert_false(cloop_probe(head, 0));
	memset(head, 0, sizeof(head));
	assert_false(cloop_probe(head, sizeof(head)));
	memcpy(head + 116, "#V2.0 Format", 12); /* the last place that is inside the preamble */
	assert_true(cloop_probe(head, sizeof(head)));
	memset(head, 0, sizeof(head));
	memcpy(head + 117, "#V2.0 Format", 12);
	assert_false(cloop_probe(head, sizeof(head)));
}

static void test_heads(void **state)
{
	static const struct {
		uint32_t block_size, blocks;
		uint64_t file_size;
		int result;
	} cases[] = {
		{512, 1, CLOOP_HEAD_LEN + 16, 0},
		{512, 1, CLOOP_HEAD_LEN + 15, -EINVAL},
		{65536, 1000, 1 << 20, 0},
		{0, 1, 1 << 20, -EINVAL},
		{511, 1, 1 << 20, -EINVAL},
		{513, 1, 1 << 20, -EINVAL},
		{CLOOP_BLOCK_MAX, 1, 1 << 20, 0},
		{CLOOP_BLOCK_MAX + 512, 1, 1 << 20, -EINVAL},
		{UINT32_MAX & ~511u, 1, 1 << 20, -EINVAL},
		{65536, 0, 1 << 20, -EINVAL},
		{65536, CLOOP_BLOCKS_MAX, 1ULL << 40, 0},
		{65536, CLOOP_BLOCKS_MAX, 1 << 20, -EINVAL},
		{65536, CLOOP_BLOCKS_MAX + 1, 1ULL << 40, -EINVAL},
		{65536, UINT32_MAX, UINT64_MAX, -EINVAL},
		{65536, 1000, 0, -EINVAL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t head[CLOOP_HEAD_LEN];
		struct err e = ERR_INIT;
		struct cloop_head h;

		make_head(head, cases[i].block_size, cases[i].blocks);
		assert_int_equal(cloop_head_parse(&h, head, sizeof(head), cases[i].file_size, &e),
			cases[i].result);
		assert_int_equal(
			cloop_head_parse(&h, head, sizeof(head) - 1, cases[i].file_size, &e),
			-EINVAL);
		assert_non_null(strstr(e.text, "not a cloop file"));
	}
}

static void test_ranges(void **state)
{
	static const struct cloop_head h = {.block_size = BLOCK, .blocks = BLOCKS};
	static const struct {
		uint64_t start, end;
		int result;
	} cases[] = {
		{TABLE_END, TABLE_END + 1, 0},
		{TABLE_END, TABLE_END, -EBADMSG},
		{TABLE_END + 1, TABLE_END, -EBADMSG},
		{TABLE_END - 1, TABLE_END + 10, -EBADMSG},
		{0, TABLE_END + 10, -EBADMSG},
		{0, 0, -EBADMSG},
		{9990, 10000, 0},
		{9990, 10001, -EBADMSG},
		{10000, 10001, -EBADMSG},
		{TABLE_END, TABLE_END + BLOCK + 65, 0},
		{TABLE_END, TABLE_END + BLOCK + 66, -EBADMSG},
		{TABLE_END, UINT64_MAX, -EBADMSG},
		{UINT64_MAX - 1, UINT64_MAX, -EBADMSG},
		{UINT64_MAX, 0, -EBADMSG},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err e = ERR_INIT;
		uint8_t entries[16];
		uint64_t offset = 0;
		uint32_t len = 0;

		put64(entries, cases[i].start);
		put64(entries + 8, cases[i].end);
		assert_int_equal(
			cloop_block_range(&h, entries, 10000, &offset, &len, &e), cases[i].result);
		if (!cases[i].result) {
			assert_true(
				offset == cases[i].start && len == cases[i].end - cases[i].start);
			continue;
		}
		assert_true(e.text[0]);
	}
}

static void test_damaged_blocks(void **state)
{
	uint8_t data[BLOCK] = "some data", packed[2 * BLOCK], out[BLOCK + 512];
	uLongf len = sizeof(packed);
	struct err e = ERR_INIT;

	assert_int_equal(compress(packed, &len, data, BLOCK), Z_OK);
	assert_int_equal(cloop_block_decode(out, BLOCK, packed, len, &e), 0);
	assert_int_equal(
		cloop_block_decode(out, BLOCK - 512, packed, len, &e), -EBADMSG); /* too long */
	assert_int_equal(
		cloop_block_decode(out, BLOCK + 512, packed, len, &e), -EBADMSG); /* too short */
	assert_non_null(strstr(e.text, "512 bytes missing"));
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(cloop_block_decode(out, BLOCK, packed, cut, &e), -EBADMSG);
	assert_int_equal(cloop_block_decode(out, BLOCK, packed, sizeof(packed), &e),
		-EBADMSG);    /* absurdly long */
	packed[len - 1] ^= 1; /* Adler-32 */
	assert_int_equal(cloop_block_decode(out, BLOCK, packed, len, &e), -EBADMSG);
	memset(packed, 0xff, 100);
	assert_int_equal(cloop_block_decode(out, BLOCK, packed, 100, &e), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_file),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_damaged_blocks),
	};

	return cmocka_run_group_tests_name("cloop", tests, NULL, NULL);
}
