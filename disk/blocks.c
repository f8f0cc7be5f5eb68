/* Blocks of a store: see blocks.h. Index nodes go through a memory of their own, so that a walk may hold a node while it
 * asks for a chunk, and bulk reads do not push the index out. */
#include "disk/blocks.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "disk/network_status.h"
#include "format/block.h"
#include "format/index.h"

#define INSTEAD_OF_CACHE_MS 5000 /* for the network, before a cache that is bypassed is asked all the same */
#define HANGS_LOOK_MS 50 /* how often a medium that hangs is asked again */
#define NODE_ROOM (INDEX_NODE_MAX + (INDEX_NODE_ENTRIES + 1) * sizeof(uint64_t))

struct blocks {
	struct cache *store, *cache;
	struct origin *origin;
	struct memory *chunks, *nodes;
	atomic_uint_fast64_t bad_local;
	atomic_bool cancelled, keep;
	atomic_uint demanded;	      /* loads from the network that somebody waits for */
	atomic_uint_fast64_t demanded_ms; /* when the last of them ended */
	atomic_uint_fast64_t no_network_until_ms; /* the cache is bypassed, and the network did not stand in for it */
};

/* What a block must be: of `len` bytes exactly, or (len 0) an index node of at most INDEX_NODE_MAX. */
struct wanted {
	const struct hash *hash;
	size_t len;
	bool bulk;     /* nobody waits for it */
	uint8_t *data; /* the result; owned */
	size_t made;
	size_t fetched; /* bytes that came from the network for it */
};

/* Bytes of a block file: what zstd may need for data that does not compress (ZSTD_COMPRESSBOUND). Loading has room for that
 * much; a server that sends more must not make us take more. */
static size_t frame_max(const struct wanted *w)
{
	size_t len = w->len ? w->len : INDEX_NODE_MAX;

	return len + (len >> 8) + 64;
}

static int decode(struct wanted *w, const struct buf *frame, struct err *e)
{
	int64_t len = w->len ? (int64_t)w->len : block_claimed_len(frame->data, frame->len, e);
	int r;

	if (len < 0)
		return (int)len;
	if (!w->len && len > INDEX_NODE_MAX)
		return err_set(e, -EBADMSG, "%lld bytes are too many for an index node", (long long)len);
	if (!w->data)
		w->data = malloc(w->len ? w->len : INDEX_NODE_MAX);
	if (!w->data)
		return err_set(e, -ENOMEM, "no memory for a block of %lld bytes", (long long)len);
	r = block_decode(w->data, (size_t)len, w->hash, frame->data, frame->len, e);
	w->made = (size_t)len;
	return r;
}

static int check_body(void *context, const struct buf *body, struct err *e)
{
	return decode(context, body, e);
}

/* Where there is no network, a medium that hangs is waited for like one: a disk that takes three seconds to spin up is no error. */
static int load_anyway(struct blocks *b, struct cache *c, const struct hash *hash, struct buf *frame)
{
	static const struct timespec soon = {.tv_nsec = HANGS_LOOK_MS * 1000000L};
	int r;

	while ((r = cache_load_anyway(c, hash, frame)) == -EAGAIN && !b->origin && !b->cancelled)
		nanosleep(&soon, NULL);
	return r;
}

/* From a folder: 0, or an error that makes the caller go on. `reason` tells about a block that is there and bad. `anyway`: also from
 * a cache that is bypassed. */
static int load_folder(struct blocks *b, struct cache *c, struct wanted *w, bool anyway, struct err *reason)
{
	_cleanup_buf_ struct buf frame = BUF_INIT(frame_max(w));
	int r;

	if (!c)
		return -ENOENT;
	r = anyway ? load_anyway(b, c, w->hash, &frame) : cache_load(c, w->hash, &frame);
	if (r < 0 && r != -EFBIG) {
		if (r != -ENOENT)
			err_set(reason, r, "%s: %s", cache_dir(c), strerror(-r));
		return r;
	}
	r = r < 0 ? err_set(reason, -EBADMSG, "the file is longer than this block may be") : decode(w, &frame, reason);
	if (r < 0) {
		err_add(reason, "in %s", cache_dir(c));
		b->bad_local++;
		log_debug("a bad block: %s", reason->text);
		if (c == b->cache)
			cache_drop(c, w->hash);
	}
	return r;
}

/* `once`: only if it can be had soon. */
static int load_network(struct blocks *b, struct wanted *w, bool background, bool once, struct err *e)
{
	char path[BLOCK_PATH_MAX];
	struct origin_request rq = {.path = path, .max = frame_max(w), .check = check_body, .context = w, .background = background, .bulk = w->bulk};
	struct origin_answer answer = {0};
	int r;

	if (once) {
		rq.once = true;
		rq.timeout_ms = INSTEAD_OF_CACHE_MS;
	}
	block_path(w->hash, path);
	b->demanded += !background;
	r = origin_get(b->origin, &rq, &answer, e);
	if (!background) {
		b->demanded_ms = clock_ms();
		b->demanded--;
	}
	if (r < 0)
		return r;
	w->fetched = answer.body.len;
	if (b->cache && b->keep)
		cache_keep(b->cache, w->hash, answer.body.data, answer.body.len);
	else if (b->cache)
		cache_store(b->cache, w->hash, answer.body.data, answer.body.len);
	buf_free(&answer.body);
	return 0;
}

static int name_block(const struct hash *hash, struct err *e)
{
	char name[HASH_HEX_MAX];

	hash_hex(hash, name);
	return err_add(e, "block %.16s...", name);
}

/* A cache that is bypassed may still have what the network cannot give: it is asked second then, before anybody waits for the
 * network to return. */
static int load_remote(struct blocks *b, struct wanted *w, bool background, bool bypassed, struct err *reason, struct err *e)
{
	if (bypassed && clock_ms() >= b->no_network_until_ms) {
		if (!load_network(b, w, background, true, NULL))
			return 1;
		b->no_network_until_ms = clock_ms() + INSTEAD_OF_CACHE_MS; /* one reader in a while finds out */
	}
	if (bypassed && !load_folder(b, b->cache, w, true, reason))
		return 0;
	return load_network(b, w, background, false, e) ? : 1;
}

/* Returns 1 if it came from the network, 0 if from a folder. */
static int load_block(struct blocks *b, struct wanted *w, bool background, struct err *e)
{
	struct err reason = ERR_INIT;
	int r;

	if (b->cancelled)
		return err_set(e, -ECANCELED, "stopped");
	if (!load_folder(b, b->store, w, true, &reason))
		return 0;
	r = load_folder(b, b->cache, w, !b->origin, &reason);
	if (!r)
		return 0;
	if (b->origin) {
		r = load_remote(b, w, background, r == -EAGAIN, &reason, e);
	} else if (reason.code) {
		if (e)
			*e = reason;
		r = reason.code == -ECANCELED ? -ECANCELED : -EIO;
	} else {
		r = err_set(e, -ENOENT, "not in the store %s; its publisher can check it with `inetboot verify`",
			b->store ? cache_dir(b->store) : "");
	}
	if (r < 0) {
		free(w->data);
		w->data = NULL;
		name_block(w->hash, e);
	}
	return r;
}

static int load_chunk(void *context, const struct memory_key *key, bool background, uint8_t **data, size_t *len, struct err *e)
{
	struct wanted w = {.hash = &key->hash, .len = key->room};
	int r = load_block(context, &w, background, e);

	*data = w.data;
	*len = w.made;
	return r < 0 ? r : 0;
}

/* Nodes are kept as: starts[count + 1], then hashes[count]. */
static int load_node(void *context, const struct memory_key *key, bool background, uint8_t **data, size_t *len, struct err *e)
{
	struct wanted w = {.hash = &key->hash};
	_cleanup_free_ uint8_t *raw = NULL;
	struct index_node node;
	uint64_t *starts;
	struct hash *hashes;
	int r = load_block(context, &w, background, e);

	raw = w.data;
	if (r < 0)
		return r;
	r = index_node_open(&node, raw, w.made, key->kind, key->span, e);
	if (r < 0)
		return name_block(&key->hash, e);
	*len = (node.count + 1) * sizeof(uint64_t) + node.count * sizeof(struct hash);
	*data = malloc(*len);
	if (!*data)
		return err_set(e, -ENOMEM, "no memory for an index node");
	starts = (uint64_t *)*data;
	hashes = (struct hash *)(starts + node.count + 1);
	starts[0] = 0;
	for (uint32_t i = 0; i < node.count; i++) {
		struct index_entry entry;

		index_node_entry(&node, i, &entry);
		starts[i + 1] = starts[i] + entry.length;
		hashes[i] = entry.hash;
	}
	return 0;
}

int blocks_open(struct blocks **out, struct cache *store, struct cache *cache, struct origin *origin, const struct budget *budget,
	struct err *e)
{
	unsigned threads = origin ? ORIGIN_IN_FLIGHT : 4;
	struct blocks *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return err_set(e, -ENOMEM, "no memory for a store");
	b->store = store;
	b->cache = cache;
	b->origin = origin;
	r = memory_open(&b->nodes, budget->nodes, 0, load_node, b, e);
	if (!r)
		r = memory_open(&b->chunks, budget->chunks, threads, load_chunk, b, e);
	if (r < 0) {
		blocks_close(b);
		return r;
	}
	*out = b;
	return 0;
}

static struct memory_key chunk_key(const struct hash *hash, uint32_t len)
{
	return (struct memory_key){.hash = *hash, .span = len, .room = len};
}

int blocks_chunk(struct blocks *b, const struct hash *hash, uint32_t len, const struct memory_block **out, struct err *e)
{
	struct memory_key key = chunk_key(hash, len);

	return memory_get(b->chunks, &key, out, e);
}

bool blocks_want(struct blocks *b, const struct hash *hash, uint32_t len, bool background)
{
	struct memory_key key = chunk_key(hash, len);

	return memory_want(b->chunks, &key, background);
}

void blocks_put(struct blocks *b, const struct memory_block *block)
{
	memory_put(b->chunks, block);
}

int blocks_node(struct blocks *b, const struct hash *hash, unsigned level, uint64_t span, struct node *out, struct err *e)
{
	struct memory_key key = {.hash = *hash, .span = span, .kind = level, .room = NODE_ROOM};
	int r = memory_get(b->nodes, &key, &out->block, e);

	if (r < 0)
		return r;
	out->level = level;
	out->count = (uint32_t)((out->block->len - sizeof(uint64_t)) / (sizeof(uint64_t) + sizeof(struct hash)));
	out->starts = (const uint64_t *)out->block->data;
	out->hashes = (const struct hash *)(out->starts + out->count + 1);
	return 0;
}

void blocks_put_node(struct blocks *b, struct node *n)
{
	memory_put(b->nodes, n->block);
	n->block = NULL;
}

uint32_t node_find(const struct node *n, uint64_t offset)
{
	uint32_t low = 0, high = n->count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (n->starts[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

void blocks_keep(struct blocks *b)
{
	b->keep = true;
}

int blocks_pull(struct blocks *b, const struct hash *hash, uint32_t len, struct err *e)
{
	struct wanted w = {.hash = hash, .len = len, .bulk = true};
	size_t charge = memory_reserve(b->chunks, len);
	int r = load_block(b, &w, true, e);

	free(w.data);
	memory_unreserve(b->chunks, charge);
	return r < 0 ? r : (int)w.fetched; /* at most BLOCK_FILE_MAX */
}

bool blocks_in_demand(const struct blocks *b, uint64_t ms)
{
	return b->demanded || (b->demanded_ms && clock_ms() - b->demanded_ms < ms);
}

static void memory_status(struct memory *m, json_t *out, const char *name)
{
	struct memory_stats s;

	memory_stats(m, &s);
	json_object_set_new(out, name, json_pack("{s:I, s:I, s:i, s:I, s:I, s:I}", "bytes", (json_int_t)s.bytes, "peak",
		(json_int_t)s.peak, "waiting", (int)s.waiting, "hits", (json_int_t)s.hits, "loads", (json_int_t)s.loads, "failures",
		(json_int_t)s.failures));
}

static void cache_status(struct cache *c, json_t *out)
{
	struct cache_stats s;

	cache_stats(c, &s);
	json_object_set_new(out, "cache", json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "dir", cache_dir(c),
		"state", s.bypassed ? "bypassed" : s.read_only ? "read-only" : "used",
		"bytes", (json_int_t)s.bytes, "hits", (json_int_t)s.hits, "misses", (json_int_t)s.misses,
		"stores", (json_int_t)s.stores, "drops", (json_int_t)s.drops, "evictions", (json_int_t)s.evictions,
		"write_errors", (json_int_t)s.write_errors, "load_errors", (json_int_t)s.load_errors));
}

void blocks_status(struct blocks *b, json_t *out)
{
	memory_status(b->chunks, out, "memory");
	memory_status(b->nodes, out, "index_memory");
	if (b->cache)
		cache_status(b->cache, out);
	json_object_set_new(out, "bad_blocks", json_integer((json_int_t)b->bad_local));
	if (b->origin)
		network_status(b->origin, out);
}

void blocks_cancel(struct blocks *b)
{
	b->cancelled = true;
	if (b->origin)
		origin_cancel(b->origin);
}

void blocks_close(struct blocks *b)
{
	if (b->chunks)
		memory_close(b->chunks);
	if (b->nodes)
		memory_close(b->nodes);
	free(b);
}
