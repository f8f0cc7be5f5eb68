/* Asking for a manifest again: see refresh.h. Each time for as long as a first contact may take, then a minute's rest. */
#include "disk/refresh.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "disk/manifests.h"

#define REST_MS 60000

struct refresh {
	const struct link *link;
	uint64_t present;
	struct origin *origin;
	struct cache *cache;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ended;
};

static void rest(struct refresh *r)
{
	uint64_t until = clock_ms() + REST_MS;

	while (!r->ended && clock_ms() < until)
		clock_cond_wait(&r->wake, &r->lock, until);
}

static int ask(const struct refresh *r)
{
	struct found_manifest found = {0};
	const struct manifest *m = &found.manifest;
	struct err e = ERR_INIT;
	int result = manifest_refresh(&found, r->link, r->origin, r->cache, ORIGIN_FIRST_MS, &e);

	if (result < 0)
		log_debug("no newer manifest yet: %s", e.text);
	else if (m->revoked)
		log_warning("its publisher has revoked %s%s%s: the next start is refused", m->name, *m->reason ? ": " : "", m->reason);
	else if (m->version > r->present)
		log_info("version %" PRIu64 " of %s has come: the next start is from that", m->version, m->name);
	found_manifest_free(&found);
	return result;
}

static void *ask_on(void *context)
{
	struct refresh *r = context;
	int found = -1;

	pthread_mutex_lock(&r->lock);
	while (!r->ended && found < 0) {
		pthread_mutex_unlock(&r->lock);
		found = ask(r);
		pthread_mutex_lock(&r->lock);
		if (found < 0)
			rest(r);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

struct refresh *refresh_start(const struct link *l, uint64_t present, struct origin *origin, struct cache *cache)
{
	struct refresh *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct refresh){.link = l, .present = present, .origin = origin, .cache = cache};
	pthread_mutex_init(&r->lock, NULL);
	clock_cond_init(&r->wake);
	if (!thread_start(&r->thread, ask_on, r))
		return r;
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
	return NULL;
}

void refresh_end(struct refresh *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->ended = true;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
