/* What every way of asking mirrors shares: see quest.h. A mirror is of no more use to a quest after 404 or 403 once,
 * ORIGIN_BAD_TRIES wrong answers, or SHORT_TRIES answers cut off in the middle: those look like a failing network, and a root disk
 * should outlast one, but a broken file looks the same for ever. No answer at all never uses a mirror up. */
#include "fetch/quest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "fetch/trouble.h"

#define SHORT_TRIES 8 /* about 12 s with the pauses between them */

/* ---- begin, end ---- */

/* How long it may take, with all tries; 0: without limit. */
static unsigned limit_ms(const struct quest *q)
{
	unsigned all = q->origin->timeout_ms, this = q->rq->timeout_ms;

	if (q->rq->once && this && this < all)
		return this;
	return all ? all : this;
}

/* Call with the lock held. */
static bool has_room(const struct origin *o)
{
	double room = 0;

	for (size_t i = 0; i < o->count; i++)
		room += mirror_room(o->mirrors[i], o->typical_bytes);
	return !o->bulk || o->bulk < room;
}

/* Waits for a change, or until then, with the lock held. 0, -ECANCELED, -ETIMEDOUT (the quest's deadline). */
static int wait_locked(struct quest *q, pthread_cond_t *change, uint64_t until_ms)
{
	struct origin *o = q->origin;

	if (o->canceled)
		return -ECANCELED;
	if (q->deadline_ms && clock_ms() >= q->deadline_ms)
		return -ETIMEDOUT;
	clock_cond_wait(change, &o->lock, q->deadline_ms && (!until_ms || q->deadline_ms < until_ms) ? q->deadline_ms : until_ms);
	return 0;
}

/* Each that begins lets the next one look, so that an answer wakes up no more than begin. */
static int wait_for_room(struct quest *q)
{
	struct origin *o = q->origin;
	int r = 0;

	while (!r && !has_room(o))
		r = wait_locked(q, &o->room, 0);
	if (!r)
		o->bulk++;
	q->bulk = !r;
	pthread_cond_signal(&o->room);
	return r;
}

int quest_begin(struct quest *q, struct origin *o, const struct origin_request *rq, struct err *e)
{
	int r = 0;

	*q = (struct quest){.origin = o, .rq = rq, .start_ms = clock_ms()};
	if (rq->len && (rq->offset > UINT64_MAX - rq->len || rq->len > SIZE_MAX || (rq->max && rq->len > rq->max)))
		return err_set(e, -EINVAL, "%s/%s: %" PRIu64 " bytes at %" PRIu64 " cannot be asked for", o->mirrors[0]->url,
			rq->path, rq->len, rq->offset);
	if (limit_ms(q))
		q->deadline_ms = q->start_ms + limit_ms(q);
	pthread_mutex_lock(&o->lock);
	o->quests++;
	if (o->canceled)
		r = -ECANCELED;
	else if (rq->bulk)
		r = wait_for_room(q);
	pthread_mutex_unlock(&o->lock);
	if (!r)
		return 0;
	quest_fail(q, r, e);
	quest_end(q, NULL);
	return r;
}

void quest_end(struct quest *q, const char *answered)
{
	struct origin *o = q->origin;

	pthread_mutex_lock(&o->lock);
	o->stats.gone -= q->gone;
	pthread_mutex_unlock(&o->lock);
	if (answered)
		trouble_tell_end(o, answered);
	for (size_t i = 0; i < MIRRORS_MAX; i++)
		free(q->attempts[i].text);
	pthread_mutex_lock(&o->lock);
	o->quests--;
	if (q->bulk) {
		o->bulk--;
		pthread_cond_signal(&o->room);
	}
	pthread_cond_broadcast(&o->wake);
	pthread_mutex_unlock(&o->lock);
}

/* ---- asking one mirror ---- */

double quest_expected_bytes(const struct origin *o, const struct origin_request *rq)
{
	if (rq->len)
		return (double)rq->len;
	return rq->max && (double)rq->max < o->typical_bytes ? (double)rq->max : o->typical_bytes;
}

static void begin(struct quest *q, struct query *x)
{
	struct origin *o = q->origin;
	struct mirror *m = o->mirrors[x->mirror];

	pthread_mutex_lock(&o->lock);
	x->bytes = quest_expected_bytes(o, q->rq);
	x->body_us = estimate_body_us(&m->estimate, m->ahead + x->bytes);
	mirror_begin(m, x->bytes, clock_ms());
	o->stats.retries += q->tries && !x->hedge;
	o->stats.hedges += x->hedge;
	m->hedges += x->hedge;
	pthread_mutex_unlock(&o->lock);
	q->tries++;
}

/* Call with the lock held. */
static void end(struct quest *q, struct query *x)
{
	mirror_end(q->origin->mirrors[x->mirror], x->bytes);
	q->origin->hedging -= x->hedge;
}

static void finish(struct query *x)
{
	http_finish(x->transfer);
	x->transfer = NULL;
}

int quest_ask(struct quest *q, size_t i, bool hedge, struct query *out)
{
	struct origin *o = q->origin;
	const struct origin_request *rq = q->rq;
	const struct attempt *before = &q->attempts[i];
	_cleanup_free_ char *url = file_path("%s%s%s", o->mirrors[i]->url, *rq->path ? "/" : "", rq->path);
	struct http_request hr = {
		.url = url,
		.home = o->home,
		.offset = rq->offset,
		.len = rq->len,
		.if_range = rq->if_range,
		.max = rq->max,
		.sink = rq->sink,
		.context = rq->sink ? rq->context : NULL,
		.background = rq->background,
		.revalidate = rq->fresh || before->wrong, /* a proxy may hold wrong bytes */
		.new_connection = before->text,		  /* what failed may be the connection */
		.patient = before->silent,
		.urgent = hedge,
	};
	int r;

	*out = (struct query){.mirror = i, .hedge = hedge};
	begin(q, out);
	r = url ? http_start(o->http, &hr, &out->transfer) : -ENOMEM;
	if (r < 0) {
		pthread_mutex_lock(&o->lock);
		end(q, out);
		pthread_mutex_unlock(&o->lock);
	}
	return r;
}

void quest_refuse(struct http_answer *a, int code, const struct err *why)
{
	a->outcome = HTTP_WRONG;
	snprintf(a->text, sizeof(a->text), "%.300s", why->text[0] ? why->text : strerror(-code));
}

static void note_attempt(struct quest *q, struct attempt *t, const struct http_answer *a)
{
	t->outcome = a->outcome;
	free(t->text);
	t->text = strdup(a->outcome == HTTP_OK ? "" : a->text);
	t->silent = !a->status;
	t->wrong += a->outcome == HTTP_WRONG;
	t->cut += a->outcome == HTTP_SHORT;
	t->used_up = a->outcome == HTTP_MISSING || a->outcome == HTTP_DENIED || t->wrong >= ORIGIN_BAD_TRIES ||
		     t->cut >= SHORT_TRIES;
	if (a->outcome == HTTP_NO_ANSWER && !q->failing_since_ms)
		q->failing_since_ms = clock_ms();
}

static void tell_news(const struct mirror *m, unsigned news, const char *text)
{
	if (news & MIRROR_TELL_DEMOTED)
		log_info("mirror %s fails (%s): others are asked first until it is good again", m->url, text);
	if (news & MIRROR_TELL_GOOD)
		log_info("mirror %s is good again", m->url);
}

/* Takes in what an answer, or its absence, says about the mirror. */
static void note_mirror(struct quest *q, struct query *x, const struct http_answer *a)
{
	struct origin *o = q->origin;
	struct mirror *m = o->mirrors[x->mirror];
	bool good = a->outcome == HTTP_OK, alone;
	unsigned news;

	pthread_mutex_lock(&o->lock);
	o->stats.requests++;
	o->stats.bytes += a->received;
	o->stats.bad += a->outcome == HTTP_WRONG || a->outcome == HTTP_SHORT;
	hedge_earn(&o->budget, !x->hedge, a->received);
	m->hedges_won += x->hedge && good;
	if (good && !q->rq->len)
		o->typical_bytes += ((double)a->received - o->typical_bytes) / 8;
	news = mirror_note(m, a, clock_ms());
	end(q, x);
	alone = o->count == 1; /* then what there is to tell is trouble */
	if (news & MIRROR_RETURNED) {
		o->outages_ended++;
		pthread_cond_broadcast(&o->wake);
	}
	pthread_mutex_unlock(&o->lock);
	if (!alone)
		tell_news(m, news, a->text);
}

static void suspect(struct quest *q, const struct query *x, struct http_answer *a)
{
	struct origin *o = q->origin;
	char why[HTTP_TEXT_MAX];
	bool good;

	if (!a->stranger || (a->outcome != HTTP_WRONG && a->outcome != HTTP_STALE))
		return;
	pthread_mutex_lock(&o->lock);
	good = o->mirrors[x->mirror]->good;
	pthread_mutex_unlock(&o->lock);
	if (good)
		a->outcome = HTTP_NO_ANSWER;
	if (a->status != 200)
		return;
	memcpy(why, a->text, sizeof(why));
	snprintf(a->text, sizeof(a->text), "a web page came instead (does this network want a login?): %.200s", why);
}

enum http_outcome quest_note(struct quest *q, struct query *x, struct http_answer *a)
{
	enum http_outcome outcome;

	suspect(q, x, a);
	outcome = a->outcome;
	note_attempt(q, &q->attempts[x->mirror], a);
	note_mirror(q, x, a);
	finish(x);
	return outcome;
}

bool quest_progress(const struct query *x, struct hedge_progress *p)
{
	struct http_progress at = http_progress(x->transfer);
	uint64_t now_us = clock_us(), from_us = at.sent_us ? at.sent_us : at.begun_us;

	*p = (struct hedge_progress){.connected = at.sent_us, .received = at.received, .length = at.length};
	if (from_us && now_us > from_us)
		p->spent_us = (double)(now_us - from_us);
	return from_us;
}

void quest_drop(struct quest *q, struct query *x)
{
	if (!x->transfer)
		return;
	pthread_mutex_lock(&q->origin->lock);
	end(q, x);
	pthread_mutex_unlock(&q->origin->lock);
	finish(x);
}

void quest_drop_slow(struct quest *q, struct query *x)
{
	struct origin *o = q->origin;
	struct hedge_progress p;

	if (!x->transfer)
		return;
	pthread_mutex_lock(&o->lock);
	if (quest_progress(x, &p))
		mirror_note_lost(o->mirrors[x->mirror], p.spent_us, p.received);
	o->stats.bytes += p.received;
	pthread_mutex_unlock(&o->lock);
	quest_drop(q, x);
}

void quest_drop_lost(struct quest *q, struct query *x)
{
	struct origin *o = q->origin;
	uint64_t received = http_progress(x->transfer).received;

	pthread_mutex_lock(&o->lock);
	o->stats.hedge_bytes += received;
	hedge_pay(&o->budget, received);
	hedge_earn(&o->budget, !x->hedge, 0);
	pthread_mutex_unlock(&o->lock);
	quest_drop_slow(q, x);
}

void quest_drop_late(struct quest *q, struct query *x)
{
	struct http_answer a = {.outcome = HTTP_NO_ANSWER};
	struct hedge_progress p;

	quest_progress(x, &p);
	a.received = p.received;
	a.spent_us = (uint64_t)p.spent_us;
	if (p.received) {
		a.status = 200;
		snprintf(a.text, sizeof(a.text), "%" PRIu64 " bytes in %.1f s, too slow", p.received, p.spent_us / 1e6);
	} else {
		a.latency_us = a.spent_us;
		snprintf(a.text, sizeof(a.text), "%s within %.1f s", p.connected ? "no answer" : "no connection", p.spent_us / 1e6);
	}
	quest_note(q, x, &a);
}

void quest_take(struct quest *q, size_t i, struct http_answer *a, struct origin_answer *out)
{
	out->body = a->body;
	a->body = (struct buf){0};
	out->total = a->total;
	memcpy(out->etag, a->etag, sizeof(out->etag));
	memcpy(out->type, a->type, sizeof(out->type));
	out->mirror = q->origin->mirrors[i]->url;
}

/* ---- when nobody answers ---- */

bool quest_has_hope(struct quest *q)
{
	size_t count = origin_count(q->origin);

	for (size_t i = 0; i < count; i++)
		if (!q->attempts[i].used_up)
			return true;
	return false;
}

/* The mirror whose last try got no answer, or -1: nobody is gone. */
static int silent_mirror(struct quest *q)
{
	size_t count = origin_count(q->origin);

	for (size_t i = 0; i < count; i++)
		if (!q->attempts[i].used_up && (q->attempts[i].outcome == HTTP_NO_ANSWER || !q->attempts[i].text))
			return (int)i;
	return -1;
}

bool quest_is_silent(struct quest *q)
{
	return silent_mirror(q) >= 0;
}

void quest_note_gone(struct quest *q, uint64_t wait_ms)
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
		trouble_tell(q, o->mirrors[i]->url, q->attempts[i].text ? q->attempts[i].text : "asked to wait");
}

int quest_sleep(struct quest *q, uint64_t until_ms, bool *returned)
{
	struct origin *o = q->origin;
	uint64_t seen;
	int r = 0;

	pthread_mutex_lock(&o->lock);
	seen = o->outages_ended;
	while (!r && clock_ms() < until_ms) {
		if (returned && o->outages_ended != seen) {
			*returned = true;
			break;
		}
		r = wait_locked(q, &o->wake, until_ms);
	}
	pthread_mutex_unlock(&o->lock);
	return r;
}

/* ---- why it failed ---- */

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

/* Not asked by this quest: it wanted to be left alone, or failed, before. */
static void explain_unasked(struct quest *q, int code, const char *first, struct buf *text)
{
	struct origin *o = q->origin;
	char before[HTTP_TEXT_MAX];

	pthread_mutex_lock(&o->lock);
	memcpy(before, o->mirrors[0]->last_error, sizeof(before));
	pthread_mutex_unlock(&o->lock);
	buf_printf(text, "%s%s%s: %s", o->mirrors[0]->url, *q->rq->path ? "/" : "", q->rq->path, *first ? first : strerror(-code));
	if (*before && code == -ETIMEDOUT)
		buf_printf(text, " (before: %s)", before);
}

/* "URL: what happened (also tried URL: what happened there; ...)" */
static int explain(struct quest *q, int code, const char *first, struct err *e)
{
	struct buf text = BUF_INIT(ERR_TEXT_MAX - 1);
	struct origin *o = q->origin;
	size_t count = origin_count(o), told = 0;
	const char *path = q->rq->path, *slash = *path ? "/" : "";

	for (size_t i = 0; i < count; i++) {
		const char *what = q->attempts[i].text;

		if (!what || !*what)
			continue;
		if (!told && *first)
			buf_printf(&text, "%s%s%s: %s (%s", o->mirrors[i]->url, slash, path, first, what);
		else if (!told)
			buf_printf(&text, "%s%s%s: %s", o->mirrors[i]->url, slash, path, what);
		else
			buf_printf(&text, "%s%s: %s", told > 1 ? "; " : *first ? "; also tried " : " (also tried ",
				o->mirrors[i]->url, what);
		told++;
	}
	if (!told)
		explain_unasked(q, code, first, &text);
	else if (told > 1 || *first)
		buf_printf(&text, ")");
	err_set(e, code, "%s", text.data ? (const char *)text.data : strerror(-code));
	buf_free(&text);
	return code;
}

int quest_fail(struct quest *q, int code, struct err *e)
{
	char first[64] = "";

	if (!code)
		code = refused(q);
	if (code == -ETIMEDOUT)
		snprintf(first, sizeof(first), "no good answer within %.1f s", (double)limit_ms(q) / 1000.0);
	else if (code == -ECANCELED)
		snprintf(first, sizeof(first), "canceled");
	else if (code == -ENOMEM)
		snprintf(first, sizeof(first), "%s", strerror(ENOMEM));
	return explain(q, code, first, e);
}
