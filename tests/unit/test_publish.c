/* Publishing in pieces: the scanner's independence of how bytes arrive, hash sets, file system
 * detection, and the pipeline into a store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash_set.h"
#include "publish/block_files.h"
#include "publish/filesystem.h"
#include "publish/pipeline.h"
#include "publish/scanner.h"
#include "publish/store.h"
#include "publish/tree.h"

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void fill_random(uint8_t *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)random_below(256);
}

/* The scanner: what it hands out, written down. */

struct record {
	uint64_t len;
	bool hole;
	struct hash hash; /* of a chunk's bytes */
};

struct records {
	struct record *list;
	size_t count, room;
	uint8_t *slabs[2]; /* the old one is kept, as pieces in it may be used still */
	unsigned newest;
};

static int on_piece(void *context, const uint8_t *data, uint64_t len, struct err *e)
{
	struct records *r = context;

	assert_true(len > 0);
	if (r->count == r->room) {
		r->room = r->room ? r->room * 2 : 64;
		r->list = reallocarray(r->list, r->room, sizeof(*r->list));
		assert_non_null(r->list);
	}
	r->list[r->count] = (struct record){.len = len, .hole = !data};
	if (data)
		hash_of(&r->list[r->count].hash, data, len);
	r->count++;
	return 0;
}

static uint8_t *on_slab(void *context, const uint8_t *tail, size_t len, struct err *e)
{
	struct records *r = context;
	uint8_t *slab;

	assert_true(len <= SCANNER_TAIL_MAX);
	r->newest ^= 1;
	if (!r->slabs[r->newest])
		r->slabs[r->newest] = malloc(SCANNER_SLAB);
	slab = r->slabs[r->newest];
	assert_non_null(slab);
	memset(slab, 0xaa, SCANNER_SLAB);
	if (len)
		memcpy(slab, tail, len);
	return slab;
}

static const struct scanner_ops ops = {.piece = on_piece, .slab = on_slab};

static void records_free(struct records *r)
{
	free(r->list);
	free(r->slabs[0]);
	free(r->slabs[1]);
	memset(r, 0, sizeof(*r));
}

static void feed(struct scanner *s, const uint8_t *data, size_t len)
{
	while (len) {
		uint8_t *at;
		size_t room;

		assert_int_equal(scanner_room(s, &at, &room, NULL), 0);
		if (room > len)
			room = len;
		memcpy(at, data, room);
		assert_int_equal(scanner_fed(s, room, NULL), 0);
		data += room;
		len -= room;
	}
}

static size_t zeros_at(const uint8_t *data, size_t len)
{
	size_t n = 0;

	while (n < len && !data[n])
		n++;
	return n;
}

/* how 0: all at once; 1: in odd portions; 2: every run of zeros as known zeros; 3: some runs so, at
 * odd places. */
static void scan(struct records *out, const uint8_t *data, size_t len, int how)
{
	struct scanner s;

	scanner_init(&s, &ops, out);
	for (size_t at = 0; at < len;) {
		size_t n = how == 0 ? len : 1 + random_below(how == 1 ? 70000 : 300000);
		size_t zeros = how < 2 ? 0 : zeros_at(data + at, len - at);

		if (n > len - at)
			n = len - at;
		if (how == 3 && zeros)
			zeros = random_below(4) ? 1 + random_below(zeros) : 0;
		if (zeros) {
			assert_int_equal(scanner_zeros(&s, zeros, NULL), 0);
			n = zeros;
		} else {
			feed(&s, data + at, n);
		}
		at += n;
	}
	assert_int_equal(scanner_end(&s, NULL), 0);
}

static size_t make_disk(uint8_t *disk, size_t room)
{
	size_t len = 0;

	while (len < room) {
		static const size_t scales[] = {100, 5000, 20000, 300000, 1500000};
		size_t n = 1 + random_below(scales[random_below(5)]);

		if (random_below(2)) /* to a page boundary, as file systems have it */
			n = (len + n + 4095) / 4096 * 4096 - len;
		if (n > room - len)
			n = room - len;
		if (random_below(2))
			fill_random(disk + len, n);
		else
			memset(disk + len, 0, n);
		len += n;
	}
	return len;
}

static void check_against_disk(const struct records *r, const uint8_t *disk, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < r->count; i++) {
		const struct record *p = &r->list[i];
		struct hash h;

		assert_true(p->len <= len - at);
		if (p->hole) {
			assert_true(file_all_zero(disk + at, p->len));
			assert_true(at % SCANNER_PAGE == 0 && p->len >= CHUNK_MIN);
			assert_true(!i || !r->list[i - 1].hole);
		} else {
			assert_true(p->len <= CHUNK_MAX);
			hash_of(&h, disk + at, p->len);
			assert_true(hash_equal(&h, &p->hash));
		}
		at += p->len;
	}
	assert_int_equal(at, len);
}

static void same_records(const struct records *a, const struct records *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		assert_int_equal(a->list[i].len, b->list[i].len);
		assert_int_equal(a->list[i].hole, b->list[i].hole);
		assert_true(hash_equal(&a->list[i].hash, &b->list[i].hash));
	}
}

static void scanner_does_not_depend_on_how_bytes_arrive(void **state)
{
	size_t room = 6u << 20;
	_cleanup_free_ uint8_t *disk = malloc(room);

	assert_non_null(disk);
	for (int round = 0; round < 40; round++) {
		size_t len = make_disk(disk, 1 + random_below(room));
		struct records plain = {0};

		scan(&plain, disk, len, 0);
		check_against_disk(&plain, disk, len);
		for (int how = 1; how <= 3; how++) {
			struct records other = {0};

			scan(&other, disk, len, how);
			same_records(&plain, &other);
			records_free(&other);
		}
		records_free(&plain);
	}
}

/* A hole that starts behind data on no page boundary, and 100 TB of it. */
static void scanner_takes_huge_holes_at_once(void **state)
{
	struct records r = {0};
	struct scanner s;
	uint8_t data[100];
	uint64_t huge = 100ULL << 40;

	fill_random(data, sizeof(data));
	data[99] = 1;
	scanner_init(&s, &ops, &r);
	feed(&s, data, sizeof(data));
	assert_int_equal(scanner_zeros(&s, huge, NULL), 0);
	feed(&s, data, sizeof(data));
	assert_int_equal(scanner_end(&s, NULL), 0);
	assert_int_equal(r.count, 3);
	assert_false(r.list[0].hole);
	assert_int_equal(r.list[0].len, SCANNER_PAGE);
	assert_true(r.list[1].hole);
	assert_int_equal(r.list[1].len, huge - SCANNER_PAGE);
	assert_int_equal(r.list[2].len, 200);
	records_free(&r);
}

static void hash_set_keeps_what_is_added(void **state)
{
	struct hash_set set = {0};
	struct hash h;

	for (uint32_t i = 0; i < 50000; i++) {
		hash_of(&h, &i, sizeof(i));
		assert_null(hash_set_find(&set, &h));
		assert_int_equal(hash_set_add(&set, &h, i), 1);
		assert_int_equal(hash_set_add(&set, &h, 0), 0);
	}
	for (uint32_t i = 0; i < 50000; i++) {
		hash_of(&h, &i, sizeof(i));
		assert_non_null(hash_set_find(&set, &h));
		assert_int_equal(*hash_set_find(&set, &h), i);
	}
	hash_set_free(&set);
}

struct disk {
	uint8_t *data;
	uint64_t size;
};

static int read_disk(void *context, void *buf, size_t len, uint64_t offset, struct err *e)
{
	const struct disk *d = context;

	assert_true(offset <= d->size && len <= d->size - offset);
	memcpy(buf, d->data + offset, len);
	return 0;
}

static void expect_filesystem(struct disk *d, const char *what)
{
	char found[FILESYSTEM_MAX];

	assert_int_equal(filesystem_detect(read_disk, d, d->size, found, NULL), 0);
	assert_string_equal(found, what);
}

static void put(struct disk *d, uint64_t at, const void *bytes, size_t len)
{
	memcpy(d->data + at, bytes, len);
}

static void put_ext4(struct disk *d, uint64_t at)
{
	put(d, at + 1024 + 56, "\x53\xef", 2);
	put(d, at + 1024 + 96, "\xc2\x02", 2); /* extents, 64bit, flex_bg */
}

static void filesystems_are_recognised(void **state)
{
	struct disk d = {.size = 4u << 20};
	static const struct {
		uint64_t at;
		const char *bytes;
		size_t len;
		const char *name;
	} simple[] = {
		{1024, "\xe2\xe1\xf5\xe0", 4, "erofs"},
		{0, "hsqs", 4, "squashfs"},
		{0, "XFSB", 4, "xfs"},
		{65536 + 64, "_BHRfS_M", 8, "btrfs"},
		{32769, "CD001", 5, "iso9660"},
		{1024 + 56, "\x53\xef", 2, "ext2"},
		{100, "nothing", 7, ""},
	};

	d.data = calloc(1, d.size);
	assert_non_null(d.data);
	for (size_t i = 0; i < sizeof(simple) / sizeof(*simple); i++) {
		memset(d.data, 0, d.size);
		put(&d, simple[i].at, simple[i].bytes, simple[i].len);
		expect_filesystem(&d, simple[i].name);
	}
	memset(d.data, 0, d.size);
	put_ext4(&d, 0);
	expect_filesystem(&d, "ext4");

	/* MBR: a vfat first, then the root. */
	memset(d.data, 0, d.size);
	put(&d, 510, "\x55\xaa", 2);
	put(&d, 446 + 4, "\x0c\0\0\0\x10\0\0\0\x10\0\0\0", 12);
	put(&d, 462 + 4, "\x83\0\0\0\0\x08\0\0\0\x08\0\0", 12);
	put(&d, 16 * 512 + 82, "FAT32", 5);
	put(&d, 16 * 512 + 510, "\x55\xaa", 2);
	put_ext4(&d, 2048 * 512);
	expect_filesystem(&d, "mbr.2.ext4");

	/* GPT with entries at sector 2. */
	put(&d, 512, "EFI PART", 8);
	put(&d, 512 + 72, "\x02\0\0\0\0\0\0\0\x80\0\0\0\x80\0\0\0", 16);
	put(&d, 1024 + 256 + 32, "\0\x08\0\0\0\0\0\0", 8);
	expect_filesystem(&d, "gpt.3.ext4");

	/* Hostile tables: all bits set. */
	memset(d.data + 512 + 72, 0xff, 16);
	expect_filesystem(&d, "gpt");
	memset(d.data, 0xff, d.size);
	expect_filesystem(&d, "");
	for (d.size = 0; d.size < 70000;
		d.size += 511) /* never a read beyond the end: read_disk() checks */
		expect_filesystem(&d, "");
	free(d.data);
}

/* The pipeline: random disks in, the same bytes out by tree_read(); and again, when nothing may be
 * new. */
static void pipeline_stores_what_it_reads(void **state)
{
	char folder[] = "/tmp/test-publish.XXXXXX", image[64], remove[96];
	_cleanup_free_ uint8_t *disk = malloc(9u << 20), *back = malloc(9u << 20);
	size_t len = make_disk(disk, (8u << 20) + 12345);
	struct tree first, tree;

	assert_non_null(mkdtemp(folder));
	snprintf(image, sizeof(image), "%s/image", folder);
	assert_int_equal(file_save(AT_FDCWD, image, disk, len, 0, NULL), 0);
	for (unsigned jobs = 1; jobs <= 4; jobs++) {
		char path[64];
		struct store s;
		struct block_writer *writer;
		struct block_stats stats;
		struct input *in;
		uint64_t chunks;

		snprintf(path, sizeof(path), "%s/store", folder);
		assert_int_equal(store_open_publish(&s, path, "test", NULL), 0);
		writer = block_writer_new(&s, 1);
		assert_non_null(writer);
		assert_int_equal(input_open_raw(&in, image, NULL), 0);
		assert_int_equal(input_size(in), len);
		assert_int_equal(pipeline_run(in, writer, jobs, NULL, &tree, &chunks, NULL), 0);
		input_close(in);
		block_writer_stats(writer, &stats);
		assert_true(stats.blocks > 10);
		assert_int_equal(stats.new_blocks, jobs == 1 ? stats.blocks : 0);
		block_writer_free(writer);
		if (jobs == 1)
			first = tree;
		assert_true(hash_equal(&first.root, &tree.root));
		assert_int_equal(tree.size, len);
		memset(back, 0xaa, len);
		assert_int_equal(tree_read(s.fd, &tree, back, len, 0, NULL), 0);
		assert_memory_equal(back, disk, len);
		assert_int_equal(tree_read(s.fd, &tree, back, 1, len, NULL), -EINVAL);
		store_close(&s);
	}
	snprintf(remove, sizeof(remove), "rm -rf %s", folder);
	assert_int_equal(system(remove), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(scanner_does_not_depend_on_how_bytes_arrive),
		cmocka_unit_test(scanner_takes_huge_holes_at_once),
		cmocka_unit_test(hash_set_keeps_what_is_added),
		cmocka_unit_test(filesystems_are_recognised),
		cmocka_unit_test(pipeline_stores_what_it_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
