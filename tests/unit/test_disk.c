/* Sources: whatever is read through them equals what was put in, and what cannot be had right is an
 * error that names it. */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "disk/blocks.h"
#include "disk/cloop.h"
#include "disk/disk.h"
#include "disk/raw.h"
#include "disk/store.h"
#include "format/block.h"
#include "format/index.h"
#include "made_store.h"
#include "server.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static struct server server; /* serves its folder, in which stores are made */

static struct cache *open_cache(const char *dir, bool read_only)
{
	struct cache *c;

	assert_int_equal(cache_open(&c, dir, 0, read_only, NULL), 0);
	return c;
}

static struct origin *open_origin(const char *path)
{
	struct origin_options options = {.timeout_ms = 60000, .connect_ms = 30000, .stall_ms = 30000};
	_cleanup_free_ char *url = file_path("%s%s", server.url, path);
	struct origin *o;

	assert_int_equal(origin_open(&o, (const char *const *)&url, 1, &options, NULL), 0);
	return o;
}

static struct blocks *open_blocks(
	struct cache *store, struct cache *cache, struct origin *origin, size_t memory)
{
	struct budget budget = {.nodes = memory / 4, .chunks = memory - memory / 4};
	struct blocks *b;

	assert_int_equal(blocks_open(&b, store, cache, origin, &budget, NULL), 0);
	return b;
}

static struct disk *open_disk(struct source *s)
{
	struct disk *d;

	assert_int_equal(disk_open(&d, s, NULL), 0);
	return d;
}

/* One random read, now and then one that continues where the last ended. */
static void next_range(struct random *r, size_t size, uint64_t *offset, size_t *len)
{
	size_t most = random_below(r, 8) ? 9000 : 200000;

	*offset += *len;
	if (*offset >= size || random_below(r, 3))
		*offset = random_below(r, size);
	*len = 1 + random_below(r, size - *offset < most ? size - *offset : most);
}

struct reading {
	struct disk *disk;
	const uint8_t *data;
	size_t size;
	struct random random;
	unsigned reads;
	const char *wrong; /* the result: NULL or what was wrong */
	struct err e;
	pthread_t thread;
};

static void *read_randomly(void *arg)
{
	struct reading *r = arg;
	uint8_t *buf = malloc(r->size);
	uint64_t offset = 0;
	size_t len = 0;

	for (unsigned i = 0; i < r->reads && !r->wrong; i++) {
		next_range(&r->random, r->size, &offset, &len);
		if (disk_read(r->disk, buf, len, offset, &r->e) < 0)
			r->wrong = r->e.text;
		else if (memcmp(buf, r->data + offset, len) != 0)
			r->wrong = "wrong bytes";
	}
	free(buf);
	return NULL;
}

static void check_reads(struct disk *d, const uint8_t *data, size_t size, struct random *random,
	unsigned threads, unsigned reads)
{
	struct reading r[8];

	for (unsigned i = 0; i < threads; i++) {
		r[i] = (struct reading){.disk = d,
			.data = data,
			.size = size,
			.random = {random_u64(random)},
			.reads = reads};
		assert_int_equal(pthread_create(&r[i].thread, NULL, read_randomly, &r[i]), 0);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(r[i].thread, NULL);
		if (r[i].wrong)
			fail_msg("%s", r[i].wrong);
	}
}

static int64_t number_in(struct disk *d, const char *object, const char *name)
{
	json_t *status = json_object(), *at = status;
	int64_t n;

	disk_status(d, status);
	if (object)
		at = json_object_get(status, object);
	assert_true(json_is_integer(json_object_get(at, name)));
	n = json_integer_value(json_object_get(at, name));
	json_decref(status);
	return n;
}

/* ---- images in a store ---- */

static void a_stores_disk_equals_the_image(void **state)
{
	static const struct {
		size_t size, mean;
	} shapes[] = {{1, 100}, {5000, 200}, {3 * MIB + 17, 900}, {6 * MIB, 60 * KIB},
		{9 * MIB + 4095, 500 * KIB}};
	struct random random = random_start(1);

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct made_image image;
		struct source *source;
		struct blocks *blocks;
		struct cache *store;
		struct disk *disk;
		char dir[64];

		folder_make(dir);
		made_image(&image, dir, &random, shapes[i].size, shapes[i].mean);
		store = open_cache(dir, true);
		blocks = open_blocks(store, NULL, NULL, 8 * MIB);
		assert_int_equal(store_source_open(&source, blocks, &image.tree, NULL), 0);
		assert_int_equal(source_read(source, dir, 1, image.size, NULL), -EINVAL);
		assert_int_equal(source_read(source, dir, 2, image.size - 1, NULL), -EINVAL);
		assert_int_equal(source_read(source, dir, 1, UINT64_MAX, NULL), -EINVAL);
		disk = open_disk(source);
		assert_int_equal(disk_size(disk), image.size);
		check_reads(disk, image.data, image.size, &random, 4, 60);
		assert_int_equal(number_in(disk, NULL, "reads"), 240);
		assert_int_equal(number_in(disk, NULL, "read_errors"), 0);
		assert_true(number_in(disk, "memory", "peak") <= 6 * MIB);
		disk_close(disk);
		blocks_close(blocks);
		cache_close(store);
		folder_remove(dir);
		made_image_free(&image);
	}
}

/* A store in a folder of the server, and what stands on it. */
struct setup {
	struct made_image image;
	char dir[128], cache_dir[64];
	struct cache *store, *cache;
	struct origin *origin;
	struct blocks *blocks;
	struct source *source;
};

enum { WITH_STORE = 1, WITH_CACHE = 2, WITH_ORIGIN = 4 };

static void set_up(struct setup *s, unsigned with, uint64_t seed)
{
	struct random random = random_start(seed);

	*s = (struct setup){0};
	snprintf(s->dir, sizeof(s->dir), "%s/store", server.dir);
	folder_make(s->cache_dir);
	mkdir(s->dir, 0755);
	made_image(&s->image, s->dir, &random, 300 * KIB, 2000);
	if (with & WITH_STORE)
		s->store = open_cache(s->dir, true);
	if (with & WITH_CACHE)
		s->cache = open_cache(s->cache_dir, false);
	if (with & WITH_ORIGIN)
		s->origin = open_origin("/store");
}

static void open_source(struct setup *s)
{
	s->blocks = open_blocks(s->store, s->cache, s->origin, 8 * MIB);
	assert_int_equal(store_source_open(&s->source, s->blocks, &s->image.tree, NULL), 0);
}

static void close_source(struct setup *s)
{
	source_close(s->source);
	blocks_close(s->blocks);
}

static void tear_down(struct setup *s)
{
	if (s->origin)
		origin_close(s->origin);
	if (s->store)
		cache_close(s->store);
	if (s->cache)
		cache_close(s->cache);
	folder_remove(s->dir);
	folder_remove(s->cache_dir);
	made_image_free(&s->image);
}

static void expect_bytes(struct setup *s, uint64_t offset, size_t len)
{
	uint8_t *buf = malloc(len);
	struct err e = ERR_INIT;

	if (source_read(s->source, buf, len, offset, &e) < 0)
		fail_msg("%s", e.text);
	assert_memory_equal(buf, s->image.data + offset, len);
	free(buf);
}

/* The read fails, and the sentence names the block. */
static void expect_failure(struct setup *s, uint64_t offset, const struct hash *h, const char *word)
{
	struct err e = ERR_INIT;
	char name[HASH_HEX_MAX];
	uint8_t byte;

	hash_hex(h, name);
	name[16] = 0;
	assert_true(source_read(s->source, &byte, 1, offset, &e) < 0);
	if (!strstr(e.text, name) || !strstr(e.text, word))
		fail_msg("no %s or %s in: %s", name, word, e.text);
}

struct walked {
	const struct made_image *image;
	size_t count;
};

static int visit(void *context, uint64_t offset, const struct hash *hash, uint32_t len, struct err *e)
{
	struct walked *w = context;

	assert_true(w->count < w->image->count);
	assert_true(hash_equal(hash, &w->image->chunks[w->count]));
	w->count++;
	return 0;
}

static int stop_visit(void *context, uint64_t offset, const struct hash *hash, uint32_t len, struct err *e)
{
	return ++*(int *)context == 3 ? -ECHILD : 0;
}

static void a_walk_visits_every_chunk_in_order(void **state)
{
	struct setup s;
	struct walked w;
	int visits = 0;

	set_up(&s, WITH_STORE, 3);
	open_source(&s);
	w = (struct walked){.image = &s.image};
	assert_int_equal(store_walk(s.blocks, &s.image.tree, visit, &w, NULL), 0);
	assert_int_equal(w.count, s.image.count);
	assert_int_equal(store_walk(s.blocks, &s.image.tree, stop_visit, &visits, NULL), -ECHILD);
	assert_int_equal(visits, 3);
	close_source(&s);
	tear_down(&s);
}

/* Goes through all of a source by extents of at most `most` bytes; holes are zeros in data, and what stands in `at` (count of
 * them, ascending) is none. Returns the bytes of holes. */
static uint64_t walk_extents(struct source *s, const uint8_t *data, uint64_t most, const uint64_t *at, size_t count)
{
	struct extent x;
	uint64_t holes = 0;
	struct err e = ERR_INIT;

	for (uint64_t offset = 0; offset < s->size; offset += x.len) {
		uint64_t len = s->size - offset < most ? s->size - offset : most;

		if (source_extent(s, offset, len, &x, &e) < 0)
			fail_msg("%s", e.text);
		assert_in_range(x.len, 1, len);
		for (; count && *at < offset + x.len; at++, count--)
			assert_false(x.hole);
		if (x.hole)
			assert_true(file_all_zero(data + offset, x.len));
		holes += x.hole ? x.len : 0;
	}
	return holes;
}

static void holes_of_a_store_are_told_without_its_chunks(void **state)
{
	struct random random = random_start(31);
	struct made_image image;
	struct source *source;
	struct blocks *blocks;
	struct cache *store;
	struct extent x;
	uint64_t holes;
	char dir[64], path[256];

	folder_make(dir);
	made_image(&image, dir, &random, 3 * MIB, 900);
	assert_true(image.tree.depth > 1);
	for (size_t i = 0; i < image.count; i++) {
		made_path(dir, &image.chunks[i], path);
		unlink(path); /* one may stand twice */
	}
	store = open_cache(dir, true);
	blocks = open_blocks(store, NULL, NULL, 8 * MIB);
	assert_int_equal(store_source_open(&source, blocks, &image.tree, NULL), 0);
	holes = walk_extents(source, image.data, UINT64_MAX, image.at, image.count);
	assert_true(holes > 0 && holes < image.size);
	for (uint64_t most = 1000; most < 300000; most = 3 * most + 1)
		assert_int_equal(walk_extents(source, image.data, most, image.at, image.count), holes);
	assert_int_equal(source_extent(source, image.size, 1, &x, NULL), -EINVAL);
	assert_int_equal(source_extent(source, 0, 0, &x, NULL), -EINVAL);
	assert_int_equal(source_extent(source, 1, image.size, &x, NULL), -EINVAL);
	source_close(source);
	blocks_close(blocks);
	cache_close(store);
	folder_remove(dir);
	made_image_free(&image);
}

static void write_file(const char *path, const void *data, size_t len)
{
	assert_int_equal(file_save(AT_FDCWD, path, data, len, 0, NULL), 0);
}

static void flip_byte(const char *path)
{
	_cleanup_buf_ struct buf b = BUF_INIT(BLOCK_FILE_MAX);

	assert_int_equal(file_load(AT_FDCWD, path, &b, NULL), 0);
	b.data[b.len / 2] ^= 0x10;
	write_file(path, b.data, b.len);
}

static void a_bad_block_is_an_error_that_names_it(void **state)
{
	char path[256];
	struct stat st;
	struct setup s;

	set_up(&s, WITH_STORE, 5);
	open_source(&s);
	made_path(s.dir, &s.image.chunks[0], path);
	flip_byte(path);
	made_path(s.dir, &s.image.chunks[1], path);
	assert_int_equal(unlink(path), 0);
	made_path(s.dir, &s.image.chunks[2], path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size / 2), 0);
	made_path(s.dir, &s.image.chunks[3], path);
	assert_int_equal(truncate(path, 0), 0);
	made_path(s.dir, &s.image.chunks[4], path); /* a good frame of other bytes */
	unlink(path);
	{
		struct hash other = made_block(s.dir, "other", 5);
		char from[256];

		made_path(s.dir, &other, from);
		assert_int_equal(rename(from, path), 0);
	}
	for (int i = 0; i < 5; i++)
		expect_failure(
			&s, s.image.at[i], &s.image.chunks[i], i == 1 ? "not in the store" : s.dir);
	for (size_t i = 5; i < s.image.count; i++)
		if (!hash_equal(&s.image.chunks[i], &s.image.chunks[0]))
			break;
	expect_bytes(&s, s.image.at[s.image.count - 1], 1);
	close_source(&s);
	tear_down(&s);
}

static void a_bad_index_node_is_an_error_that_names_it(void **state)
{
	char path[256];
	struct setup s;

	set_up(&s, WITH_STORE, 7);
	open_source(&s);
	made_path(s.dir, &s.image.tree.root, path);
	flip_byte(path);
	expect_failure(&s, 0, &s.image.tree.root, "index of level");
	close_source(&s);
	tear_down(&s);
}

static void a_bad_cache_entry_is_dropped_and_fetched_again(void **state)
{
	char path[256];
	struct setup s;
	struct hash h;

	set_up(&s, WITH_CACHE | WITH_ORIGIN, 9);
	server_rules(&server, NULL);
	open_source(&s);
	expect_bytes(&s, 0, s.image.size);
	close_source(&s);
	h = s.image.chunks[0];
	made_path(s.cache_dir, &h, path);
	flip_byte(path);
	server_rules(&server, NULL);
	open_source(&s);
	expect_bytes(&s, 0, s.image.size);
	assert_int_equal(server_requests(&server), 1); /* nothing else was asked for */
	close_source(&s);

	server_rules(&server, "* status code=404", NULL); /* and what was fetched is good */
	open_source(&s);
	expect_bytes(&s, 0, s.image.size);
	assert_int_equal(server_requests(&server), 0);
	close_source(&s);
	server_rules(&server, NULL);
	tear_down(&s);
}

static void a_good_cache_stands_in_for_a_bad_store(void **state)
{
	char from[256], to[256], folder[256];
	_cleanup_buf_ struct buf b = BUF_INIT(BLOCK_FILE_MAX);
	struct setup s;

	set_up(&s, WITH_STORE | WITH_CACHE, 11);
	made_path(s.dir, &s.image.chunks[0], from);
	made_path(s.cache_dir, &s.image.chunks[0], to);
	snprintf(folder, sizeof(folder), "%s", to);
	*strrchr(folder, '/') = 0;
	assert_int_equal(file_mkdirs(folder, NULL), 0);
	assert_int_equal(file_load(AT_FDCWD, from, &b, NULL), 0);
	write_file(to, b.data, b.len);
	flip_byte(from);
	open_source(&s);
	expect_bytes(&s, s.image.at[0], 1);
	close_source(&s);

	flip_byte(to); /* now both are bad: an error, and the cache is rid of it */
	open_source(&s);
	expect_failure(&s, s.image.at[0], &s.image.chunks[0], s.cache_dir);
	assert_int_equal(access(to, F_OK), -1);
	assert_int_equal(access(from, F_OK), 0); /* a store is not ours to change */
	close_source(&s);
	tear_down(&s);
}

static void a_cancelled_source_fails_soon(void **state)
{
	struct err e = ERR_INIT;
	struct setup s;
	uint8_t byte;

	set_up(&s, WITH_ORIGIN, 13);
	server_rules(&server, NULL);
	open_source(&s);
	source_cancel(s.source);
	assert_int_equal(source_read(s.source, &byte, 1, 0, &e), -ECANCELED);
	close_source(&s);
	tear_down(&s);
}

/* ---- hostile index trees: signed by a publisher who means no good ---- */

/* Reads the first byte of a tree; expects an error with `word`. */
static void expect_refused(
	const char *dir, const struct tree *tree, uint64_t offset, const char *word)
{
	struct cache *store = open_cache(dir, true);
	struct blocks *blocks = open_blocks(store, NULL, NULL, 8 * MIB);
	struct source *source;
	struct err e = ERR_INIT;
	uint8_t byte[16];

	assert_int_equal(store_source_open(&source, blocks, tree, NULL), 0);
	assert_true(source_read(source, byte, tree->size > 16 ? 16 : 1, offset, &e) < 0);
	if (!strstr(e.text, word))
		fail_msg("no '%s' in: %s", word, e.text);
	source_prefetch(source, 0, tree->size); /* must end */
	source_close(source);
	blocks_close(blocks);
	cache_close(store);
}

static void hostile_index_trees_are_refused(void **state)
{
	uint8_t node[INDEX_NODE_HEAD + 4 * INDEX_ENTRY_LEN];
	uint64_t lengths[4] = {1000, 24, 0, 0};
	struct hash hashes[4] = {0}, chunk, leaf, above;
	char dir[64], data[1000] = "x", name[17];
	struct tree tree;
	size_t len;

	folder_make(dir);
	chunk = made_block(dir, data, sizeof(data));
	hashes[0] = hashes[1] = chunk;
	len = made_node(node, 0, 2, lengths, hashes);
	leaf = made_block(dir, node, len);

	/* a leaf where a node above leaves should be, and the other way round */
	tree = (struct tree){.root = leaf, .depth = 2, .size = 1024};
	expect_refused(dir, &tree, 0, "level");
	lengths[0] = 1024;
	above = made_block(dir, node, made_node(node, 1, 1, lengths, &leaf));
	tree = (struct tree){.root = above, .depth = 1, .size = 1024};
	expect_refused(dir, &tree, 0, "level");
	/* a child of its parent's own level: what a loop would need */
	above = made_block(dir, node, made_node(node, 1, 1, lengths, &above));
	tree = (struct tree){.root = above, .depth = 2, .size = 1024};
	expect_refused(dir, &tree, 0, "level");
	/* sums that are not what was promised */
	tree = (struct tree){.root = leaf, .depth = 1, .size = 1025};
	expect_refused(dir, &tree, 0, "span");
	lengths[0] = 4096;
	above = made_block(dir, node, made_node(node, 1, 1, lengths, &leaf));
	tree = (struct tree){.root = above, .depth = 2, .size = 4096};
	expect_refused(dir, &tree, 0, "span");
	/* lengths that overflow when added up */
	lengths[0] = UINT64_MAX - 500;
	lengths[1] = 1525;
	hashes[0] = hashes[1] = (struct hash){0};
	tree = (struct tree){.root = made_block(dir, node, made_node(node, 0, 2, lengths, hashes)),
		.depth = 1,
		.size = 1024};
	expect_refused(dir, &tree, 0, "");
	/* a chunk above 4 MiB, one of nothing, a hole above leaves */
	lengths[0] = 5 * MIB;
	hashes[0] = chunk;
	tree = (struct tree){.root = made_block(dir, node, made_node(node, 0, 1, lengths, hashes)),
		.depth = 1,
		.size = 5 * MIB};
	expect_refused(dir, &tree, 0, "");
	lengths[0] = 1000;
	lengths[1] = 0;
	hashes[1] = chunk;
	tree = (struct tree){.root = made_block(dir, node, made_node(node, 0, 2, lengths, hashes)),
		.depth = 1,
		.size = 1000};
	expect_refused(dir, &tree, 0, "");
	hashes[0] = (struct hash){0};
	tree = (struct tree){.root = made_block(dir, node, made_node(node, 1, 1, lengths, hashes)),
		.depth = 2,
		.size = 1000};
	expect_refused(dir, &tree, 0, "");
	/* no node at all */
	tree = (struct tree){.root = chunk, .depth = 1, .size = 1000};
	hash_hex(&chunk, data);
	snprintf(name, sizeof(name), "%.16s", data);
	expect_refused(dir, &tree, 0, name);
	folder_remove(dir);
}

static void a_chunk_of_another_length_is_refused(void **state)
{
	uint8_t node[INDEX_NODE_HEAD + INDEX_ENTRY_LEN];
	uint64_t lengths[] = {900, 1100, 4 * MIB};
	char dir[64], data[1000] = "x";
	struct hash chunk;

	folder_make(dir);
	chunk = made_block(dir, data, sizeof(data));
	for (int i = 0; i < 3; i++) {
		struct tree tree = {.depth = 1, .size = lengths[i]};

		tree.root = made_block(dir, node, made_node(node, 0, 1, &lengths[i], &chunk));
		expect_refused(dir, &tree, 0, "length");
	}
	folder_remove(dir);
}

static void a_huge_hole_is_only_zeros(void **state)
{
	uint64_t lengths[] = {1ULL << 49, 1000};
	uint8_t node[INDEX_NODE_HEAD + 2 * INDEX_ENTRY_LEN], buf[2000], zeros[2000] = {0};
	struct hash hashes[2] = {0};
	struct source *source;
	struct blocks *blocks;
	struct cache *store;
	struct tree tree = {.depth = 1, .size = (1ULL << 49) + 1000};
	char dir[64], data[1000];
	struct extent extent;

	folder_make(dir);
	memset(data, 'x', sizeof(data));
	hashes[1] = made_block(dir, data, sizeof(data));
	tree.root = made_block(dir, node, made_node(node, 0, 2, lengths, hashes));
	store = open_cache(dir, true);
	blocks = open_blocks(store, NULL, NULL, 8 * MIB);
	assert_int_equal(store_source_open(&source, blocks, &tree, NULL), 0);
	assert_int_equal(source_read(source, buf, 2000, (1ULL << 49) - 1000, NULL), 0);
	assert_memory_equal(buf, zeros, 1000);
	assert_memory_equal(buf + 1000, data, 1000);
	source_prefetch(source, 0, UINT64_MAX);
	assert_int_equal(source_extent(source, 5, (1ULL << 49) + 995, &extent, NULL), 0);
	assert_true(extent.hole && extent.len == (1ULL << 49) - 5);
	assert_int_equal(source_extent(source, 1ULL << 49, 1000, &extent, NULL), 0);
	assert_true(!extent.hole && extent.len == 1000);
	source_close(source);
	blocks_close(blocks);
	cache_close(store);
	folder_remove(dir);
}

/* ---- plain files ---- */

static void a_local_file_equals_itself(void **state)
{
	struct random random = random_start(21);
	char path[128];
	uint8_t *data = server_file(&server, "raw", 777777, 21);
	struct source *source;
	struct disk *disk;

	snprintf(path, sizeof(path), "%s/raw", server.dir);
	assert_int_equal(file_source_open(&source, path, NULL, NULL), 0);
	disk = open_disk(source);
	check_reads(disk, data, 777777, &random, 2, 100);
	assert_int_equal(truncate(path, 1000), 0); /* under our feet */
	{
		struct err e = ERR_INIT;
		uint8_t byte;

		assert_true(disk_read(disk, &byte, 1, 500000, &e) < 0);
		assert_non_null(strstr(e.text, "500000"));
	}
	assert_int_equal(number_in(disk, NULL, "read_errors"), 1);
	disk_close(disk);
	free(data);
}

static void holes_of_a_local_file_are_told(void **state)
{
	enum { DATA_AT = 2 * MIB, DATA_LEN = 64 * KIB, SIZE = 8 * MIB };
	const uint64_t at = DATA_AT;
	uint8_t *data = calloc(1, SIZE);
	struct source *source;
	struct extent x;
	char path[128];
	bool tells;
	int fd;

	snprintf(path, sizeof(path), "%s/sparse", server.dir);
	memset(data + DATA_AT, 'x', DATA_LEN);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(file_pwrite(fd, data + DATA_AT, DATA_LEN, DATA_AT), 0);
	tells = lseek(fd, 0, SEEK_HOLE) == 0;
	assert_int_equal(file_source_open(&source, path, NULL, NULL), 0);
	assert_int_equal(walk_extents(source, data, UINT64_MAX, &at, 1), tells ? SIZE - DATA_LEN : 0);
	assert_int_equal(walk_extents(source, data, 100000, &at, 1), tells ? SIZE - DATA_LEN : 0);
	assert_int_equal(ftruncate(fd, MIB), 0); /* what is gone is no hole */
	assert_int_equal(source_extent(source, 4 * MIB, MIB, &x, NULL), 0);
	assert_false(x.hole);
	source_close(source);
	close(fd);
	free(data);
}

static void what_is_no_file_is_refused(void **state)
{
	struct source *source;
	struct err e = ERR_INIT;

	assert_true(file_source_open(&source, server.dir, NULL, &e) < 0);
	assert_true(file_source_open(&source, "/nowhere/at/all", NULL, &e) < 0);
	assert_non_null(strstr(e.text, "/nowhere/at/all"));
	assert_true(file_source_open(&source, "/dev/null", NULL, &e) < 0);
}

static void a_file_on_a_server_equals_itself(void **state)
{
	struct random random = random_start(23);
	uint8_t *data = server_file(&server, "raw", 3 * MIB + 5, 23);
	struct origin *origin = open_origin("/raw");
	struct source *source;
	struct disk *disk;

	server_rules(&server, "/raw reset at=1000 after=2 every=5 count=3",
		"/raw status code=503 after=4 every=4 count=3", NULL);
	assert_int_equal(http_source_open(&source, origin, 2 * MIB, NULL, NULL), 0);
	assert_int_equal(source->size, 3 * MIB + 5);
	disk = open_disk(source);
	check_reads(disk, data, 3 * MIB + 5, &random, 4, 40);
	assert_true(number_in(disk, "network", "requests") >= 25);
	assert_true(number_in(disk, "network", "bytes") >= 3 * MIB);
	disk_close(disk);
	origin_close(origin);
	server_rules(&server, NULL);
	free(data);
}

static void a_file_that_changes_is_never_a_mixture(void **state)
{
	uint8_t *data = server_file(&server, "raw", MIB, 25), *buf = malloc(64 * KIB);
	struct origin *origin = open_origin("/raw");
	struct source *source;
	unsigned stale = 0;

	server_rules(&server, NULL);
	assert_int_equal(http_source_open(&source, origin, 2 * MIB, NULL, NULL), 0);
	for (uint64_t at = 0; at < MIB; at += 64 * KIB) {
		struct err e = ERR_INIT;
		int r;

		if (at == 512 * KIB)
			server_rules(&server, "/raw change", NULL);
		r = source_read(source, buf, 64 * KIB, at, &e);
		if (!r)
			assert_memory_equal(buf, data + at, 64 * KIB);
		else
			assert_int_equal(r, -ESTALE);
		if (r)
			assert_non_null(strstr(e.text, "changed"));
		stale += r == -ESTALE;
	}
	assert_int_equal(stale, 8);
	source_close(source);
	origin_close(origin);
	server_rules(&server, NULL);
	free(data);
	free(buf);
}

static void a_server_without_ranges_is_refused(void **state)
{
	uint8_t *data = server_file(&server, "raw", MIB, 27);
	struct origin *origin = open_origin("/raw");
	struct source *source;
	struct err e = ERR_INIT;

	server_rules(&server, "/raw noranges", NULL);
	assert_true(http_source_open(&source, origin, 2 * MIB, NULL, &e) < 0);
	if (!strstr(e.text, "range"))
		fail_msg("%s", e.text);
	origin_close(origin);
	server_rules(&server, NULL);
	free(data);
}

/* ---- cloop ---- */

static bool make_cloop(const char *from, const char *to, const char *block_size)
{
	const char *argv[] = {
		"create_compressed_fs", "-q", "-B", block_size, "-L", "1", from, to, NULL};
	int status;
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static void check_cloop(
	struct source *file, const uint8_t *data, size_t size, struct random *random)
{
	struct source *source;
	struct disk *disk;

	assert_int_equal(cloop_source_probe(file, NULL), 1);
	assert_int_equal(cloop_source_open(&source, file, 4 * MIB, NULL), 0);
	assert_true(source->size >= size); /* the last block is padded */
	disk = open_disk(source);
	check_reads(disk, data, size, random, 3, 40);
	disk_close(disk);
}

static void a_cloop_equals_what_went_in(void **state)
{
	static const char *const sizes[] = {"4096", "65536", "262144"};
	struct random random = random_start(31);
	uint8_t *data = server_file(&server, "image", 2 * MIB + 512, 31);
	char from[128], to[128];

	memset(data + MIB, 0, MIB / 2);
	snprintf(from, sizeof(from), "%s/image", server.dir);
	snprintf(to, sizeof(to), "%s/image.cloop", server.dir);
	write_file(from, data, 2 * MIB + 512);
	if (!make_cloop(from, to, "65536"))
		skip(); /* no cloop-utils here */
	for (int i = 0; i < 3; i++) {
		struct origin *origin = open_origin("/image.cloop");
		struct source *file;

		assert_true(make_cloop(from, to, sizes[i]));
		assert_int_equal(file_source_open(&file, to, NULL, NULL), 0);
		check_cloop(file, data, 2 * MIB + 512, &random);
		server_rules(&server, NULL);
		assert_int_equal(http_source_open(&file, origin, 4 * MIB, NULL, NULL), 0);
		check_cloop(file, data, 2 * MIB + 512, &random);
		origin_close(origin);
	}
	free(data);
}

static void a_damaged_cloop_is_an_error(void **state)
{
	uint8_t *data = server_file(&server, "image", MIB, 33), byte;
	struct source *file, *source;
	struct err e = ERR_INIT;
	char from[128], to[128];
	struct stat st;
	int fd;

	snprintf(from, sizeof(from), "%s/image", server.dir);
	snprintf(to, sizeof(to), "%s/image.cloop", server.dir);
	if (!make_cloop(from, to, "65536"))
		skip();
	fd = open(to, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(file_pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 136 + 3 * 8), 0);
	assert_int_equal(file_pwrite(fd, "damage", 6, (uint64_t)st.st_size / 2), 0);
	close(fd);
	assert_int_equal(file_source_open(&file, to, NULL, NULL), 0);
	assert_int_equal(cloop_source_open(&source, file, MIB, NULL), 0);
	assert_int_equal(source_read(source, &byte, 1, 0, NULL), 0);
	assert_true(source_read(source, &byte, 1, 3 * 65536, &e) < 0);
	assert_non_null(strstr(e.text, "cloop block 3"));
	assert_true(source_read(source, &byte, 1, MIB / 2, &e) < 0 ||
		    source_read(source, &byte, 1, MIB / 2 - 65536, &e) < 0);
	source_close(source);
	assert_int_equal(truncate(to, 200), 0);
	assert_int_equal(file_source_open(&file, to, NULL, NULL), 0);
	assert_true(cloop_source_open(&source, file, MIB, &e) < 0);
	source_close(file);
	free(data);
}

static int start_server(void **state)
{
	server_start(&server, NULL);
	return 0;
}

static int stop_server(void **state)
{
	server_stop(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stores_disk_equals_the_image),
		cmocka_unit_test(a_walk_visits_every_chunk_in_order),
		cmocka_unit_test(holes_of_a_store_are_told_without_its_chunks),
		cmocka_unit_test(a_bad_block_is_an_error_that_names_it),
		cmocka_unit_test(a_bad_index_node_is_an_error_that_names_it),
		cmocka_unit_test(a_bad_cache_entry_is_dropped_and_fetched_again),
		cmocka_unit_test(a_good_cache_stands_in_for_a_bad_store),
		cmocka_unit_test(a_cancelled_source_fails_soon),
		cmocka_unit_test(hostile_index_trees_are_refused),
		cmocka_unit_test(a_chunk_of_another_length_is_refused),
		cmocka_unit_test(a_huge_hole_is_only_zeros),
		cmocka_unit_test(a_local_file_equals_itself),
		cmocka_unit_test(holes_of_a_local_file_are_told),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(a_file_on_a_server_equals_itself),
		cmocka_unit_test(a_file_that_changes_is_never_a_mixture),
		cmocka_unit_test(a_server_without_ranges_is_refused),
		cmocka_unit_test(a_cloop_equals_what_went_in),
		cmocka_unit_test(a_damaged_cloop_is_an_error),
	};

	/* In memory: on a disk that is busy with something else a cache may be held to hang, and is bypassed. */
	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
