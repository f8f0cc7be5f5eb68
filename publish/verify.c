/* Verification: the trees are walked first, which reads and checks all nodes and lists all distinct
 * chunks; threads then take chunks from that list one by one; at the end, and only where something
 * is bad, a second walk finds who needs it. */
#include "publish/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash_set.h"
#include "base/log.h"
#include "format/block.h"
#include "publish/block_files.h"
#include "publish/key_files.h"
#include "publish/pipeline.h"
#include "publish/store.h"
#include "publish/tree.h"

struct chunk {
	struct hash hash;
	uint32_t length;
	bool bad;
};

struct verify {
	struct store store;
	struct verify_result *out;
	struct versions versions;
	struct hash_set met_nodes, met_chunks;
	struct hash_set bad;  /* by tree_key() */
	struct chunk *chunks; /* owned */
	size_t count, room;

	atomic_size_t next;
	atomic_ullong bytes, done;
	pthread_mutex_t lock; /* for the progress line and the result */
	struct progress progress;
};

static void on_bad_manifest(void *context, const char *file, const struct err *why)
{
	struct verify *v = context;

	v->out->bad_manifests++;
	log_error("bad: %s", why->text);
}

static int remember_bad(struct verify *v, const struct hash *hash, uint64_t length, const char *why)
{
	struct hash key;

	v->out->bad_blocks++;
	log_error("bad: %s", why);
	tree_key(&key, hash, length);
	return hash_set_add(&v->bad, &key, 0) < 0 ? -ENOMEM : 0;
}

static int on_node(void *context, const struct hash *hash, struct err *e)
{
	struct verify *v = context;

	v->out->blocks++;
	return 0;
}

static int on_broken(void *context, const struct hash *hash, const struct err *why, struct err *e)
{
	return remember_bad(context, hash, 0, why->text) < 0 ? err_set(e, -ENOMEM, "no memory") : 0;
}

static int on_chunk(void *context, const struct index_entry *entry, struct err *e)
{
	struct verify *v = context;
	struct hash key;
	int r;

	tree_key(&key, &entry->hash, entry->length);
	r = hash_set_add(&v->met_chunks, &key, 0);
	if (r <= 0)
		return r < 0 ? err_set(e, r, "no memory for the list of blocks") : 0;
	if (v->count == v->room) {
		size_t room = v->room ? v->room * 2 : 1024;
		struct chunk *chunks = reallocarray(v->chunks, room, sizeof(*chunks));

		if (!chunks)
			return err_set(e, -ENOMEM, "no memory for the list of blocks");
		v->chunks = chunks;
		v->room = room;
	}
	v->chunks[v->count++] =
		(struct chunk){.hash = entry->hash, .length = (uint32_t)entry->length};
	return 0;
}

static int walk_all(
	int fd, const struct manifest *m, const struct tree_visitor *visitor, struct err *e)
{
	int r = tree_walk(fd, &m->image, visitor, e);

	for (size_t i = 0; !r && i < m->boot_count; i++) {
		const struct boot_entry *b = &m->boot[i];

		r = b->kernel.size ? tree_walk(fd, &b->kernel, visitor, e) : 0;
		if (!r && b->initrd.size)
			r = tree_walk(fd, &b->initrd, visitor, e);
		for (size_t k = 0; !r && k < b->module_count; k++)
			r = tree_walk(fd, &b->modules[k], visitor, e);
	}
	return r;
}

static void check_signature(struct verify *v, const struct version *at)
{
	struct public_key key;
	struct err why = ERR_INIT;
	int r = store_image_key(&v->store, at->manifest.name, &key, &why);

	if (r == -ENOENT || !at->newest)
		return;
	if (r >= 0)
		r = store_signed_by(&v->store, at->file, &key, &why);
	if (!r)
		err_set(&why, -EKEYREJECTED,
			"%s: signed by another key than %s/key.pub, or changed", at->file,
			at->manifest.name);
	if (r <= 0)
		on_bad_manifest(v, at->file, &why);
}

/* A bad pack costs its readers time, but not more. */
static void check_pack(struct verify *v, const struct manifest *m)
{
	struct err why = ERR_INIT;

	if (!m->profile.size || pack_file_verify(v->store.fd, &m->profile, m->image.size, &why) == 0)
		return;
	v->out->bad_blocks++;
	log_error("bad: %s", why.text);
}

static void check_chunk(struct verify *v, struct chunk *c, struct buf *scratch)
{
	struct err why = ERR_INIT;
	uint64_t bytes = 0;
	int r = block_file_load(v->store.fd, &c->hash, c->length, scratch, &bytes, &why);

	v->bytes += bytes;
	v->done += c->length;
	pthread_mutex_lock(&v->lock);
	if (r < 0) {
		c->bad = true;
		remember_bad(v, &c->hash, c->length, why.text);
	}
	progress_show(&v->progress, v->done, NULL);
	pthread_mutex_unlock(&v->lock);
}

static void *run_worker(void *context)
{
	_cleanup_buf_ struct buf scratch = BUF_INIT(BLOCK_LEN_MAX);
	struct verify *v = context;
	size_t i;

	while ((i = v->next++) < v->count)
		check_chunk(v, &v->chunks[i], &scratch);
	return NULL;
}

static void check_chunks(struct verify *v, unsigned jobs)
{
	pthread_t threads[PIPELINE_JOBS_MAX];
	unsigned started = 0;
	uint64_t total = 0;

	for (size_t i = 0; i < v->count; i++)
		total += v->chunks[i].length;
	progress_begin(&v->progress, "verifying", total);
	while (started + 1 < jobs && !pthread_create(&threads[started], NULL, run_worker, v))
		started++;
	run_worker(v);
	while (started)
		pthread_join(threads[--started], NULL);
	progress_end(&v->progress);
}

/* Who needs a bad block. */

struct need_search {
	struct verify *v;
	uint64_t count;
};

static int count_if_bad(struct need_search *s, const struct hash *hash, uint64_t length)
{
	struct hash key;

	tree_key(&key, hash, length);
	s->count += hash_set_find(&s->v->bad, &key) != NULL;
	return 0;
}

static int need_chunk(void *context, const struct index_entry *entry, struct err *e)
{
	return count_if_bad(context, &entry->hash, entry->length);
}

static int need_broken(void *context, const struct hash *hash, const struct err *why, struct err *e)
{
	return count_if_bad(context, hash, 0);
}

static int name_needy(struct verify *v, struct err *e)
{
	for (size_t i = 0; i < v->versions.count; i++) {
		struct need_search search = {.v = v};
		struct tree_visitor visitor = {
			.chunk = need_chunk, .broken = need_broken, .context = &search};
		int r = v->versions.list[i].manifest.revoked ? 0 : walk_all(v->store.fd, &v->versions.list[i].manifest, &visitor, e);

		if (r < 0)
			return r;
		if (search.count)
			log_error("%s needs bad or missing blocks in %" PRIu64 " places",
				v->versions.list[i].file, search.count);
	}
	return 0;
}

static int run(struct verify *v, unsigned jobs, struct err *e)
{
	struct tree_visitor visitor = {.node = on_node,
		.chunk = on_chunk,
		.broken = on_broken,
		.context = v,
		.met = &v->met_nodes};
	int r = store_versions(&v->store, NULL, on_bad_manifest, v, &v->versions, e);

	v->out->manifests = v->versions.count + v->out->bad_manifests;
	for (size_t i = 0; !r && i < v->versions.count; i++) {
		const struct version *at = &v->versions.list[i];

		check_signature(v, at);
		if (at->newest)
			r = key_files_verify(&v->store, at->manifest.name, &v->versions, on_bad_manifest, v, e);
		if (r < 0)
			break;
		if (at->manifest.revoked)
			continue;
		r = walk_all(v->store.fd, &v->versions.list[i].manifest, &visitor, e);
		if (!r && (!at->newest || !i || v->versions.list[i - 1].manifest.version != at->manifest.version))
			check_pack(v, &at->manifest);
	}
	if (r < 0)
		return r;
	check_chunks(v, jobs);
	v->out->blocks += v->count;
	v->out->bytes = v->bytes;
	return v->out->bad_blocks ? name_needy(v, e) : 0;
}

int verify_store(const char *path, unsigned jobs, struct verify_result *out, struct err *e)
{
	struct verify v = {.out = out};
	int r;

	*out = (struct verify_result){0};
	r = store_open(&v.store, path, e);
	if (r < 0)
		return r;
	store_lock_shared(&v.store);
	pthread_mutex_init(&v.lock, NULL);
	r = run(&v, jobs ? jobs : pipeline_default_jobs(), e);
	pthread_mutex_destroy(&v.lock);
	versions_free(&v.versions);
	hash_set_free(&v.met_nodes);
	hash_set_free(&v.met_chunks);
	hash_set_free(&v.bad);
	free(v.chunks);
	store_close(&v.store);
	return r;
}
