/* One request while it is pursued over the mirrors of an origin: what origin_get() (origin_get.c) and origin_race() (race.c)
 * share. A quest belongs to the thread that called; the origin's lock guards mirrors, statistics and flags, and is not held
 * while a transfer runs or a body is checked. Internal to fetch/. */
#ifndef FETCH_QUEST_H
#define FETCH_QUEST_H

#include <pthread.h>

#include "fetch/hedge.h"
#include "fetch/http.h"
#include "fetch/mirror.h"
#include "fetch/origin.h"

#define MIRRORS_MAX 128	   /* bounds what a manifest can make us ask */
#define HEDGES_IN_FLIGHT 4 /* bounds the memory that they take */

struct origin {
	struct http *http;
	unsigned timeout_ms;
	char *home; /* URL to whose host people's headers may go */

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t wake;  /* canceled, an outage ended, or the last quest ended */
	pthread_cond_t room;  /* a bulk quest has ended, or canceled */
	struct mirror *mirrors[MIRRORS_MAX]; /* only ever grows */
	size_t count;
	size_t quests;
	uint64_t outages_ended;
	bool canceled;
	bool trouble; /* has been told */
	uint64_t trouble_since_ms;
	char trouble_text[512];
	struct hedge_budget budget;
	unsigned bulk;	      /* bulk quests in flight */
	unsigned hedging;     /* second requests in flight, at most HEDGES_IN_FLIGHT */
	double typical_bytes; /* of bodies whose length nobody knows before: a moving mean */
	struct origin_stats stats;
};

struct query { /* one mirror is being asked */
	struct http_transfer *transfer; /* NULL: none */
	size_t mirror;
	double bytes, body_us; /* that are expected */
	bool hedge;
};

struct attempt { /* what one quest knows about one mirror */
	unsigned wrong, cut;
	unsigned round;		   /* in which it was asked last, from 1 on */
	bool used_up;		   /* of no more use */
	bool silent;		   /* it said nothing at all */
	enum http_outcome outcome; /* of the last try */
	char *text;		   /* the same for people, or NULL: not asked yet */
};

struct quest {
	struct origin *origin;
	const struct origin_request *rq;
	uint64_t start_ms, deadline_ms; /* 0: none */
	unsigned tries;
	bool bulk;		   /* counted in origin.bulk */
	bool gone;		   /* counted in stats.gone */
	uint64_t failing_since_ms; /* first time without an answer; 0: never */
	struct attempt attempts[MIRRORS_MAX];
};

/* Checks the request. -EINVAL, -ECANCELED; after 0 the caller ends it with quest_end(). */
int quest_begin(struct quest *q, struct origin *o, const struct origin_request *rq, struct err *e);

/* answered: the URL of the mirror that gave what was wanted, or NULL. */
void quest_end(struct quest *q, const char *answered);

/* How many bytes an answer will have, as far as one can say. Call with the lock held. */
double quest_expected_bytes(const struct origin *o, const struct origin_request *rq);

/* Starts to ask mirror i; as a hedge: besides another one that is late, which the caller has a place for (origin.hedging). -ENOMEM,
 * -ECANCELED. */
int quest_ask(struct quest *q, size_t i, bool hedge, struct query *out);

/* Takes in how that went, refusals included, and ends it. Returns the outcome, which need not be a's: a bad answer that does not seem to be the
 * server's, from one that was good before, is none (HTTP_NO_ANSWER). It comes from a network that wants people to log in, and
 * a disk outlasts that. */
enum http_outcome quest_note(struct quest *q, struct query *x, struct http_answer *a);

/* Ends one that nobody waits for any more, without blame. */
void quest_drop(struct quest *q, struct query *x);

/* The same where others were faster. */
void quest_drop_slow(struct quest *q, struct query *x);

/* The same for one of two that were asked for the same: the budget pays for its bytes. */
void quest_drop_lost(struct quest *q, struct query *x);

/* The same where it is so late that its mirror is held to have failed. */
void quest_drop_late(struct quest *q, struct query *x);

/* How far a query is. false: it has not begun yet. */
bool quest_progress(const struct query *x, struct hedge_progress *p);

/* Turns a good answer into one that was refused, with the reason. */
void quest_refuse(struct http_answer *a, int code, const struct err *why);

/* Moves a good answer to the caller. */
void quest_take(struct quest *q, size_t i, struct http_answer *a, struct origin_answer *out);

/* Is there a mirror that may still fulfil it? */
bool quest_has_hope(struct quest *q);

/* Does any mirror fail to answer (rather than not have it)? */
bool quest_is_silent(struct quest *q);

/* Nobody is being asked for wait_ms from now on: if it is because no mirror answers, the quest counts as gone, and a
 * person is told, once. */
void quest_note_gone(struct quest *q, uint64_t wait_ms);

/* Waits until then. *returned: ends early, and says so, when a mirror comes back from an outage; NULL: not wanted.
 * 0, -ECANCELED, -ETIMEDOUT (the quest's deadline). */
int quest_sleep(struct quest *q, uint64_t until_ms, bool *returned);

/* Says why it failed with `code`, and returns that; 0 stands for the most telling of the reasons that mirrors gave. */
int quest_fail(struct quest *q, int code, struct err *e);

#endif
