/* Filling: see fill.h. */
#include "disk/fill.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "disk/copies.h"
#include "disk/image.h"
#include "disk/pull.h"

#define WORKERS                                                                                    \
	4 /* what a line of 100 ms needs for some Mbit/s; a reader has most places of the HTTP     \
	     loop */
#define QUIET_MS 500 /* without a reader that waits for the network, before it goes on */
#define LOOK_MS 100

enum state { FILLING, WAITING, DONE, FAILED };

struct fill {
	struct image *image;
	pthread_t thread;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	enum state state;
	bool paused, ended;
	struct err why; /* it failed */
};

static bool must_wait(const struct fill *f)
{
	return f->paused || blocks_in_demand(f->image->blocks, QUIET_MS) ||
	       (f->image->playback && playback_is_busy(f->image->playback));
}

/* Of the workers, before each block. */
static int wait_for_turn(void *context)
{
	struct fill *f = context;
	int r;

	pthread_mutex_lock(&f->lock);
	while (!f->ended && must_wait(f)) {
		f->state = WAITING;
		clock_cond_wait(&f->changed, &f->lock, clock_ms() + LOOK_MS);
	}
	f->state = FILLING;
	r = f->ended ? -ECANCELED : 0;
	pthread_mutex_unlock(&f->lock);
	return r;
}

static int check_kept(const struct image *image, struct err *e)
{
	struct cache_stats s;

	cache_stats(image->cache, &s);
	return s.write_errors || s.read_only
		       ? err_set(e, -EIO, "not all blocks could be written to %s",
				 cache_dir(image->cache))
		       : 0;
}

static void *fill(void *context)
{
	struct fill *f = context;
	struct image *image = f->image;
	const struct pull_options o = {.workers = WORKERS, .gate = wait_for_turn, .context = f};
	struct pull_result result;
	struct err e = ERR_INIT;
	int r = pull_image(image, &o, &result, &e);

	if (!r)
		r = check_kept(image, &e);
	if (!r && image->link.has_key && !image->link.version)
		copy_mark(image->cache, &image->link.key, &image->manifest, false);
	pthread_mutex_lock(&f->lock);
	f->state = r < 0 ? FAILED : DONE;
	f->why = e;
	pthread_mutex_unlock(&f->lock);
	if (!r)
		log_info("all of %s is in %s now: it needs no network any more",
			image->manifest.name, cache_dir(image->cache));
	else if (r != -ECANCELED)
		log_warning("the cache is not filled with the rest of the image: %s", e.text);
	return NULL;
}

int fill_start(struct fill **out, struct image *image, struct err *e)
{
	struct fill *f;
	int r;

	if (!image->in_store || !image->origin || !image->cache)
		return err_set(e, -EINVAL,
			"only an image in a store on a web server, with a cache, can be filled in");
	if (pull_check_room(image, e) < 0)
		return -ENOSPC;
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(e, -ENOMEM, "no memory");
	f->image = image;
	pthread_mutex_init(&f->lock, NULL);
	clock_cond_init(&f->changed);
	r = thread_start(&f->thread, fill, f);
	if (r < 0) {
		free(f);
		return err_set(e, r, "cannot start a thread");
	}
	*out = f;
	return 0;
}

void fill_toggle(struct fill *f)
{
	bool paused;

	pthread_mutex_lock(&f->lock);
	paused = f->paused = !f->paused;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	log_info(paused ? "filling the cache is paused" : "filling the cache goes on");
}

void fill_status(struct fill *f, json_t *out)
{
	static const char *const names[] = {"filling", "waiting", "done", "failed"};
	json_t *state;

	pthread_mutex_lock(&f->lock);
	state = json_pack(
		"{s:s}", "state", f->paused && f->state < DONE ? "paused" : names[f->state]);
	if (state && f->state == FAILED)
		json_object_set_new(state, "reason", json_string(f->why.text));
	pthread_mutex_unlock(&f->lock);
	json_object_set_new(out, "fill", state);
}

void fill_end(struct fill *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->ended = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
