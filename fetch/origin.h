/* Where bytes come from over HTTP: a set of mirrors that hold the same content, with the policy of what to do when one fails.
 *
 * One request is a blocking call in the caller's thread: it picks the mirror where it is expected to finish first, lets the event
 * loop (http.h) transfer, checks the answer, and on failure goes on with the next mirror or, after a jittered backoff (or the server's
 * Retry-After), again:
 *
 *	no connection, DNS, time-out, reset, 408, 429, 5xx	the network or server is gone: tried again until `timeout_ms`
 *								(0: for ever: a root disk waits), with one log line when
 *								the trouble starts and one when it ends
 *	404, 403, 401, 410, 416, other 4xx, redirect loops,	the mirror does not have it or gives wrong bytes: every mirror
 *	wrong length, refused by `check`			is asked up to ORIGIN_BAD_TRIES times, then the call fails
 *
 * A mirror that failed is asked last until its backoff has passed; a 404 says nothing about other files. A demanded request that is later than
 * 95 % of its mirror's answers is asked of a second mirror as well, within a budget of 5 % more requests and bytes. Any thread may call;
 * requests run concurrently. */
#ifndef FETCH_ORIGIN_H
#define FETCH_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "fetch/http.h"

#define ORIGIN_BAD_TRIES 3	/* per mirror and request, for answers that are wrong rather than missing */
#define ORIGIN_IN_FLIGHT 32	/* transfers at once */
#define ORIGIN_FIRST_MS 20000	/* for what nothing depends on yet: a wrong address must not look like a long wait */
#define ORIGIN_REDIRECTS 5

struct origin;

struct origin_options {
	const char *proxy;	    /* NULL: from the environment */
	const char *cacert;	    /* NULL: the system's */
	const char *const *headers; /* "Name: value", NULL-terminated array; NULL: none. For the host of the first URL only: neither
					mirrors elsewhere get them nor where redirects lead */
	const char *home;	    /* URL whose host that is instead, NULL: the first */
	bool netrc;		    /* look into ~/.netrc */
	unsigned timeout_ms;	    /* for a whole request with its retries; 0: without limit */
	unsigned connect_ms;	    /* for one connection; 0: 10000 */
	unsigned stall_ms;	    /* a transfer with less than 1 kB/s over this time is given up; 0: 15000 */
};

/* urls: base URLs (http, https; no trailing slash), at least one. Starts the event loop thread. */
int origin_open(struct origin **out, const char *const *urls, size_t count, const struct origin_options *o, struct err *e);

/* Adds a mirror (the manifest names more); a URL that is there already is ignored. */
int origin_add(struct origin *o, const char *url, struct err *e);

/* Checks a body before it is accepted; returns 0, or an error to have it fetched again or elsewhere. Runs in the thread
 * of the origin_get() call. */
typedef int (*origin_check)(void *context, const struct buf *body, struct err *e);

struct origin_request {
	const char *path;     /* behind the mirror's URL: "blocks/ab/...", without leading slash; "" for the URL itself */
	uint64_t offset, len; /* a byte range; len 0: the whole resource */
	const char *if_range; /* strong ETag for a range, or NULL. Another ETag, or a 200: -ESTALE at once, no retries */
	size_t max;	      /* bytes that the body may have; longer ones are cut off and count as wrong */
	origin_check check;   /* or NULL */
	void *context;
	http_sink sink;	      /* gets the body in pieces, instead of the answer: see http.h. Only for a range. NULL; else `context` is
				 its, and the first mirror of which it took something is the last */
	bool background;      /* prefetch: queued behind all demanded requests */
	bool bulk;	      /* one of very many that nobody waits for: begins when the lines to the mirrors have room for it */
	bool fresh;	      /* for the mutable manifest: ask caches on the way to revalidate */
	unsigned timeout_ms;  /* of this request, where the origin has none, or (with `once`) a longer one; 0: without limit.
				 ORIGIN_FIRST_MS for a first contact */
	bool once;	      /* fail at the first full round over the mirrors instead of waiting (offline start, probes) */
};

struct origin_answer {
	struct buf body;     /* owned by the caller after success: buf_free() */
	uint64_t total;	     /* size of the whole resource where a range was asked (from Content-Range) */
	char etag[256];	     /* "" where none or weak */
	char type[64];	     /* Content-Type, "" where none */
	const char *mirror;  /* the URL that it came from; lives as long as the origin */
};

/* 0; -ENOENT (404 or 410 everywhere); -EACCES (401, 403); -ESTALE; -EBADMSG (wrong bytes everywhere); -ETIMEDOUT;
 * -ECANCELED (after origin_cancel()); -EHOSTUNREACH (with `once`: no answer from any). e names URL, mirrors tried, what happened. */
int origin_get(struct origin *o, const struct origin_request *rq, struct origin_answer *out, struct err *e);

/* Looks at a whole answer in origin_race(): 0 accepts it; an error refuses it, and says why. It may take the body over (and zero it), else
 * that is freed. Runs in the thread of the call, one at a time. */
typedef int (*origin_judge)(void *context, struct origin_answer *answer, struct err *e);

/* Asks every mirror the same at once: for what differs between them, the mutable manifest. Each answer goes to `judge` as it comes; the
 * caller's judge remembers the best of those that it accepts. Returns 0 when all have answered or failed and one was accepted, at the
 * latest grace_ms after the first accepted one. Until one is accepted, mirrors that fail or are refused are
 * asked again as origin_get() does, and errors are the same. `check` and `context` of rq are not used. */
int origin_race(struct origin *o, const struct origin_request *rq, origin_judge judge, void *context, unsigned grace_ms, struct err *e);

/* Sinks may have room again. */
void origin_wake(struct origin *o);

/* Milliseconds that a demanded answer of so many bytes is expected to take from the best mirror; 0: nothing is known yet. */
double origin_expected_ms(struct origin *o, double bytes);

/* How many mirrors there are. */
size_t origin_count(struct origin *o);

/* Makes every present and future request fail with -ECANCELED: for shutdown. */
void origin_cancel(struct origin *o);

struct origin_stats {
	uint64_t requests; /* answered or failed transfers */
	uint64_t bytes;	   /* body bytes received */
	uint64_t retries;  /* requests asked again after a failure */
	uint64_t bad;	   /* answers refused: wrong length, wrong bytes */
	uint64_t gone;	   /* requests that wait now because no mirror answers */
	uint64_t hedges;   /* late requests that were asked of a second mirror */
	uint64_t hedge_bytes; /* bytes of answers that were not used because the other mirror was faster */
	double hedge_budget;  /* how many such requests would be allowed now */
	uint64_t trouble_ms;  /* since when no mirror has answered somebody who waits, in ms from then to now; 0: all is well */
	char trouble[512];    /* which mirror, and why; "" */
};
void origin_stats(struct origin *o, struct origin_stats *out);

/* A JSON array, one object a mirror. New reference.
 *
 *	url, state		"good", "demoted" (it failed: others are asked first), "waiting" (it asked for it), "unknown" (no answer yet)
 *	share			percent of all good answers
 *	requests, bytes		answered or failed transfers; body bytes received
 *	errors, not_found	answers that were none or wrong; 404 (no fault: a mirror need not have all)
 *	hedges, hedges_won	late requests to others that it was asked as well; how often its answer came first
 *	latency_ms, latency_p95_ms, bytes_per_s		moving estimates; 0: not known
 *	last_error		text, "" where none */
json_t *origin_status(struct origin *o);

/* Cancels, ends the loop, frees. No request may be running any more in another thread except ones that return soon
 * because of the cancel: it waits for them. */
void origin_close(struct origin *o);

#endif
