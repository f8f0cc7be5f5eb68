/* A set of mirrors: see origin.h. How they are asked is in origin_get.c and race.c. */
#include "fetch/origin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fetch/quest.h"

#define CONNECT_DEFAULT_MS 10000
#define STALL_DEFAULT_MS 15000
#define TYPICAL_BYTES (32 << 10) /* of a block, until one knows */

_Static_assert(ORIGIN_IN_FLIGHT == HTTP_IN_FLIGHT && ORIGIN_REDIRECTS == HTTP_REDIRECTS,
	"the limits are the loop's");

/* Who pauses may try again. */
static void on_change(void *context)
{
	struct origin *o = context;

	pthread_mutex_lock(&o->lock);
	o->outages_ended++;
	for (size_t i = 0; i < o->count; i++)
		estimate_route_changed(&o->mirrors[i]->estimate);
	pthread_cond_broadcast(&o->wake);
	pthread_mutex_unlock(&o->lock);
}

int origin_open(struct origin **out, const char *const *urls, size_t count,
	const struct origin_options *o, struct err *e)
{
	struct http_options options = {
		.proxy = o->proxy,
		.cacert = o->cacert,
		.headers = o->headers,
		.netrc = o->netrc,
		.connect_ms = o->connect_ms ? o->connect_ms : CONNECT_DEFAULT_MS,
		.stall_ms = o->stall_ms ? o->stall_ms : STALL_DEFAULT_MS,
		.changed = on_change,
	};
	struct origin *origin;
	int r = 0;

	*out = NULL;
	if (!count)
		return err_set(e, -EINVAL, "no URL to fetch from");
	if (o->cacert && access(o->cacert, R_OK) < 0)
		return err_errno(e, "cannot read the certificates in %s", o->cacert);
	origin = calloc(1, sizeof(*origin));
	options.context = origin;
	if (!origin)
		return err_set(e, -ENOMEM, "no memory for an origin");
	origin->timeout_ms = o->timeout_ms;
	origin->budget = (struct hedge_budget)HEDGE_BUDGET_INIT;
	origin->typical_bytes = TYPICAL_BYTES;
	pthread_mutex_init(&origin->lock, NULL);
	clock_cond_init(&origin->wake);
	clock_cond_init(&origin->room);
	origin->home = strdup(o->home ? o->home : urls[0]);
	if (!origin->home)
		r = err_set(e, -ENOMEM, "no memory for an origin");
	for (size_t i = 0; i < count && !r; i++)
		r = origin_add(origin, urls[i], e);
	if (!r)
		r = http_open(&origin->http, &options, e);
	if (r < 0) {
		origin_close(origin);
		return r;
	}
	*out = origin;
	return 0;
}

static int add_mirror(struct origin *o, struct mirror *m, struct err *e)
{
	for (size_t i = 0; i < o->count; i++) {
		if (!strcmp(o->mirrors[i]->url, m->url)) {
			mirror_free(m);
			return 0;
		}
	}
	if (o->count == MIRRORS_MAX) {
		mirror_free(m);
		return err_set(e, -E2BIG, "more than %d mirrors", MIRRORS_MAX);
	}
	o->mirrors[o->count++] = m;
	return 0;
}

int origin_add(struct origin *o, const char *url, struct err *e)
{
	struct mirror *m;
	int r = mirror_new(&m, url, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&o->lock);
	r = add_mirror(o, m, e);
	pthread_mutex_unlock(&o->lock);
	return r;
}

void origin_wake(struct origin *o)
{
	http_wake(o->http);
}

double origin_expected_ms(struct origin *o, double bytes)
{
	double best_us = 0;

	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < o->count; i++) {
		const struct mirror *m = o->mirrors[i];
		double us = estimate_known(&m->estimate) ? m->estimate.latency_us + estimate_body_us(&m->estimate, bytes) : 0;

		if (!m->failures && us > 0 && (best_us <= 0 || us < best_us))
			best_us = us;
	}
	pthread_mutex_unlock(&o->lock);
	return best_us / 1e3;
}

size_t origin_count(struct origin *o)
{
	size_t count;

	pthread_mutex_lock(&o->lock);
	count = o->count;
	pthread_mutex_unlock(&o->lock);
	return count;
}

void origin_cancel(struct origin *o)
{
	pthread_mutex_lock(&o->lock);
	o->canceled = true;
	pthread_cond_broadcast(&o->wake);
	pthread_cond_broadcast(&o->room);
	pthread_mutex_unlock(&o->lock);
	if (o->http)
		http_cancel(o->http);
}

void origin_close(struct origin *o)
{
	if (!o)
		return;
	origin_cancel(o);
	pthread_mutex_lock(&o->lock);
	while (o->quests)
		clock_cond_wait(&o->wake, &o->lock, 0);
	pthread_mutex_unlock(&o->lock);
	http_close(o->http);
	for (size_t i = 0; i < o->count; i++)
		mirror_free(o->mirrors[i]);
	pthread_cond_destroy(&o->wake);
	pthread_cond_destroy(&o->room);
	pthread_mutex_destroy(&o->lock);
	free(o->home);
	free(o);
}

void origin_stats(struct origin *o, struct origin_stats *out)
{
	pthread_mutex_lock(&o->lock);
	*out = o->stats;
	out->hedge_budget = o->budget.requests;
	if (o->trouble) {
		out->trouble_ms = clock_ms() - o->trouble_since_ms;
		memcpy(out->trouble, o->trouble_text, sizeof(out->trouble));
	}
	pthread_mutex_unlock(&o->lock);
}

json_t *origin_status(struct origin *o)
{
	json_t *out = json_array();
	uint64_t good = 0;

	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < o->count; i++)
		good += o->mirrors[i]->good;
	for (size_t i = 0; i < o->count; i++)
		json_array_append_new(out, mirror_status(o->mirrors[i], good, clock_ms()));
	pthread_mutex_unlock(&o->lock);
	return out;
}
