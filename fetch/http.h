/* HTTP transfers: one thread runs an event loop over libcurl's multi interface; any thread starts
 * transfers and waits for them.
 *
 * At most HTTP_IN_FLIGHT transfers run at once, HTTP/2 streams included (a few with servers of
 * HTTP/1.0); the others queue. Demanded
 * ones go before background ones, and the last HTTP_DEMAND_SLOTS places are never given to
 * background ones, so that a demanded transfer does not wait behind prefetch. Connections are kept
 * alive and shared.
 *
 * When the machine's addresses or routes change, or after it slept, idle connections are dropped, and transfers that get nothing
 * more are begun again on a new one (network_watch.h, sockets.h).
 *
 * One transfer is one try: it follows redirects, checks the head of the answer against what was
 * asked, and gives up when the body gets longer than allowed or too slow. What to do after a
 * failure is the business of origin.h. */
#ifndef FETCH_HTTP_H
#define FETCH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define HTTP_IN_FLIGHT 32
#define HTTP_DEMAND_SLOTS 8
#define HTTP_REDIRECTS 5
#define HTTP_ETAG_MAX 256
#define HTTP_TYPE_MAX 64
#define HTTP_TEXT_MAX 320

struct http;
struct http_transfer;

struct http_options {
	const char *proxy;          /* NULL: from the environment */
	const char *cacert;         /* NULL: the system's */
	const char *const *headers; /* NULL-terminated, or NULL. Sent to the host of the URL (or of
				       `home`) only, not along redirects to others */
	bool netrc;
	unsigned connect_ms; /* for name, connection and TLS handshake */
	unsigned stall_ms;   /* a transfer slower than 1 kB/s over this time ends */
	void (*changed)(void *context); /* the way to the network has changed: what failed may work now. In the loop's thread; NULL */
	void *context;
};

/* Starts the loop. Strings are copied. -EINVAL for malformed headers. */
int http_open(struct http **out, const struct http_options *o, struct err *e);

/* Takes a body in pieces as they come. It runs in the loop's thread, so it must not wait. `at`: where in the resource the piece stands; a
 * transfer that is begun again gives bytes a second time. 0: taken; 1: taken, and nothing more is wanted; -EAGAIN: no room now, it is
 * offered again after http_wake(); another error refuses the answer. */
typedef int (*http_sink)(void *context, uint64_t at, const void *data, size_t len, struct err *e);

struct http_request {
	const char *url;      /* http or https; copied */
	const char *home;     /* URL whose scheme, host and port get people's headers; NULL: url;
				 copied */
	uint64_t offset, len; /* a byte range; len 0: the whole resource */
	const char *if_range; /* strong ETag, or NULL; copied */
	size_t max;           /* bytes of body; a longer one ends the transfer */
	http_sink sink;	      /* gets the body instead of the answer; NULL. Only for a range; a server that does not know
				 ranges may send the whole */
	void *context;	      /* of the sink */
	bool background;
	bool revalidate;     /* asks caches on the way to look at the origin */
	bool new_connection; /* not one that may be dead */
	bool patient;	     /* all of connect_ms for one connection; else a first try takes 4 s at most */
	bool urgent;	     /* starts at once, whatever else is in flight: the caller bounds their number */
};

enum http_outcome {
	HTTP_OK,        /* a checked body */
	HTTP_NO_ANSWER, /* no connection, stalled, reset, 408, 429, 5xx */
	HTTP_SHORT,     /* the connection was closed in the middle of the body */
	HTTP_WRONG,     /* an answer that is not what was asked for */
	HTTP_MISSING,   /* 404, 410 */
	HTTP_DENIED,    /* 401, 403 */
	HTTP_STALE,     /* if_range: the resource is another one now */
	HTTP_CANCELED,
};

struct http_answer {
	enum http_outcome outcome;
	char text[HTTP_TEXT_MAX]; /* what went wrong, for people; "" with HTTP_OK */
	int status;               /* of the last answer, 0 where there was none */
	uint64_t retry_after_ms;  /* 0 where the server did not say */
	char etag[HTTP_ETAG_MAX]; /* strong ones only, quotes included; "" where none */
	char type[HTTP_TYPE_MAX];
	bool stranger; /* it may not be the server's: a web page, or a certificate that is not trusted */
	uint64_t total; /* bytes of the whole resource */
	struct buf body;
	uint64_t sunk;	     /* bytes that the sink took */
	uint64_t received;   /* body bytes that came, those thrown away included */
	uint64_t connect_us; /* begun to request sent: finding the name, connecting, the TLS handshake; 0 where there was a connection */
	uint64_t latency_us; /* request sent to first byte; 0 where none came */
	uint64_t spent_us;   /* request sent to the end */
	int version;         /* 10, 11, 20; 0 where not known */
};

/* Queues a transfer. -ENOMEM; -ECANCELED after http_cancel(). The caller ends it with
 * http_finish(). */
int http_start(struct http *h, const struct http_request *rq, struct http_transfer **out);

/* Waits until one of the transfers is done and returns its number, or -ETIMEDOUT when clock_ms()
 * reaches until_ms (0: without limit). A transfer belongs to one waiting thread. After
 * http_cancel() all are done. */
int http_wait(
	struct http *h, struct http_transfer *const *transfers, size_t count, uint64_t until_ms);

/* The result of a transfer that http_wait() said to be done; owned by it, but the body may be taken
 * out (and zeroed). */
struct http_answer *http_answer(struct http_transfer *t);

struct http_progress {
	uint64_t begun_us, sent_us; /* clock_us(); 0: not yet */
	uint64_t received, length;  /* bytes of the body; length 0: not known (yet) */
};

/* How far it is, while it runs. */
struct http_progress http_progress(struct http_transfer *t);

/* Sinks may have room again. */
void http_wake(struct http *h);

/* Frees a transfer; one that runs still is cancelled. Never blocks, but for one with a sink: until that is not called any more. */
void http_finish(struct http_transfer *t);

/* The four in one, for a single transfer. Returns 0 (look at the outcome), -ETIMEDOUT, -ENOMEM,
 * -ECANCELED. The caller frees answer->body in any case. */
int http_get(struct http *h, const struct http_request *rq, uint64_t until_ms,
	struct http_answer *answer);

/* Ends all transfers with HTTP_CANCELED; later ones are refused. */
void http_cancel(struct http *h);

/* Ends the loop. Every transfer must have been finished. */
void http_close(struct http *h);

#endif
