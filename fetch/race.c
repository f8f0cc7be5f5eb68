/* One request that all mirrors answer: origin_race() of origin.h.
 *
 * Each mirror is asked, at most RACE_IN_FLIGHT at once, and again after a backoff of its own for as long as nobody was accepted; one
 * that is slow holds up nobody else. After the first accepted answer none is asked again, and what has not come when the grace
 * is over is cancelled. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "fetch/backoff.h"
#include "fetch/quest.h"

#define RACE_IN_FLIGHT 16

struct racer { /* one mirror */
	struct query query; /* its transfer NULL: none */
	uint64_t due_ms;    /* when it may be asked again */
	unsigned tries;
};

struct race {
	struct quest quest;
	origin_judge judge;
	void *context;
	uint64_t grace_ms, end_ms; /* end_ms: of the grace, once one was accepted */
	int accepted;		   /* the first mirror whose answer was, or -1 */
	size_t count, running;
	struct racer racers[MIRRORS_MAX];
};

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Is it to be asked (again)? *due: when. */
static bool wanted(struct race *r, size_t i, uint64_t *due)
{
	const struct racer *x = &r->racers[i];
	struct origin *o = r->quest.origin;

	if (x->query.transfer || r->quest.attempts[i].used_up || (x->tries && (r->accepted >= 0 || r->quest.rq->once)))
		return false;
	pthread_mutex_lock(&o->lock);
	*due = later(x->due_ms, o->mirrors[i]->not_before_ms);
	pthread_mutex_unlock(&o->lock);
	return true;
}

/* Starts whatever is due. *next_ms: when the next one is; 0: none. */
static int start_due(struct race *r, uint64_t *next_ms)
{
	uint64_t now = clock_ms(), due;
	int code = 0;

	*next_ms = 0;
	pthread_mutex_lock(&r->quest.origin->lock);
	r->count = r->quest.origin->count;
	pthread_mutex_unlock(&r->quest.origin->lock);
	for (size_t i = 0; i < r->count && r->running < RACE_IN_FLIGHT && !code; i++) {
		if (!wanted(r, i, &due))
			continue;
		if (due > now && r->quest.rq->once)
			continue;
		if (due > now) {
			*next_ms = *next_ms && *next_ms < due ? *next_ms : due;
			continue;
		}
		code = quest_ask(&r->quest, i, false, &r->racers[i].query);
		r->racers[i].tries++;
		r->running += !code;
	}
	return code;
}

static void judge_answer(struct race *r, size_t i, struct http_answer *a)
{
	struct origin_answer answer = {0};
	struct err why = ERR_INIT;
	int code;

	quest_take(&r->quest, i, a, &answer);
	code = r->judge(r->context, &answer, &why);
	buf_free(&answer.body);
	if (code < 0)
		quest_refuse(a, code, &why);
}

static int take_answer(struct race *r, size_t i)
{
	struct racer *x = &r->racers[i];
	struct http_answer *a = http_answer(x->query.transfer);
	int code = a->outcome == HTTP_CANCELED ? -ECANCELED : 0;

	r->running--;
	if (code < 0) {
		quest_drop(&r->quest, &x->query);
		return code;
	}
	if (a->outcome == HTTP_OK)
		judge_answer(r, i, a);
	if (a->outcome == HTTP_OK && r->accepted < 0) {
		r->accepted = (int)i;
		r->end_ms = clock_ms() + r->grace_ms;
	}
	quest_note(&r->quest, &x->query, a);
	x->due_ms = clock_ms() + backoff_ms(x->tries);
	return 0;
}

/* Waits until one has answered, or for `until_ms` (0: without limit), and takes that in. */
static int wait_for_one(struct race *r, uint64_t until_ms)
{
	struct http_transfer *running[RACE_IN_FLIGHT];
	size_t of[RACE_IN_FLIGHT], n = 0;
	int found;

	for (size_t i = 0; i < r->count; i++) {
		if (r->racers[i].query.transfer) {
			running[n] = r->racers[i].query.transfer;
			of[n++] = i;
		}
	}
	found = http_wait(r->quest.origin->http, running, n, until_ms);
	return found < 0 ? 0 : take_answer(r, of[found]);
}

/* Nobody is being asked: waits until next_ms, or until a mirror returns. */
static int wait_for_time(struct race *r, uint64_t next_ms)
{
	uint64_t now = clock_ms(), soonest = now + BACKOFF_FIRST_MS;
	bool returned = false;
	int code;

	quest_note_gone(&r->quest, next_ms > now ? next_ms - now : 0);
	code = quest_sleep(&r->quest, next_ms, &returned);
	for (size_t i = 0; i < r->count && returned; i++)
		r->racers[i].due_ms = r->racers[i].due_ms < soonest ? r->racers[i].due_ms : soonest;
	return code;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

/* 0 once it was accepted and nothing more will come. */
static int run(struct race *r, struct err *e)
{
	struct quest *q = &r->quest;

	for (;;) {
		uint64_t next_ms, now;
		int code = start_due(r, &next_ms);

		now = clock_ms();
		if (!code && r->accepted >= 0 && (now >= r->end_ms || !r->running))
			return 0;
		if (!code && r->accepted < 0 && q->deadline_ms && now >= q->deadline_ms)
			code = -ETIMEDOUT;
		if (!code && !r->running && !next_ms)
			return quest_fail(q, quest_has_hope(q) && quest_is_silent(q) ? -EHOSTUNREACH : 0, e);
		if (!code && r->running)
			code = wait_for_one(r, r->accepted >= 0 ? r->end_ms : earlier(next_ms, q->deadline_ms));
		else if (!code)
			code = wait_for_time(r, next_ms);
		if (code < 0)
			return quest_fail(q, code, e);
	}
}

int origin_race(struct origin *o, const struct origin_request *rq, origin_judge judge, void *context, unsigned grace_ms, struct err *e)
{
	struct race r = {.judge = judge, .context = context, .grace_ms = grace_ms, .accepted = -1};
	int code = quest_begin(&r.quest, o, rq, e);

	if (code < 0)
		return code;
	code = run(&r, e);
	for (size_t i = 0; i < r.count; i++)
		quest_drop_slow(&r.quest, &r.racers[i].query);
	quest_end(&r.quest, code < 0 ? NULL : o->mirrors[r.accepted]->url);
	return code;
}
