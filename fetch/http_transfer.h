/* One transfer: what the event loop (http.c) and the easy handle's callbacks (http_transfer.c)
 * share. Internal to fetch/. */
#ifndef FETCH_HTTP_TRANSFER_H
#define FETCH_HTTP_TRANSFER_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "fetch/bad_addresses.h"
#include "fetch/http.h"
#include "fetch/http_head.h"
#include "fetch/sockets.h"

struct http_settings { /* of all transfers; owned copies of struct http_options */
	char *proxy, *cacert;
	struct curl_slist *headers;
	bool netrc;
	unsigned connect_ms, stall_ms;
	uint64_t changed_us; /* when the network changed last; 0: it did not. The loop's alone */
	uint64_t silence_us; /* when a transfer timed out last; 0: none did. The loop's alone */
};

enum transfer_state { TRANSFER_QUEUED, TRANSFER_RUNNING, TRANSFER_DONE };

struct http_transfer {
	struct http *http;
	TAILQ_ENTRY(http_transfer)
	link;                      /* in the queue or the running list; under the loop's lock */
	enum transfer_state state; /* under the loop's lock */
	bool abandoned;            /* by http_finish(): the loop frees it; under the loop's lock */
	pthread_cond_t *waiter;    /* under the loop's lock */

	struct http_request rq;    /* url, home and if_range are owned; constant */
	struct http_answer answer; /* the loop's until TRANSFER_DONE, then the caller's */

	/* The loop's alone. */
	CURL *easy;
	struct curl_slist *headers;
	char *at; /* where redirects led, or NULL */
	unsigned redirects;
	struct http_head head;
	size_t head_bytes;
	bool judged, over, stalled, dropped, head_over;
	bool paused, enough, refused; /* by the sink */
	bool passed_over, any_address; /* a bad address was not tried; all are to be */
	struct sockets *sockets;       /* both of the loop */
	struct bad_addresses *bad;
	struct address_tries tries;
	int port;		       /* our end of the connection, once the request was sent; 0 */
	uint64_t doubt_us, doubt_bytes; /* the network changed: restart it then unless more has come; 0: no doubt */
	enum http_outcome verdict; /* of the head, once judged */
	_Atomic uint64_t begun_us, sent_us, received, length; /* for http_progress() others may read these */
	uint64_t window_us, window_bytes; /* a period over which the speed is measured */
	char error[CURL_ERROR_SIZE];
};

struct http_transfer *transfer_new(const struct http_request *rq);
void transfer_free(struct http_transfer *t);

/* Prepares t->easy (set by the caller, fresh or reset) for the first or the next URL. -ENOMEM,
 * -EINVAL. */
int transfer_prepare(struct http_transfer *t, const struct http_settings *s);

/* Is it too slow? Then it has to be taken from the loop and ended. */
bool transfer_stalls(struct http_transfer *t, const struct http_settings *s, uint64_t now_us);

/* The sink may have room again. False: it got what it had not taken, and wants nothing more. libcurl goes on in spite of that: the transfer
 * has to be taken from the loop and ended. */
bool transfer_resume(struct http_transfer *t, uint64_t now_us);

/* The network changed: if nothing more comes for a moment, the transfer is to be restarted. */
void transfer_doubt(struct http_transfer *t, uint64_t now_us);
/* Is it time for that? Then it has to be taken from the loop, and begun again. */
bool transfer_restarts(struct http_transfer *t, uint64_t now_us);

/* The easy handle came to an end. Returns true when it goes on, with a redirect or with other addresses: prepare it
 * again. Otherwise the answer is complete. */
bool transfer_ended(struct http_transfer *t, CURLcode code, const struct http_settings *s);

#endif
