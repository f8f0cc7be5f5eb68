/* Pulling: see pull.h. This thread walks the index and fills a ring; workers take chunks out of it. Chunks that stand in the tree again and
 * again are worked on once, as far as a table of the latest ones remembers them; its order is secret, so that nobody can have two chunks
 * displace each other on purpose. */
#include "disk/pull.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "disk/store.h"
#include "format/pack.h"

#define WORKERS ORIGIN_IN_FLIGHT
#define RING 256
#define LATEST 65536 /* chunks: 1 MB */

struct job {
	struct hash hash;
	uint32_t len;
};

struct latest {
	uint64_t a, b; /* of a chunk's hash */
};

struct pull {
	struct image *image;
	const struct pull_options *o;
	uint64_t secret;
	struct hash last;      /* chunk of a pack; the walking thread's */
	struct latest *latest; /* the walking thread's */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct job ring[RING];
	unsigned first, count;
	bool ended; /* nothing more comes */
	int failed; /* the first error; without go_on no more work is done */
	struct err why;
	struct pull_result result;
	struct progress progress;
};

/* Was it met lately? Remembers it. */
static bool met(struct pull *p, const struct hash *hash)
{
	struct latest key, *slot;

	memcpy(&key, hash->bytes, sizeof(key));
	slot = &p->latest[((key.a ^ p->secret) * 0x9e3779b97f4a7c15 >> 32) % LATEST];
	if (slot->a == key.a && slot->b == key.b)
		return true;
	*slot = key;
	return false;
}

static void show(struct pull *p)
{
	if (p->o->what)
		progress_show(&p->progress, p->result.bytes, "");
}

static void note_chunk(struct pull *p, uint32_t len)
{
	p->result.chunks++;
	p->result.bytes += len;
}

static int note_fetched(struct pull *p, int bytes, struct err *e)
{
	char size[TEXT_SIZE_MAX];

	p->result.fetched += bytes > 0;
	p->result.fetched_bytes += (uint64_t)bytes;
	if (!p->o->most || p->result.fetched_bytes <= p->o->most)
		return 0;
	text_size(size, p->o->most);
	return err_set(e, -EFBIG, "its blocks take more than %s: more than its manifest tells of, or than the cache may have", size);
}

static void note_result(struct pull *p, const struct job *job, int r, struct err *e)
{
	note_chunk(p, job->len);
	if (r > 0)
		r = note_fetched(p, r, e);
	if (r < 0) {
		p->result.bad++;
		if (p->o->go_on)
			log_error("%s", e->text);
		if (!p->failed)
			p->why = *e;
		p->failed = p->failed ? p->failed : r;
	}
	show(p);
}

static void *worker(void *arg)
{
	struct pull *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct err e = ERR_INIT;
		struct job job;
		int r;

		while (!p->count && !p->ended)
			pthread_cond_wait(&p->changed, &p->lock);
		if (!p->count)
			break;
		job = p->ring[p->first];
		p->first = (p->first + 1) % RING;
		p->count--;
		pthread_cond_broadcast(&p->changed);
		pthread_mutex_unlock(&p->lock);
		r = p->o->gate ? p->o->gate(p->o->context) : 0;
		if (r < 0)
			err_set(&e, r, "stopped");
		else
			r = blocks_pull(p->image->blocks, &job.hash, job.len, &e);
		pthread_mutex_lock(&p->lock);
		note_result(p, &job, r, &e);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int add_job(void *context, uint64_t offset, const struct hash *hash, uint32_t len, struct err *e)
{
	struct pull *p = context;
	int r;

	pthread_mutex_lock(&p->lock);
	if (met(p, hash)) {
		note_chunk(p, len);
		show(p);
		goto out;
	}
	while (p->count == RING)
		pthread_cond_wait(&p->changed, &p->lock);
	p->ring[(p->first + p->count++) % RING] = (struct job){.hash = *hash, .len = len};
	pthread_cond_broadcast(&p->changed);
out:
	r = p->o->go_on ? 0 : p->failed;
	if (r < 0)
		*e = p->why;
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int walk_tree(struct pull *p, const struct tree *tree, struct err *e)
{
	return tree->size ? store_walk(p->image->blocks, tree, add_job, p, e) : 0;
}

/* Extents in one chunk follow each other. */
static int add_other_job(void *context, uint64_t offset, const struct hash *hash, uint32_t len, struct err *e)
{
	struct pull *p = context;
	int r = hash_equal(hash, &p->last) ? 0 : add_job(context, offset, hash, len, e);

	p->last = *hash;
	return r;
}

static int walk_pack(struct pull *p, const struct pack *pack, struct err *e)
{
	const struct tree *tree = &p->image->manifest.image;
	int r = 0;

	for (uint32_t i = 0; !r && i < pack->extent_count; i++) {
		const struct pack_extent *x = &pack->extents[pack->by_page[i]];
		uint64_t offset = x->page * PACK_PAGE, len = (uint64_t)x->pages * PACK_PAGE;

		r = store_visit_range(p->image->blocks, tree, offset, len < tree->size - offset ? len : tree->size - offset, add_other_job,
			p, e);
	}
	return r;
}

static int walk_all(struct pull *p, struct err *e)
{
	const struct manifest *m = &p->image->manifest;
	int r = p->o->only ? walk_pack(p, p->o->only, e) : walk_tree(p, &m->image, e);

	for (size_t i = 0; !r && i < m->boot_count; i++) {
		r = walk_tree(p, &m->boot[i].kernel, e);
		if (!r)
			r = walk_tree(p, &m->boot[i].initrd, e);
		for (size_t k = 0; !r && k < m->boot[i].module_count; k++)
			r = walk_tree(p, &m->boot[i].modules[k], e);
	}
	return r;
}

static int run(struct pull *p, struct err *e)
{
	unsigned workers = p->o->workers ? p->o->workers : WORKERS, started = 0;
	pthread_t threads[WORKERS];
	int r = 0;

	for (; !r && started < workers; started += !r)
		r = thread_start(&threads[started], worker, p);
	if (r < 0)
		err_set(e, r, "cannot start a thread: %s", strerror(-r));
	else
		r = walk_all(p, e);
	pthread_mutex_lock(&p->lock);
	p->ended = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (!r && p->failed && !p->o->go_on) {
		*e = p->why;
		r = p->failed;
	}
	return r;
}

int pull_check_room(const struct image *image, struct err *e)
{
	char need[TEXT_SIZE_MAX], have[TEXT_SIZE_MAX];
	uint64_t most = cache_most(image->cache);

	text_size(need, image->manifest.stored);
	text_size(have, most);
	return image->manifest.stored <= most ? 0
					      : err_set(e, -ENOSPC,
							"the image takes %s and the cache may have %s: say more with --cache-size",
							need, have);
}

int pull_image(struct image *image, const struct pull_options *o, struct pull_result *out, struct err *e)
{
	_cleanup_free_ struct latest *latest = calloc(LATEST, sizeof(*latest));
	struct pull p = {.image = image, .o = o, .latest = latest, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	int r;

	if (!latest || getrandom(&p.secret, sizeof(p.secret), 0) != sizeof(p.secret))
		return err_set(e, -ENOMEM, "no memory to go through an image");
	blocks_keep(image->blocks);
	if (o->what)
		progress_begin(&p.progress, o->what, o->only ? (uint64_t)o->only->pages * PACK_PAGE : image->manifest.image.size);
	r = run(&p, e);
	if (o->what)
		progress_end(&p.progress);
	*out = p.result;
	return r;
}
