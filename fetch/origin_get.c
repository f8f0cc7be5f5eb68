/* One request, answered by one mirror: origin_get() of origin.h.
 *
 * It goes in rounds. In a round every mirror that is still of use is asked once, the one where the answer is expected first before the
 * others (choice.h), none before the time it named in Retry-After. The first accepted answer ends the quest; it fails when no mirror is of use
 * any more. Between rounds it pauses (backoff.h), and ends the pause early when a mirror returns from an outage.
 *
 * While it waits for a mirror it looks at times how far that is (hedge.h). One that is late is asked of a second mirror too, where
 * somebody waits for the answer, the budget has something left, and the second is expected to be faster than what is left to wait. One that is
 * much too late is given up, and its mirror demoted, as long as another mirror works: that costs no budget. */
#include <errno.h>
#include <math.h> /* HUGE_VAL */
#include <string.h>

#include "base/clock.h"
#include "fetch/backoff.h"
#include "fetch/choice.h"
#include "fetch/quest.h"

#define LOOK_MS 20	/* at least between looks at how far an answer is */
#define LOOK_LATE_MS 100 /* between looks at one that is late already: a budget or a mirror may come back */
#define LOOK_MOST_MS 1000
#define MUCH_LATER 4 /* times what another mirror takes: late, whatever the mirror's own answers take */

struct pursuit {
	struct quest quest;
	unsigned round; /* from 1 on */
	unsigned given_up;
	bool sunk; /* a sink has a part */
	struct query asked[2]; /* the second one: a hedge */
	size_t running;
};

/* ---- the choice ---- */

static bool asked_in_round(const void *context, size_t i)
{
	const struct pursuit *p = context;

	return p->quest.attempts[i].used_up || p->quest.attempts[i].round == p->round;
}

static bool running_or_useless(const void *context, size_t i)
{
	const struct pursuit *p = context;

	for (size_t k = 0; k < p->running; k++)
		if (p->asked[k].mirror == i)
			return true;
	return p->quest.attempts[i].used_up;
}

/* Call with the lock held. */
static struct choice choice_of(const struct pursuit *p, bool (*excluded)(const void *context, size_t i))
{
	const struct origin *o = p->quest.origin;
	const struct origin_request *rq = p->quest.rq;

	return (struct choice){
		.mirrors = o->mirrors,
		.count = o->count,
		.excluded = excluded,
		.context = p,
		.bytes = quest_expected_bytes(o, rq),
		.background = rq->background,
		.now_ms = clock_ms(),
	};
}

/* The next mirror of this round, or -1. */
static int next_mirror(struct pursuit *p)
{
	struct origin *o = p->quest.origin;
	struct choice c;
	int i;

	pthread_mutex_lock(&o->lock);
	c = choice_of(p, asked_in_round);
	i = choice_best(&c);
	pthread_mutex_unlock(&o->lock);
	return i;
}

/* ---- pauses ---- */

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

/* ---- late answers ---- */

struct lateness { /* of one query, in µs */
	double spent, late, patience, remaining;
};

/* Another mirror that is expected to answer in less than `within_us`, or -1. */
static int faster_mirror(struct pursuit *p, double within_us, bool probes)
{
	struct origin *o = p->quest.origin;
	struct choice c = choice_of(p, running_or_useless);
	int i = probes ? choice_best(&c) : choice_second(&c);
	const struct mirror *m = i < 0 ? NULL : o->mirrors[i];

	if (!m || choice_time_us(m, c.bytes) >= within_us)
		return -1;
	/* One that failed counts as soon as it may be asked again. */
	return m->failures && (m->in_flight || c.now_ms < m->retry_at_ms) ? -1 : i;
}

/* A mirror whose own answers come late all the time sets no measure for how long to wait: another one that works does, too. */
static double late_elsewhere_us(struct pursuit *p, const struct hedge_progress *progress)
{
	struct origin *o = p->quest.origin;
	int i = faster_mirror(p, HUGE_VAL, false);
	const struct mirror *m = i < 0 ? NULL : o->mirrors[i];

	if (!m || !estimate_known(&m->estimate))
		return HUGE_VAL;
	return hedge_late_us(&m->estimate, estimate_body_us(&m->estimate, m->ahead + quest_expected_bytes(o, p->quest.rq)), progress);
}

static bool measure(struct pursuit *p, const struct query *x, struct lateness *l)
{
	struct origin *o = p->quest.origin;
	struct hedge_progress progress;
	double elsewhere;

	if (!quest_progress(x, &progress))
		return false;
	pthread_mutex_lock(&o->lock);
	l->late = hedge_late_us(&o->mirrors[x->mirror]->estimate, x->body_us, &progress);
	elsewhere = MUCH_LATER * late_elsewhere_us(p, &progress);
	pthread_mutex_unlock(&o->lock);
	l->late = l->late < elsewhere ? l->late : elsewhere;
	l->spent = progress.spent_us;
	l->patience = hedge_patience_us(l->late, p->given_up);
	l->remaining = hedge_remaining_us(&progress);
	return true;
}

static bool is_better_elsewhere(struct pursuit *p, double within_us)
{
	struct origin *o = p->quest.origin;
	bool is;

	pthread_mutex_lock(&o->lock);
	is = faster_mirror(p, within_us, true) >= 0;
	pthread_mutex_unlock(&o->lock);
	return is;
}

/* The mirror for a hedge, which has been paid then, or -1. */
static int hedge_mirror(struct pursuit *p, double within_us)
{
	struct origin *o = p->quest.origin;
	int i = -1;

	pthread_mutex_lock(&o->lock);
	if (o->hedging < HEDGES_IN_FLIGHT)
		i = faster_mirror(p, within_us, false);
	if (i >= 0 && !hedge_take(&o->budget, quest_expected_bytes(o, p->quest.rq)))
		i = -1;
	o->hedging += i >= 0;
	pthread_mutex_unlock(&o->lock);
	return i;
}

static bool is_alone(struct origin *o)
{
	bool alone;

	pthread_mutex_lock(&o->lock);
	alone = o->count == 1;
	pthread_mutex_unlock(&o->lock);
	return alone;
}

static void forget(struct pursuit *p, size_t k)
{
	p->running--;
	if (!k)
		p->asked[0] = p->asked[1];
}

static int ask(struct pursuit *p, size_t i, bool hedge)
{
	int r = quest_ask(&p->quest, i, hedge, &p->asked[p->running]);

	p->quest.attempts[i].round = p->round;
	p->running += !r;
	return r;
}

/* Looks at what is running; *look_ms: when to look again. */
static int look(struct pursuit *p, uint64_t *look_ms)
{
	double next_us = LOOK_MOST_MS * 1e3;
	struct lateness l;

	*look_ms = 0;
	if (is_alone(p->quest.origin))
		return 0;
	for (size_t k = 0; k < p->running; k++) {
		if (!measure(p, &p->asked[k], &l)) {
			next_us = LOOK_MS * 1e3;
			continue;
		}
		if (l.spent >= l.patience && is_better_elsewhere(p, l.remaining)) {
			p->sunk |= p->quest.rq->sink && http_progress(p->asked[k].transfer).received;
			quest_drop_late(&p->quest, &p->asked[k]);
			forget(p, k);
			p->given_up++;
			return 0;
		}
		if (l.spent >= l.late && p->running == 1 && !p->quest.rq->background) {
			int i = hedge_mirror(p, l.remaining);

			if (i >= 0)
				return ask(p, (size_t)i, true);
		}
		l.spent = l.spent < l.late ? l.late - l.spent : LOOK_LATE_MS * 1e3;
		next_us = l.spent < next_us ? l.spent : next_us;
	}
	*look_ms = clock_ms() + (next_us < LOOK_MS * 1e3 ? LOOK_MS : (uint64_t)(next_us / 1e3) + 1);
	return 0;
}

/* ---- answers ---- */

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
static int take_answer(struct pursuit *p, size_t k, struct origin_answer *out)
{
	struct quest *q = &p->quest;
	struct query *x = &p->asked[k];
	struct http_answer *a = http_answer(x->transfer);
	enum http_outcome outcome;

	if (a->outcome == HTTP_CANCELED)
		return -ECANCELED;
	check_body(q, a);
	p->sunk |= a->sunk > 0;
	if (a->outcome == HTTP_OK)
		quest_take(q, x->mirror, a, out);
	outcome = quest_note(q, x, a);
	forget(p, k);
	return outcome == HTTP_OK ? 1 : outcome == HTTP_STALE ? -ESTALE : 0;
}

/* Waits for an answer, or until it is time to look at those that have not come. */
static int wait_for_one(struct pursuit *p, struct origin_answer *out)
{
	struct http_transfer *running[2];
	uint64_t deadline_ms = p->quest.deadline_ms, look_ms = 0;
	size_t before = p->running;
	int found = look(p, &look_ms);

	if (found < 0 || p->running != before)
		return found;
	for (size_t k = 0; k < p->running; k++)
		running[k] = p->asked[k].transfer;
	found = http_wait(p->quest.origin->http, running, p->running, !look_ms || (deadline_ms && deadline_ms < look_ms) ? deadline_ms : look_ms);
	if (found >= 0)
		return take_answer(p, (size_t)found, out);
	return deadline_ms && clock_ms() >= deadline_ms ? -ETIMEDOUT : 0;
}

/* Asks the next mirror, or pauses. */
static int go_on(struct pursuit *p)
{
	struct quest *q = &p->quest;
	int i = next_mirror(p);

	if (p->sunk) /* it has a part already: the caller asks for the rest */
		return quest_is_silent(q) ? -EHOSTUNREACH : -ENOENT;
	if (i < 0 && !quest_has_hope(q))
		return -ENOENT;
	if (i < 0 && q->rq->once)
		return quest_is_silent(q) ? -EHOSTUNREACH : -ENOENT;
	if (i < 0)
		return pause_quest(q, p->round++);
	return ask(p, (size_t)i, false);
}

static int pursue(struct pursuit *p, struct origin_answer *out, struct err *e)
{
	int r;

	do
		r = p->running ? wait_for_one(p, out) : go_on(p);
	while (!r);
	for (size_t k = 0; k < p->running; k++) {
		if (r > 0)
			quest_drop_lost(&p->quest, &p->asked[k]);
		else
			quest_drop(&p->quest, &p->asked[k]);
	}
	return r < 0 ? quest_fail(&p->quest, r == -ENOENT ? 0 : r, e) : 0;
}

int origin_get(struct origin *o, const struct origin_request *rq, struct origin_answer *out, struct err *e)
{
	struct pursuit p = {.round = 1};
	int r;

	memset(out, 0, sizeof(*out));
	r = quest_begin(&p.quest, o, rq, e);
	if (r < 0)
		return r;
	r = pursue(&p, out, e);
	quest_end(&p.quest, out->mirror);
	return r;
}
