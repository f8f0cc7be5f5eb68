/* Committing in pieces: scanning only what changed gives what scanning everything gives; copy-on-write files. */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "format/cow.h"
#include "publish/overlay.h"
#include "publish/rescan.h"

#define IMAGE_MOST (6u << 20)
#define CHANGES_MOST 40

/* A list of entries, as index_builder_add() would see them, and the root that comes of them. */
struct entries {
	struct index_entry *list;
	size_t count, room;
	uint8_t *slabs[2]; /* the old one is kept: pieces in it may be used still */
	unsigned newest;
};

static void add_entry(struct entries *x, const struct index_entry *entry)
{
	if (x->count == x->room) {
		x->room = x->room ? 2 * x->room : 256;
		x->list = reallocarray(x->list, x->room, sizeof(*x->list));
		assert_non_null(x->list);
	}
	x->list[x->count++] = *entry;
}

/* As pipeline.c does it. */
static int on_piece(void *context, const uint8_t *data, uint64_t len, struct err *e)
{
	struct index_entry entry = {.length = len};

	if (data && !file_all_zero(data, len))
		hash_of(&entry.hash, data, len);
	add_entry(context, &entry);
	return 0;
}

static uint8_t *on_slab(void *context, const uint8_t *tail, size_t len, struct err *e)
{
	struct entries *x = context;
	uint8_t *slab;

	x->newest ^= 1;
	if (!x->slabs[x->newest])
		x->slabs[x->newest] = malloc(SCANNER_SLAB);
	slab = x->slabs[x->newest];
	assert_non_null(slab);
	if (len)
		memcpy(slab, tail, len);
	return slab;
}

static int on_keep(void *context, const struct index_entry *entry, struct err *e)
{
	add_entry(context, entry);
	return 0;
}

static const struct scanner_ops ops = {.piece = on_piece, .slab = on_slab};

static void free_entries(struct entries *x)
{
	free(x->list);
	free(x->slabs[0]);
	free(x->slabs[1]);
	*x = (struct entries){0};
}

static int hash_node(void *context, const void *node, size_t len, struct hash *hash, struct err *e)
{
	struct entries *leaves = context;
	struct index_node n;

	hash_of(hash, node, len);
	if (!leaves || ((const uint8_t *)node)[4])
		return 0;
	n = (struct index_node){.count = load_le32((const uint8_t *)node + 8),
		.entries = (const uint8_t *)node + INDEX_NODE_HEAD};
	for (uint32_t i = 0; i < n.count; i++) {
		struct index_entry entry;

		index_node_entry(&n, i, &entry);
		add_entry(leaves, &entry);
	}
	return 0;
}

/* leaves: gets what the index lists, with holes that touch each other made one. */
static struct hash root_of(const struct entries *x, struct entries *leaves)
{
	struct index_builder *b = index_builder_new(hash_node, leaves);
	struct tree tree;
	uint64_t count;

	for (size_t i = 0; i < x->count; i++)
		assert_int_equal(index_builder_add(b, &x->list[i], NULL), 0);
	assert_int_equal(index_builder_finish(b, &tree, &count, NULL), 0);
	index_builder_free(b);
	return tree.root;
}

static void scan_all(struct entries *out, const uint8_t *data, size_t size)
{
	struct scanner s;

	scanner_init(&s, &ops, out);
	for (size_t done = 0, room; done < size; done += room) {
		uint8_t *to;

		assert_int_equal(scanner_room(&s, &to, &room, NULL), 0);
		room = room < size - done ? room : size - done;
		memcpy(to, data + done, room);
		assert_int_equal(scanner_fed(&s, room, NULL), 0);
	}
	assert_int_equal(scanner_end(&s, NULL), 0);
}

struct disk {
	const uint8_t *old, *new;
	const struct entries *entries; /* of old */
	size_t entry;
	uint64_t entry_start; /* of the entry that next_entry() gave last */
	struct rescan_range changes[CHANGES_MOST];
	size_t change_count;
};

static int next_entry(void *context, struct index_entry *out, struct err *e)
{
	struct disk *d = context;

	if (d->entry == d->entries->count)
		return 0;
	*out = d->entries->list[d->entry++];
	return 1;
}

static int next_change(void *context, uint64_t from, struct rescan_range *out, struct err *e)
{
	const struct disk *d = context;

	for (size_t i = 0; i < d->change_count; i++)
		if (d->changes[i].end > from) {
			*out = d->changes[i];
			return 1;
		}
	return 0;
}

/* By content, as a store does: any place where it stands is right. */
static int read_old(void *context, const struct index_entry *entry, uint64_t skip, void *buf,
	size_t len, struct err *e)
{
	const struct disk *d = context;
	uint64_t at = 0;

	for (size_t i = 0; i < d->entries->count; i++) {
		const struct index_entry *x = &d->entries->list[i];

		if (x->length == entry->length && hash_equal(&x->hash, &entry->hash)) {
			assert_true(skip + len <= x->length);
			memcpy(buf, d->old + at + skip, len);
			return 0;
		}
		at += x->length;
	}
	fail_msg("an entry that is not there was read");
	return -EIO;
}

static int read_new(void *context, void *buf, size_t len, uint64_t offset, struct err *e)
{
	const struct disk *d = context;

	for (size_t i = 0; i < d->change_count; i++)
		if (offset >= d->changes[i].start && offset + len <= d->changes[i].end &&
			!d->changes[i].zeros) {
			memcpy(buf, d->new + offset, len);
			return 0;
		}
	fail_msg("bytes that were not written were read from the overlay");
	return -EIO;
}

/* Random bytes, text that repeats itself, and zeros, in turns, seldom at a page's border. */
static void make_image(struct random *r, uint8_t *data, size_t size)
{
	static const size_t lengths[] = {700, 4096, 9000, 16384, 20000, 65536, 300000, 900000};

	for (size_t at = 0; at < size;) {
		size_t len = lengths[random_below(r, 8)] +
			     (random_below(r, 2) ? random_below(r, 5000) : 0);
		unsigned kind = (unsigned)random_below(r, 4);

		if (random_below(r, 2))
			len = (len + 4095) & ~(size_t)4095;
		if (len > size - at)
			len = size - at;
		if (kind < 2)
			random_fill(r, data + at, len);
		else if (kind == 2)
			memset(data + at, 0, len);
		else
			for (size_t i = 0; i < len; i++)
				data[at + i] = (uint8_t)(i / 64 % 7);
		at += len;
	}
}

/* In sectors, as a guest writes: new bytes, zeros, what was there before, bytes of elsewhere. */
static void change_image(struct random *r, struct disk *d, uint8_t *data, size_t size)
{
	uint64_t at = 0;

	while (d->change_count < CHANGES_MOST) {
		uint64_t gap = random_below(r, 3) ? random_below(r, 2 * size / 512 / 10 + 1) * 512
						  : random_below(r, 80) * 512;
		uint64_t len = (1 + random_below(r, random_below(r, 4) ? 16 : 700)) * 512;
		struct rescan_range *c = &d->changes[d->change_count];

		at += gap;
		if (at >= size)
			break;
		*c = (struct rescan_range){.start = at, .end = at + len < size ? at + len : size};
		len = c->end - c->start;
		switch (random_below(r, 4)) {
		case 0:
			memset(data + at, 0, len);
			c->zeros = random_below(r, 2);
			break;
		case 1:
			break;
		case 2:
			memmove(data + at, data + random_below(r, size - len + 1), len);
			break;
		default:
			random_fill(r, data + at, len);
		}
		d->change_count++;
		at = c->end;
	}
}

static void test_rescan_is_the_scan_of_all(void **state)
{
	struct random r = random_start(1);
	_cleanup_free_ uint8_t *old = malloc(IMAGE_MOST), *new = malloc(IMAGE_MOST);
	uint64_t all = 0, scanned = 0;

	assert_true(old && new);
	for (unsigned round = 0; round < 150; round++) {
		struct entries before = {0}, leaves = {0}, after = {0}, again = {0};
		struct disk d = {.old = old, .new = new, .entries = &leaves};
		struct rescan_source from = {.entry = next_entry,
			.change = next_change,
			.read_old = read_old,
			.read_new = read_new,
			.context = &d};
		struct rescan_sink to = {.keep = on_keep, .ops = &ops, .context = &again};
		size_t size =
			round % 10 ? 1 + random_below(&r, IMAGE_MOST) : 1 + random_below(&r, 40000);
		struct rescan_stats stats;
		struct hash a, b;

		make_image(&r, old, size);
		memcpy(new, old, size);
		change_image(&r, &d, new, size);
		scan_all(&before, old, size);
		root_of(&before, &leaves);
		scan_all(&after, new, size);
		assert_int_equal(rescan(&from, &to, &stats, NULL), 0);
		a = root_of(&after, NULL);
		b = root_of(&again, NULL);
		if (!hash_equal(&a, &b))
			fail_msg("round %u: another root", round);
		all += size;
		scanned += stats.scanned;
		free_entries(&before);
		free_entries(&leaves);
		free_entries(&after);
		free_entries(&again);
	}
	print_message("%llu of %llu bytes were scanned again\n", (unsigned long long)scanned,
		(unsigned long long)all);
}

/* What a small change costs does not depend on the image's size. */
static void test_rescan_looks_around_changes_only(void **state)
{
	struct random r = random_start(2);
	_cleanup_free_ uint8_t *old = malloc(IMAGE_MOST), *new = malloc(IMAGE_MOST);
	struct entries before = {0}, again = {0};
	struct disk d = {.old = old,
		.new = new,
		.entries = &before,
		.changes = {{3 << 20, (3 << 20) + 4096}},
		.change_count = 1};
	struct rescan_source from = {.entry = next_entry,
		.change = next_change,
		.read_old = read_old,
		.read_new = read_new,
		.context = &d};
	struct rescan_sink to = {.keep = on_keep, .ops = &ops, .context = &again};
	struct rescan_stats stats;

	random_fill(&r, old, IMAGE_MOST);
	memcpy(new, old, IMAGE_MOST);
	random_fill(&r, new + (3 << 20), 4096);
	scan_all(&before, old, IMAGE_MOST);
	assert_int_equal(rescan(&from, &to, &stats, NULL), 0);
	assert_int_equal(stats.changed, 4096);
	assert_true(stats.scanned < IMAGE_MOST / 4);
	free_entries(&before);
	free_entries(&again);
}

/* ---- copy-on-write files ---- */

static const struct cow_binding binding = {.name = "debian",
	.version = 3,
	.root.bytes = {1, 2, 3},
	.link = "http://127.0.0.1:8080/store/debian@3"};

static void test_cow_start_is_read_again(void **state)
{
	uint8_t start[COW_START];
	struct cow_binding b;
	struct cow_head h;

	assert_int_equal(cow_start_encode(start, 1000001, 77, "/some/disk", &binding, NULL), 0);
	assert_int_equal(cow_head_parse(&h, start, sizeof(start), NULL), 0);
	assert_int_equal(h.size, 1000001);
	assert_int_equal(h.mtime, 77);
	assert_int_equal(h.bitmap, 8192);
	assert_int_equal(h.bitmap_len, 245); /* 1954 sectors */
	assert_int_equal(h.data, 12288);
	assert_int_equal(cow_file_len(&h), 12288 + 1000001);
	assert_string_equal((char *)start + 32, "/some/disk");
	assert_int_equal(cow_binding_parse(&b, &h, start, sizeof(start), NULL), 1);
	assert_string_equal(b.name, binding.name);
	assert_string_equal(b.link, binding.link);
	assert_int_equal(b.version, 3);
	assert_true(hash_equal(&b.root, &binding.root));
	memset(start + COW_HEAD_LEN, 0, 4);
	assert_int_equal(cow_binding_parse(&b, &h, start, sizeof(start), NULL), 0);
}

static void test_cow_refuses(void **state)
{
	/* offset, big-endian word, and what is said */
	static const struct {
		size_t at;
		uint32_t word;
		const char *why;
	} bad[] = {
		{0, 0x4f4f4f4e, "no copy-on-write file"},
		{4, 2, "no copy-on-write file"},
		{12, 0x80000000, "bytes: 1 to"},
		{16, 0, "bytes: 1 to"},
		{20, 4096, "sectors"},
		{28, 1, "format"},
		{24, 0, "aligned"},
		{24, 4097, "aligned"},
		{24, 1 << 21, "aligned"},
		{COW_HEAD_LEN + 4, 0xffffffff, "damaged"},
		{COW_HEAD_LEN + 8, 0, "damaged"},
		{COW_HEAD_LEN + 48, 0, "damaged"},
		{COW_HEAD_LEN + 48, 0x64656261, "damaged"},
		{COW_HEAD_LEN + COW_BINDING_HEAD, 0x0a0a0a0a, "damaged"},
	};
	uint8_t start[COW_START];
	struct cow_binding b;
	struct cow_head h;
	struct err e;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int r;

		assert_int_equal(cow_start_encode(start, 4096, 0, "", &binding, NULL), 0);
		store_be32(start + bad[i].at, bad[i].word);
		r = cow_head_parse(&h, start, sizeof(start), &e);
		if (!r)
			r = cow_binding_parse(&b, &h, start, sizeof(start), &e);
		assert_int_equal(r, -EINVAL);
		assert_non_null(strstr(e.text, bad[i].why));
	}
	assert_int_equal(cow_head_parse(&h, start, COW_HEAD_LEN - 1, &e), -EINVAL);
	assert_int_equal(cow_start_encode(start, 0, 0, "", &binding, &e), -EINVAL);
}

/* Ranges and bytes of a file against a map of sectors, with bits at the edges of windows and holes. */
static void test_overlay_lists_what_was_written(void **state)
{
	enum { SECTORS = 8 * (OVERLAY_WINDOW * 3 + 100) - 3 };
	struct random r = random_start(3);
	char path[] = "/tmp/test_commit.XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	_cleanup_free_ uint8_t *bits = calloc(SECTORS / 8 + 1, 1);
	_cleanup_free_ struct overlay *o = malloc(sizeof(*o));
	uint64_t size = (uint64_t)SECTORS * COW_SECTOR - 100, at = 0, sector = 0;
	uint8_t start[COW_START], data[COW_SECTOR], got[COW_SECTOR];
	struct rescan_range range;
	bool found = false;
	struct cow_head h;
	struct err e;

	assert_true(fd >= 0 && bits && o);
	assert_int_equal(cow_start_encode(start, size, 5, "/x", &binding, NULL), 0);
	assert_int_equal(cow_head_parse(&h, start, sizeof(start), NULL), 0);
	assert_int_equal(file_pwrite(fd, start, sizeof(start), 0), 0);
	assert_int_equal(ftruncate(fd, (off_t)cow_file_len(&h) - 1), 0);
	assert_int_equal(overlay_open(o, path, &e), -EINVAL);
	assert_non_null(strstr(e.text, "cut off"));
	assert_int_equal(ftruncate(fd, (off_t)cow_file_len(&h)), 0);

	assert_int_equal(overlay_open(o, path, NULL), 0);
	assert_true(o->bound);
	assert_int_equal(overlay_next(o, 0, &range, NULL), 0);
	overlay_close(o);

	for (unsigned i = 0; i < 300; i++) {
		uint64_t from = i < 8 ? (uint64_t[]){0, 1, 8 * OVERLAY_WINDOW - 1,
						8 * OVERLAY_WINDOW, 16 * OVERLAY_WINDOW - 5,
						SECTORS - 1, 5, 64}[i]
				      : random_below(&r, SECTORS),
			 n = 1 + random_below(&r, i % 3 ? 9 : 200);

		for (; n && from < SECTORS; n--, from++)
			bits[from / 8] |= (uint8_t)(1 << from % 8);
	}
	assert_int_equal(file_pwrite(fd, bits, h.bitmap_len, h.bitmap), 0);
	random_fill(&r, data, sizeof(data));
	assert_int_equal(file_pwrite(fd, data, sizeof(data), h.data + 64 * COW_SECTOR), 0);
	assert_int_equal(overlay_open(o, path, NULL), 0);
	while (overlay_next(o, at, &range, NULL) > 0) {
		assert_true(range.start >= at && range.end > range.start && range.end <= size);
		for (; sector < range.start / COW_SECTOR; sector++)
			assert_false(bits[sector / 8] >> sector % 8 & 1);
		for (; sector < (range.end + COW_SECTOR - 1) / COW_SECTOR; sector++)
			assert_true(bits[sector / 8] >> sector % 8 & 1);
		found |= range.start == 64 * COW_SECTOR && !range.zeros;
		if (range.zeros) {
			size_t len = range.end - range.start;

			len = len < sizeof(got) ? len : sizeof(got);
			assert_int_equal(overlay_read(o, got, len, range.start, NULL), 0);
			assert_true(file_all_zero(got, len));
		}
		at = range.end;
	}
	assert_true(found);
	for (; sector < SECTORS; sector++)
		assert_false(bits[sector / 8] >> sector % 8 & 1);
	assert_int_equal(overlay_read(o, got, sizeof(got), 64 * COW_SECTOR, NULL), 0);
	assert_memory_equal(got, data, sizeof(got));
	overlay_close(o);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rescan_is_the_scan_of_all),
		cmocka_unit_test(test_rescan_looks_around_changes_only),
		cmocka_unit_test(test_cow_start_is_read_again),
		cmocka_unit_test(test_cow_refuses),
		cmocka_unit_test(test_overlay_lists_what_was_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
