/* Can a cache's medium be relied on? Counts what goes wrong with loads (errors, bad bytes, slowness) and says when to do without: a
 * stick that was pulled out, a rotten disk or a network folder that hangs must not stand between a reader and the network. Any thread. */
#ifndef CACHE_HEALTH_H
#define CACHE_HEALTH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define HEALTH_SLOW_MS 1000   /* a load that takes longer counts as a failed one: any network would have been faster */
#define HEALTH_STUCK_MS 2000  /* while something takes longer than this, nothing else starts */
#define HEALTH_AT_ONCE 128    /* loads and stores in progress; more are not let in */
#define HEALTH_FAILURE 8      /* points for a failed load; a good one takes one away: one of nine may fail for ever */
#define HEALTH_LIMIT (8 * HEALTH_FAILURE) /* points from which on it is bypassed */
#define HEALTH_PAUSE_MIN_MS 1000
#define HEALTH_PAUSE_MAX_MS 60000

enum health_result {
	HEALTH_GOOD,	 /* bytes came; whether they are right shows later */
	HEALTH_NEUTRAL,	 /* nothing was learned: no such entry, no memory */
	HEALTH_FAILED,
	HEALTH_UNRATED,	 /* it was a store: those that fail are not tried again for a while, which is the cache's business */
};

enum health_change { HEALTH_SAME, HEALTH_WENT, HEALTH_CAME_BACK };

struct health {
	pthread_mutex_t lock;
	unsigned points;
	uint64_t pause_ms;	  /* 0: not bypassed */
	uint64_t until_ms;	  /* of the pause; then one load finds out */
	uint64_t next_pause_ms;
	int probe;		  /* the slot of that load, or -1 */
	uint64_t started[HEALTH_AT_ONCE]; /* clock_ms(); 0: free */
	bool stuck;		  /* something was, when somebody looked */
};

void health_init(struct health *h);
void health_free(struct health *h);

/* Before each load or store. Returns a slot for health_leave(), or -EAGAIN: do without. `anyway`: also while it is bypassed,
 * but not while something is stuck. *change, where not NULL: tell about it. */
int health_enter(struct health *h, bool anyway, enum health_change *change);
enum health_change health_leave(struct health *h, int slot, enum health_result result);

/* What came with the last HEALTH_GOOD was wrong. */
enum health_change health_bad_bytes(struct health *h);

bool health_bypassed(struct health *h);

#endif
