/* One mirror of an origin: its URL, what it did so far, and when it may be asked again. The
 * origin's lock must be held for every function below mirror_new(). Internal to fetch/. */
#ifndef FETCH_MIRROR_H
#define FETCH_MIRROR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/http.h"

#define MIRROR_RETRY_AFTER_MAX_MS 60000 /* what a server may make us wait */
#define MIRROR_OUTAGE_MS                                                                           \
	1000 /* without any answer for this long: an outage whose end is worth telling */

struct mirror {
	char *url; /* constant, without trailing slash */
	uint64_t requests, bytes, errors;
	char last_error[HTTP_TEXT_MAX];
	uint64_t latency_us;  /* moving average of the time to the first byte; 0: not known */
	unsigned failures;    /* since the last good answer */
	uint64_t retry_at_ms; /* before this, others are asked first */
	uint64_t
		not_before_ms; /* before this, the server does not want to be asked (Retry-After) */
	uint64_t silent_since_ms; /* no answer at all since then; 0: it answers */
};

/* -EINVAL where url is not http or https, or holds a password. */
int mirror_new(struct mirror **out, const char *url, struct err *e);
void mirror_free(struct mirror *m);

/* Takes in how a transfer went, now_ms being clock_ms(). Returns true when an outage ended with it.
 */
bool mirror_note(struct mirror *m, const struct http_answer *a, uint64_t now_ms);

/* New reference. */
json_t *mirror_status(const struct mirror *m);

#endif
