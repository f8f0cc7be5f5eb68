/* One mirror of an origin: its URL, what it did so far, what may be expected of it, and when it may be asked again. The origin's lock must
 * be held for every function below mirror_new(). Internal to fetch/.
 *
 *	unknown	 no answer yet
 *	good	 its last answers were of use, or it does not have what it was asked for
 *	demoted	 it failed: it is asked last, but for one request at a time (a probe) when its backoff has passed
 */
#ifndef FETCH_MIRROR_H
#define FETCH_MIRROR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/estimate.h"
#include "fetch/http.h"

#define MIRROR_RETRY_AFTER_MAX_MS 60000 /* what a server may make us wait */
#define MIRROR_OUTAGE_MS 1000 /* without any answer for this long: an outage whose end is worth telling */
#define MIRROR_TELL_MS 60000 /* at most one line in this time about a mirror that comes and goes */

#define MIRROR_WINDOW_MS 50  /* over which what comes is measured, at least */
#define MIRROR_ROOM_LEAST 4 /* requests: one after the other leaves a line idle in between */
#define MIRROR_ROOM_GAIN 4   /* times what the line carries: connections start slowly, and answers vary in length */

struct mirror {
	char *url; /* constant, without trailing slash */
	uint64_t requests, bytes, errors, not_found, good;
	uint64_t hedges, hedges_won; /* requests that it was asked as a second one, and of those, the answers that were used */
	char last_error[HTTP_TEXT_MAX];
	struct estimate estimate;
	unsigned in_flight;
	double ahead;		  /* bytes that its transfers in flight are expected to bring */
	uint64_t window_ms, window_bytes; /* what came since then; it was never idle since */
	uint64_t asked_ms;	  /* when it was asked last; 0: never */
	unsigned failures;	  /* since the last good answer */
	uint64_t retry_at_ms;	  /* before this, others are asked first */
	uint64_t not_before_ms;	  /* before this, the server does not want to be asked (Retry-After) */
	uint64_t silent_since_ms; /* no answer at all since then; 0: it answers */
	uint64_t demoted_ms;	  /* when it failed first; 0: it did not */
	uint64_t told_ms;	  /* when a person was told of its demotion */
	bool told;		  /* and the return is still to tell */
};

/* -EINVAL where url is not http or https, or holds a password. */
int mirror_new(struct mirror **out, const char *url, struct err *e);
void mirror_free(struct mirror *m);

/* A request goes out that is expected to bring so many bytes; it is over. */
void mirror_begin(struct mirror *m, double bytes, uint64_t now_ms);
void mirror_end(struct mirror *m, double bytes);

enum mirror_news { MIRROR_RETURNED = 1, MIRROR_TELL_DEMOTED = 2, MIRROR_TELL_GOOD = 4 };

/* Takes in how a transfer went, now_ms being clock_ms(), before its mirror_end(). Returns news as bits: an outage ended with it; a person should
 * hear that it is demoted, or good again. */
unsigned mirror_note(struct mirror *m, const struct http_answer *a, uint64_t now_ms);

/* Takes in a transfer that was dropped because another mirror was faster. */
void mirror_note_lost(struct mirror *m, double spent_us, uint64_t received);

/* How many answers of so many bytes each it should be asked for at once, where nobody waits for any of them: enough to fill the line to it, few
 * enough not to fill the queues on the way, which would throw away what comes and make everybody else wait. */
double mirror_room(const struct mirror *m, double bytes);

/* New reference. all_good: good answers of all mirrors. */
json_t *mirror_status(const struct mirror *m, uint64_t all_good, uint64_t now_ms);

#endif
