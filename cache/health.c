/* A leaky bucket of points: see health.h. When it is full the cache is bypassed for a pause, then one load is let through: if it
 * brings bytes, all are (the bucket stays half full), else the next pause is twice as long. What hangs in the medium cannot be taken back
 * from there: whoever is in a system call waits for it. But nobody else follows. */
#include "cache/health.h"

#include <errno.h>

#include "base/clock.h"

void health_init(struct health *h)
{
	*h = (struct health){.next_pause_ms = HEALTH_PAUSE_MIN_MS, .probe = -1};
	pthread_mutex_init(&h->lock, NULL);
}

void health_free(struct health *h)
{
	pthread_mutex_destroy(&h->lock);
}

/* Is anything in progress for too long? */
static bool stuck(const struct health *h, uint64_t now)
{
	for (int i = 0; i < HEALTH_AT_ONCE; i++)
		if (h->started[i] && now - h->started[i] > HEALTH_STUCK_MS)
			return true;
	return false;
}

static int take_slot(struct health *h, uint64_t now)
{
	for (int i = 0; i < HEALTH_AT_ONCE; i++) {
		if (!h->started[i]) {
			h->started[i] = now ? now : 1;
			return i;
		}
	}
	return -EAGAIN;
}

int health_enter(struct health *h, bool anyway, enum health_change *change)
{
	enum health_change what = HEALTH_SAME;
	int slot = -EAGAIN;
	uint64_t now;

	pthread_mutex_lock(&h->lock);
	now = clock_ms(); /* not before: whoever waits here must not find entries that began after its "now" */
	if (stuck(h, now)) {
		what = h->stuck || h->pause_ms ? HEALTH_SAME : HEALTH_WENT;
		h->stuck = true;
	} else if (anyway || !h->pause_ms) {
		slot = take_slot(h, now);
	} else if (h->probe < 0 && now >= h->until_ms) {
		slot = h->probe = take_slot(h, now);
	}
	pthread_mutex_unlock(&h->lock);
	if (change)
		*change = what;
	return slot;
}

static void pause_loads(struct health *h)
{
	h->pause_ms = h->next_pause_ms;
	h->until_ms = clock_ms() + h->pause_ms;
	h->next_pause_ms = 2 * h->pause_ms < HEALTH_PAUSE_MAX_MS ? 2 * h->pause_ms : HEALTH_PAUSE_MAX_MS;
}

/* What was in progress when the pause began must neither make it longer nor end it: that only the probe does. */
static enum health_change note_failure(struct health *h, unsigned points, bool probe)
{
	bool bypassed = h->pause_ms;

	h->points = h->points + points < HEALTH_LIMIT ? h->points + points : HEALTH_LIMIT;
	if (bypassed ? probe : h->points == HEALTH_LIMIT)
		pause_loads(h);
	return !bypassed && h->pause_ms ? HEALTH_WENT : HEALTH_SAME;
}

static enum health_change note_good(struct health *h, bool probe)
{
	if (h->pause_ms && !probe)
		return HEALTH_SAME;
	if (h->pause_ms) {
		h->pause_ms = 0;
		h->points = HEALTH_LIMIT / 2;
		return HEALTH_CAME_BACK;
	}
	if (!h->points)
		h->next_pause_ms = HEALTH_PAUSE_MIN_MS;
	h->points -= h->points > 0;
	return HEALTH_SAME;
}

enum health_change health_leave(struct health *h, int slot, enum health_result result)
{
	enum health_change change = HEALTH_SAME, rated = HEALTH_SAME;
	uint64_t now;
	bool probe;

	pthread_mutex_lock(&h->lock);
	now = clock_ms();
	if (result != HEALTH_UNRATED && now - h->started[slot] > HEALTH_SLOW_MS)
		result = HEALTH_FAILED;
	h->started[slot] = 0;
	probe = h->probe == slot;
	if (probe)
		h->probe = -1;
	if (h->stuck && !stuck(h, now)) {
		h->stuck = false;
		change = h->pause_ms ? HEALTH_SAME : HEALTH_CAME_BACK;
	}
	if (result == HEALTH_FAILED)
		rated = note_failure(h, HEALTH_FAILURE, probe);
	else if (result == HEALTH_GOOD)
		rated = note_good(h, probe);
	pthread_mutex_unlock(&h->lock);
	return rated ? rated : change;
}

enum health_change health_bad_bytes(struct health *h)
{
	enum health_change change;

	pthread_mutex_lock(&h->lock);
	change = note_failure(h, HEALTH_FAILURE + 1, false); /* and the one that it took away by arriving */
	pthread_mutex_unlock(&h->lock);
	return change;
}

bool health_bypassed(struct health *h)
{
	bool is;

	pthread_mutex_lock(&h->lock);
	is = h->pause_ms || stuck(h, clock_ms());
	pthread_mutex_unlock(&h->lock);
	return is;
}
