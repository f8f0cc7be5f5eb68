/* One request, answered by one mirror: origin_get() of origin.h.
 *
 * It goes in rounds. In a round every mirror that is still of use is asked once, those that work before those that failed lately, none
 * before the time it named in Retry-After. The first accepted answer ends the quest; it fails when no mirror is of use any more.
 * Between rounds it pauses (backoff.h), and ends the pause early when a mirror returns from an outage. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "fetch/backoff.h"
#include "fetch/quest.h"

/* The next mirror of this round, or -1. */
static int next_mirror(struct quest *q, unsigned round)
{
	struct origin *o = q->origin;
	uint64_t now = clock_ms();
	int best = -1;

	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < o->count; i++) {
		const struct mirror *m = o->mirrors[i];

		if (q->attempts[i].used_up || q->attempts[i].round == round || now < m->not_before_ms)
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

	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < o->count; i++) {
		uint64_t then = o->mirrors[i]->not_before_ms;

		if (q->attempts[i].used_up)
			continue;
		then = then > earliest ? then : earliest;
		at = then < at ? then : at;
	}
	pthread_mutex_unlock(&o->lock);
	return at;
}

/* Waits for the next round. */
static int pause_quest(struct quest *q, unsigned round)
{
	uint64_t now = clock_ms(), soonest = now + BACKOFF_FIRST_MS, earliest = now + backoff_ms(round),
		 until = next_time(q, earliest);
	bool returned = false;
	int r;

	quest_note_gone(q, until - now);
	r = quest_sleep(q, until, &returned);
	if (!r && returned) /* somebody got through */
		r = quest_sleep(q, next_time(q, soonest < earliest ? soonest : earliest), NULL);
	return r;
}

static void check_body(struct quest *q, struct http_answer *a)
{
	struct err why = ERR_INIT;
	int r;

	if (a->outcome != HTTP_OK || !q->rq->check)
		return;
	r = q->rq->check(q->rq->context, &a->body, &why);
	if (r < 0)
		quest_refuse(a, r, &why);
}

/* 1: a good answer; 0: none, go on; or an error that ends the quest. */
static int ask(struct quest *q, size_t i, struct origin_answer *out)
{
	struct http_transfer *t;
	struct http_answer *a;
	int r = quest_ask(q, i, &t);

	if (r < 0)
		return r;
	r = http_wait(q->origin->http, &t, 1, q->deadline_ms);
	a = http_answer(t);
	if (!r && a->outcome == HTTP_CANCELED)
		r = -ECANCELED;
	if (!r) {
		check_body(q, a);
		quest_note(q, i, a);
		if (a->outcome == HTTP_OK)
			quest_take(q, i, a, out);
		r = a->outcome == HTTP_OK ? 1 : a->outcome == HTTP_STALE ? -ESTALE : 0;
	}
	http_finish(t);
	return r;
}

/* The number of the mirror that answered, or an error. */
static int pursue(struct quest *q, struct origin_answer *out, struct err *e)
{
	unsigned round = 1;

	for (;;) {
		int i = next_mirror(q, round), r;

		if (i < 0 && !quest_has_hope(q))
			return quest_fail(q, 0, e);
		if (i < 0 && q->rq->once)
			return quest_fail(q, quest_is_silent(q) ? -EHOSTUNREACH : 0, e);
		if (i < 0) {
			r = pause_quest(q, round++);
		} else {
			q->attempts[i].round = round;
			r = ask(q, (size_t)i, out);
		}
		if (r > 0)
			return i;
		if (r < 0)
			return quest_fail(q, r, e);
	}
}

int origin_get(struct origin *o, const struct origin_request *rq, struct origin_answer *out, struct err *e)
{
	struct quest q;
	int r;

	memset(out, 0, sizeof(*out));
	r = quest_begin(&q, o, rq, e);
	if (r < 0)
		return r;
	r = pursue(&q, out, e);
	quest_end(&q, r);
	return r < 0 ? r : 0;
}
