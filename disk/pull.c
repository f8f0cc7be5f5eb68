/* Pulling: see pull.h. This thread walks the index and fills a ring; workers take chunks out of it. */
#include "disk/pull.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "disk/store.h"

#define WORKERS ORIGIN_IN_FLIGHT
#define RING 256

struct job {
	struct hash hash;
	uint32_t len;
};

struct pull {
	struct image *image;
	bool go_on;
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

static void note_result(struct pull *p, const struct job *job, int r, const struct err *e)
{
	p->result.chunks++;
	p->result.bytes += job->len;
	p->result.fetched += r > 0;
	if (r < 0) {
		p->result.bad++;
		if (p->go_on)
			log_error("%s", e->text);
		if (!p->failed)
			p->why = *e;
		p->failed = p->failed ? p->failed : r;
	}
	progress_show(&p->progress, p->result.bytes, "");
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
		r = blocks_pull(p->image->blocks, &job.hash, job.len, &e);
		pthread_mutex_lock(&p->lock);
		note_result(p, &job, r, &e);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int add_job(void *context, const struct hash *hash, uint32_t len, struct err *e)
{
	struct pull *p = context;
	int r;

	pthread_mutex_lock(&p->lock);
	while (p->count == RING)
		pthread_cond_wait(&p->changed, &p->lock);
	p->ring[(p->first + p->count++) % RING] = (struct job){.hash = *hash, .len = len};
	pthread_cond_broadcast(&p->changed);
	r = p->go_on ? 0 : p->failed;
	if (r < 0)
		*e = p->why;
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int walk_tree(struct pull *p, const struct tree *tree, struct err *e)
{
	return tree->size ? store_walk(p->image->blocks, tree, add_job, p, e) : 0;
}

static int walk_all(struct pull *p, struct err *e)
{
	const struct manifest *m = &p->image->manifest;
	int r = walk_tree(p, &m->image, e);

	for (size_t i = 0; !r && i < m->boot_count; i++) {
		r = walk_tree(p, &m->boot[i].kernel, e);
		if (!r)
			r = walk_tree(p, &m->boot[i].initrd, e);
		for (size_t k = 0; !r && k < m->boot[i].module_count; k++)
			r = walk_tree(p, &m->boot[i].modules[k], e);
	}
	return r;
}

int pull_image(struct image *image, const char *what, bool go_on, struct pull_result *out, struct err *e)
{
	struct pull p = {.image = image, .go_on = go_on, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	pthread_t threads[WORKERS];
	unsigned started = 0;
	int r = 0;

	blocks_keep(image->blocks);
	progress_begin(&p.progress, what, image->manifest.image.size);
	for (; !r && started < WORKERS; started += !r)
		r = -pthread_create(&threads[started], NULL, worker, &p);
	if (r < 0)
		err_set(e, r, "cannot start a thread: %s", strerror(-r));
	else
		r = walk_all(&p, e);
	pthread_mutex_lock(&p.lock);
	p.ended = true;
	pthread_cond_broadcast(&p.changed);
	pthread_mutex_unlock(&p.lock);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	progress_end(&p.progress);
	if (!r && p.failed && !go_on) {
		*e = p.why;
		r = p.failed;
	}
	*out = p.result;
	return r;
}
