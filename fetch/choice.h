/* Which mirror gets a request: the one where it is expected to finish first. Pure: no clock, no lock of its own (the origin's must be
 * held). Internal to fetch/. */
#ifndef FETCH_CHOICE_H
#define FETCH_CHOICE_H

#include "fetch/mirror.h"

#define CHOICE_STALE_MS 60000	    /* a mirror that was not asked for so long gets a request: it may be fast now */
#define CHOICE_STALE_BACKGROUND_MS 10000 /* the same where nobody waits for the answer */

struct choice {
	struct mirror *const *mirrors;
	size_t count;
	bool (*excluded)(const void *context, size_t i); /* those that are not to be asked */
	const void *context;
	double bytes; /* of the answer, as far as one knows */
	bool background;
	uint64_t now_ms;
};

/* When the whole answer is expected, µs from now, with what is in flight there already; 0: nothing is known of that mirror. */
double choice_time_us(const struct mirror *m, double bytes);

/* The number of a mirror, or -1: none. What failed lately comes last. */
int choice_best(const struct choice *c);

/* The same among mirrors that work: never one that is demoted, nor a probe. */
int choice_second(const struct choice *c);

#endif
