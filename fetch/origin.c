/* The policy of asking mirrors: see origin.h.
 *
 * A request (struct quest) goes in rounds. In a round every mirror that is still of use is asked
 * once, those that work before those that failed lately, none before the time it named in
 * Retry-After. The first accepted answer ends the quest. A mirror is of no more use to it after 404
 * or 403 once, ORIGIN_BAD_TRIES wrong answers, or SHORT_TRIES answers cut off in the middle: those
 * look like a failing network, and a root disk should outlast one, but a broken file looks the same
 * for ever. No answer at all never uses a mirror up. When none is of use any more the quest fails.
 * Between rounds it pauses (backoff.h), and ends the pause early when a mirror returns from an
 * outage.
 *
 * Trouble is told once per origin: when a quest has waited TROUBLE_MS, and again when an answer
 * came and nobody waits any more.
 *
 * One lock guards mirrors, statistics and flags; it is not held while a transfer runs or a check is
 * made. */
#include "fetch/origin.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "fetch/backoff.h"
#include "fetch/http.h"
#include "fetch/mirror.h"

#define MIRRORS_MAX 128 /* bounds what a manifest can make us ask */
#define SHORT_TRIES 8   /* about 12 s with the pauses between them */
#define TROUBLE_MS 1000
#define CONNECT_DEFAULT_MS 10000
#define STALL_DEFAULT_MS 15000

_Static_assert(ORIGIN_IN_FLIGHT == HTTP_IN_FLIGHT && ORIGIN_REDIRECTS == HTTP_REDIRECTS,
	"the limits are the loop's");

struct origin {
	struct http *http;
	unsigned timeout_ms;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t wake;  /* canceled, an outage ended, or the last quest ended */
	struct mirror *mirrors[MIRRORS_MAX]; /* only ever grows */
	size_t count;
	size_t quests;
	uint64_t outages_ended;
	bool canceled;
	bool trouble; /* has been told */
	uint64_t trouble_since_ms;
	struct origin_stats stats;
};

struct attempt { /* what one quest knows about one mirror */
	unsigned wrong, cut;
	unsigned round; /* in which it was asked last */
	bool used_up;
	enum http_outcome outcome; /* of the last try */
	char *text;                /* the same for people, or NULL: not asked yet */
};

struct quest {
	struct origin *origin;
	const struct origin_request *rq;
	uint64_t start_ms, deadline_ms; /* 0: none */
	unsigned round;                 /* from 1 on */
	unsigned tries;
	bool gone;                 /* counted in stats.gone */
	uint64_t failing_since_ms; /* first time without an answer; 0: never */
	struct attempt attempts[MIRRORS_MAX];
};

/* How long it may take, with all tries; 0: without limit. */
static unsigned limit_ms(const struct quest *q)
{
	return q->origin->timeout_ms ? q->origin->timeout_ms : q->rq->timeout_ms;
}

/* ---- opening, closing ---- */

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
	};
	struct origin *origin;
	int r = 0;

	*out = NULL;
	if (!count)
		return err_set(e, -EINVAL, "no URL to fetch from");
	if (o->cacert && access(o->cacert, R_OK) < 0)
		return err_errno(e, "cannot read the certificates in %s", o->cacert);
	origin = calloc(1, sizeof(*origin));
	if (!origin)
		return err_set(e, -ENOMEM, "no memory for an origin");
	origin->timeout_ms = o->timeout_ms;
	pthread_mutex_init(&origin->lock, NULL);
	clock_cond_init(&origin->wake);
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

void origin_cancel(struct origin *o)
{
	pthread_mutex_lock(&o->lock);
	o->canceled = true;
	pthread_cond_broadcast(&o->wake);
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
	pthread_mutex_destroy(&o->lock);
	free(o);
}

void origin_stats(struct origin *o, struct origin_stats *out)
{
	pthread_mutex_lock(&o->lock);
	*out = o->stats;
	pthread_mutex_unlock(&o->lock);
}

json_t *origin_status(struct origin *o)
{
	json_t *out = json_array();

	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < o->count; i++)
		json_array_append_new(out, mirror_status(o->mirrors[i]));
	pthread_mutex_unlock(&o->lock);
	return out;
}

/* ---- trouble, told once ---- */

static void tell_trouble(struct quest *q, const char *url, const char *text)
{
	struct origin *o = q->origin;
	bool first;

	pthread_mutex_lock(&o->lock);
	first = !o->trouble;
	if (first) {
		o->trouble = true;
		o->trouble_since_ms = q->failing_since_ms;
	}
	pthread_mutex_unlock(&o->lock);
	if (first && limit_ms(q))
		log_warning("%s: %s; trying again for %.1f s", url, text, (double)limit_ms(q) / 1000.0);
	else if (first)
		log_warning("%s: %s; waiting for it to return", url, text);
}

static void tell_end(struct origin *o, const char *url)
{
	uint64_t since = 0;

	pthread_mutex_lock(&o->lock);
	if (o->trouble && !o->stats.gone) {
		o->trouble = false;
		since = o->trouble_since_ms;
	}
	pthread_mutex_unlock(&o->lock);
	if (since)
		log_info("%s answers again, after %.1f s", url,
			(double)(clock_ms() - since) / 1000.0);
}

/* ---- a quest's rounds ---- */

/* The next mirror of this round, or -1. *pending: some mirror is still of use. */
static int next_mirror(struct quest *q, bool *pending)
{
	struct origin *o = q->origin;
	uint64_t now = clock_ms();
	int best = -1;

	*pending = false;
	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < o->count; i++) {
		const struct mirror *m = o->mirrors[i];

		if (q->attempts[i].used_up)
			continue;
		*pending = true;
		if (q->attempts[i].round == q->round || now < m->not_before_ms)
			continue;
		if (best < 0 || (now < o->mirrors[best]->retry_at_ms && now >= m->retry_at_ms))
			best = (int)i;
	}
	pthread_mutex_unlock(&o->lock);
	return best;
}

/* When a mirror of use may be asked again, not before `earliest`. */
static uint64_t next_time(struct quest *q, uint64_t earliest)
{
	struct origin *o = q->origin;
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < o->count; i++) {
		uint64_t then = o->mirrors[i]->not_before_ms;

		if (q->attempts[i].used_up)
			continue;
		then = then > earliest ? then : earliest;
		at = then < at ? then : at;
	}
	return at;
}

/* The mirror whose last try got no answer, or -1: nobody is gone. */
static int silent_mirror(struct quest *q)
{
	struct origin *o = q->origin;
	int found = -1;

	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < o->count && found < 0; i++)
		if (!q->attempts[i].used_up &&
			(q->attempts[i].outcome == HTTP_NO_ANSWER || !q->attempts[i].text))
			found = (int)i;
	pthread_mutex_unlock(&o->lock);
	return found;
}

static void note_gone(struct quest *q, uint64_t wait_ms)
{
	struct origin *o = q->origin;
	int i = silent_mirror(q);
	uint64_t now = clock_ms();

	if (i < 0)
		return;
	if (!q->failing_since_ms)
		q->failing_since_ms = now;
	pthread_mutex_lock(&o->lock);
	o->stats.gone += !q->gone;
	q->gone = true;
	pthread_mutex_unlock(&o->lock);
	if (now - q->failing_since_ms + wait_ms >= TROUBLE_MS)
		tell_trouble(q, o->mirrors[i]->url,
			q->attempts[i].text ? q->attempts[i].text : "asked to wait");
}

/* Waits for the next round. */
static int pause_quest(struct quest *q)
{
	struct origin *o = q->origin;
	uint64_t now = clock_ms(), soonest = now + BACKOFF_FIRST_MS,
		 earliest = now + backoff_ms(q->round), until, seen;
	int r = 0;

	pthread_mutex_lock(&o->lock);
	until = next_time(q, earliest);
	seen = o->outages_ended;
	pthread_mutex_unlock(&o->lock);
	note_gone(q, until - now);
	pthread_mutex_lock(&o->lock);
	for (;;) {
		uint64_t end = until;

		if (o->outages_ended != seen) /* somebody got through */
			end = next_time(q, soonest < earliest ? soonest : earliest);
		now = clock_ms();
		if (o->canceled)
			r = -ECANCELED;
		else if (q->deadline_ms && now >= q->deadline_ms)
			r = -ETIMEDOUT;
		if (r < 0 || now >= end)
			break;
		if (q->deadline_ms && q->deadline_ms < end)
			end = q->deadline_ms;
		clock_cond_wait(&o->wake, &o->lock, end);
	}
	pthread_mutex_unlock(&o->lock);
	q->round++;
	return r;
}

/* ---- asking one mirror ---- */

static void judge_body(struct quest *q, struct http_answer *a)
{
	struct err why = ERR_INIT;
	int r;

	if (a->outcome != HTTP_OK || !q->rq->check)
		return;
	r = q->rq->check(q->rq->context, &a->body, &why);
	if (!r)
		return;
	a->outcome = HTTP_WRONG;
	snprintf(a->text, sizeof(a->text), "%.300s", why.text[0] ? why.text : strerror(-r));
}

static void note_answer(struct quest *q, size_t i, const struct http_answer *a)
{
	struct origin *o = q->origin;
	struct attempt *t = &q->attempts[i];

	t->outcome = a->outcome;
	free(t->text);
	t->text = strdup(a->outcome == HTTP_OK ? "" : a->text);
	t->wrong += a->outcome == HTTP_WRONG;
	t->cut += a->outcome == HTTP_SHORT;
	t->used_up = a->outcome == HTTP_MISSING || a->outcome == HTTP_DENIED ||
		     t->wrong >= ORIGIN_BAD_TRIES || t->cut >= SHORT_TRIES;
	if (a->outcome == HTTP_NO_ANSWER && !q->failing_since_ms)
		q->failing_since_ms = clock_ms();
	pthread_mutex_lock(&o->lock);
	o->stats.requests++;
	o->stats.bytes += a->received;
	o->stats.bad += a->outcome == HTTP_WRONG || a->outcome == HTTP_SHORT;
	if (mirror_note(o->mirrors[i], a, clock_ms())) {
		o->outages_ended++;
		pthread_cond_broadcast(&o->wake);
	}
	pthread_mutex_unlock(&o->lock);
}

/* 0: look at the answer; -ETIMEDOUT, -ECANCELED, -ENOMEM. */
static int ask(struct quest *q, size_t i, struct http_answer *a)
{
	struct origin *o = q->origin;
	const struct origin_request *rq = q->rq;
	const struct attempt *before = &q->attempts[i];
	_cleanup_free_ char *url =
		file_path("%s%s%s", o->mirrors[i]->url, *rq->path ? "/" : "", rq->path);
	struct http_request hr = {
		.url = url,
		.home = o->mirrors[0]->url,
		.offset = rq->offset,
		.len = rq->len,
		.if_range = rq->if_range,
		.max = rq->max,
		.background = rq->background,
		.revalidate = rq->fresh || before->wrong, /* a proxy may hold wrong bytes */
		.new_connection = before->text,           /* what failed may be the connection */
	};
	int r;

	if (!url)
		return -ENOMEM;
	if (q->tries++) {
		pthread_mutex_lock(&o->lock);
		o->stats.retries++;
		pthread_mutex_unlock(&o->lock);
	}
	q->attempts[i].round = q->round;
	r = http_get(o->http, &hr, q->deadline_ms, a);
	if (r < 0)
		return r;
	judge_body(q, a);
	note_answer(q, i, a);
	return 0;
}

/* ---- the outcome ---- */

static void take(struct quest *q, size_t i, struct http_answer *a, struct origin_answer *out)
{
	out->body = a->body;
	a->body = (struct buf){0};
	out->total = a->total;
	memcpy(out->etag, a->etag, sizeof(out->etag));
	memcpy(out->type, a->type, sizeof(out->type));
	out->mirror = q->origin->mirrors[i]->url;
}

/* "URL: what happened (also tried URL: what happened there; ...)" */
static int fail(struct quest *q, int code, const char *first, struct err *e)
{
	struct buf text = BUF_INIT(ERR_TEXT_MAX - 1);
	struct origin *o = q->origin;
	const char *path = q->rq->path, *slash = *path ? "/" : "";
	size_t count, told = 0;

	pthread_mutex_lock(&o->lock);
	count = o->count;
	pthread_mutex_unlock(&o->lock);
	for (size_t i = 0; i < count; i++) {
		const char *what = q->attempts[i].text;

		if (!what || !*what)
			continue;
		if (!told && *first)
			buf_printf(&text, "%s%s%s: %s (%s", o->mirrors[i]->url, slash, path, first,
				what);
		else if (!told)
			buf_printf(&text, "%s%s%s: %s", o->mirrors[i]->url, slash, path, what);
		else
			buf_printf(&text, "%s%s: %s",
				told > 1 ? "; "
				: *first ? "; also tried "
					 : " (also tried ",
				o->mirrors[i]->url, what);
		told++;
	}
	if (!told) { /* not asked by this quest: it wanted to be left alone, or failed, before */
		char before[HTTP_TEXT_MAX];

		pthread_mutex_lock(&o->lock);
		memcpy(before, o->mirrors[0]->last_error, sizeof(before));
		pthread_mutex_unlock(&o->lock);
		buf_printf(&text, "%s%s%s: %s", o->mirrors[0]->url, slash, path,
			*first ? first : strerror(-code));
		if (*before && code == -ETIMEDOUT)
			buf_printf(&text, " (before: %s)", before);
	} else if (told > 1 || *first)
		buf_printf(&text, ")");
	err_set(e, code, "%s", text.data ? (const char *)text.data : strerror(-code));
	buf_free(&text);
	return code;
}

/* The code of a quest that no mirror can fulfil: the most telling of the reasons. */
static int refused(const struct quest *q)
{
	int code = -ENOENT;

	for (size_t i = 0; i < MIRRORS_MAX; i++) {
		if (!q->attempts[i].text)
			continue;
		if (q->attempts[i].outcome == HTTP_WRONG || q->attempts[i].outcome == HTTP_SHORT)
			return -EBADMSG;
		if (q->attempts[i].outcome == HTTP_DENIED)
			code = -EACCES;
	}
	return code;
}

static int timed_out(struct quest *q, struct err *e)
{
	char first[64];

	snprintf(first, sizeof(first), "no good answer within %.1f s",
		(double)limit_ms(q) / 1000.0);
	return fail(q, -ETIMEDOUT, first, e);
}

static int pursue(struct quest *q, struct origin_answer *out, struct err *e)
{
	int r = 0;

	for (;;) {
		struct http_answer a;
		bool pending;
		int i = next_mirror(q, &pending);

		if (!pending)
			return fail(q, refused(q), "", e);
		if (i < 0 && q->rq->once)
			return fail(q, silent_mirror(q) < 0 ? refused(q) : -EHOSTUNREACH, "", e);
		if (i < 0)
			r = pause_quest(q);
		else
			r = ask(q, (size_t)i, &a);
		if (r == -ETIMEDOUT)
			return timed_out(q, e);
		if (r == -ECANCELED)
			return fail(q, r, "canceled", e);
		if (r < 0)
			return fail(q, r, strerror(-r), e);
		if (i < 0)
			continue;
		if (a.outcome == HTTP_OK)
			take(q, (size_t)i, &a, out);
		buf_free(&a.body);
		if (a.outcome == HTTP_OK)
			return i;
		if (a.outcome == HTTP_STALE)
			return fail(q, -ESTALE, "", e);
	}
}

static int enter(struct origin *o)
{
	int r = 0;

	pthread_mutex_lock(&o->lock);
	if (o->canceled)
		r = -ECANCELED;
	else
		o->quests++;
	pthread_mutex_unlock(&o->lock);
	return r;
}

static void leave(struct quest *q, const char *answered)
{
	struct origin *o = q->origin;

	pthread_mutex_lock(&o->lock);
	o->stats.gone -= q->gone;
	pthread_mutex_unlock(&o->lock);
	if (answered)
		tell_end(o, answered);
	for (size_t i = 0; i < MIRRORS_MAX; i++)
		free(q->attempts[i].text);
	pthread_mutex_lock(&o->lock);
	o->quests--;
	pthread_cond_broadcast(&o->wake);
	pthread_mutex_unlock(&o->lock);
}

int origin_get(
	struct origin *o, const struct origin_request *rq, struct origin_answer *out, struct err *e)
{
	struct quest q = {.origin = o, .rq = rq, .start_ms = clock_ms(), .round = 1};
	int r;

	memset(out, 0, sizeof(*out));
	if (rq->len && (rq->offset > UINT64_MAX - rq->len || rq->len > SIZE_MAX ||
			       (rq->max && rq->len > rq->max)))
		return err_set(e, -EINVAL,
			"%s/%s: %" PRIu64 " bytes at %" PRIu64 " cannot be asked for",
			o->mirrors[0]->url, rq->path, rq->len, rq->offset);
	if (limit_ms(&q))
		q.deadline_ms = q.start_ms + limit_ms(&q);
	r = enter(o);
	if (r < 0)
		return err_set(e, r, "%s: canceled", o->mirrors[0]->url);
	r = pursue(&q, out, e);
	leave(&q, r < 0 ? NULL : o->mirrors[r]->url);
	return r < 0 ? r : 0;
}
