/* The event loop: see http.h.
 *
 * A transfer goes QUEUED → RUNNING → DONE. The lock guards the queues, the running list, states and
 * waiters; it is never held while libcurl works. Only the loop's thread touches the multi and easy
 * handles. Who waits sleeps on a condition of its own that all transfers it waits for point to. An
 * abandoned transfer is freed by the loop, so nobody has to wait for that. */
#include "fetch/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "fetch/http_transfer.h"
#include "fetch/network_watch.h"
#include "fetch/sockets.h"

#define CONNECTIONS_KEPT 64L
#define IDLE_WAIT_MS 60000
/* A server of HTTP/1.0 takes a connection for each request, and the simple ones (Python's http.server: 5) have a short queue for
 * them: what does not fit is tried again by TCP a second later. */
#define HTTP_1_0_IN_FLIGHT 5
#define SPEED_CHECK_MS 1000 /* at most between looks at the speed of transfers */

TAILQ_HEAD(transfer_list, http_transfer);

struct http {
	struct http_settings settings;
	CURLM *multi;
	pthread_t thread;
	bool started;

	/* The loop's alone: easy handles for the next transfers. */
	CURL *spare[HTTP_IN_FLIGHT];
	unsigned spares;
	struct network_watch watch;
	struct sockets sockets;
	struct bad_addresses bad;
	void (*changed)(void *context);
	void *context;

	pthread_mutex_t lock; /* for what follows */
	struct transfer_list demanded, background, running;
	unsigned in_flight, in_flight_max;
	bool canceled, stop;
};

/* ---- the loop ---- */

static void free_easy(struct http *h, CURL *easy)
{
	if (!easy)
		return;
	curl_easy_reset(easy);
	if (h->spares < HTTP_IN_FLIGHT)
		h->spare[h->spares++] = easy;
	else
		curl_easy_cleanup(easy);
}

/* Call with the lock held, for a transfer that is in no list any more. */
static void set_done(struct http_transfer *t)
{
	t->state = TRANSFER_DONE;
	if (t->waiter)
		pthread_cond_signal(t->waiter);
}

/* The text may quote what a hostile server sent. */
static void hide_controls(char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			*text = '?';
}

static void end(struct http *h, struct http_transfer *t)
{
	bool abandoned;

	hide_controls(t->answer.text);
	free_easy(h, t->easy);
	t->easy = NULL;
	pthread_mutex_lock(&h->lock);
	TAILQ_REMOVE(&h->running, t, link);
	h->in_flight--;
	abandoned = t->abandoned && !t->rq.sink;
	set_done(t);
	pthread_mutex_unlock(&h->lock);
	if (abandoned)
		transfer_free(t);
}

static void fail(struct http *h, struct http_transfer *t, const char *text)
{
	t->answer.outcome = HTTP_WRONG;
	strncpy(t->answer.text, text, sizeof(t->answer.text) - 1);
	end(h, t);
}

static void begin(struct http *h, struct http_transfer *t)
{
	t->sockets = &h->sockets;
	t->bad = &h->bad;
	if (!t->easy)
		t->easy = h->spares ? h->spare[--h->spares] : curl_easy_init();
	if (!t->easy || transfer_prepare(t, &h->settings) < 0)
		fail(h, t, "no memory for a transfer");
	else if (curl_multi_add_handle(h->multi, t->easy))
		fail(h, t, "libcurl refuses the transfer");
}

/* The last answer decides: with several mirrors it is a compromise, with one it is right. */
static void note_version(struct http *h, CURL *easy)
{
	long version = 0;

	if (curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version) || !version)
		return;
	pthread_mutex_lock(&h->lock);
	h->in_flight_max = version == CURL_HTTP_VERSION_1_0 ? HTTP_1_0_IN_FLIGHT : HTTP_IN_FLIGHT;
	pthread_mutex_unlock(&h->lock);
}

/* Ends connections that no transfer uses, and those from an address that this machine has no more. */
static void drop_idle(struct http *h, bool all)
{
	int used[HTTP_IN_FLIGHT * 2];
	size_t count = 0;
	struct http_transfer *t;

	TAILQ_FOREACH (t, &h->running, link)
		if (t->port && count < sizeof(used) / sizeof(*used))
			used[count++] = t->port;
	sockets_network_changed(&h->sockets, used, count, all);
}

/* What waits for the next transfers may be as dead as this connection was: each would cost as much time again. */
static void note_silence(struct http *h, const struct http_transfer *t)
{
	h->settings.silence_us = clock_us();
	if (t->sent_us)
		drop_idle(h, false);
}

static void ended(struct http *h, struct http_transfer *t, CURLcode code)
{
	note_version(h, t->easy);
	if (code == CURLE_OPERATION_TIMEDOUT)
		note_silence(h, t);
	curl_multi_remove_handle(h->multi, t->easy);
	if (!transfer_ended(t, code, &h->settings)) {
		end(h, t);
		return;
	}
	curl_easy_reset(t->easy);
	begin(h, t);
}

static struct http_transfer *admit(struct http *h)
{
	struct http_transfer *t;
	struct transfer_list *from = &h->demanded;

	pthread_mutex_lock(&h->lock);
	t = TAILQ_FIRST(from); /* urgent ones stand in front */
	if (t && !t->rq.urgent && h->in_flight >= h->in_flight_max)
		t = NULL;
	if (!t && h->in_flight < h->in_flight_max * (HTTP_IN_FLIGHT - HTTP_DEMAND_SLOTS) / HTTP_IN_FLIGHT) {
		from = &h->background;
		t = TAILQ_FIRST(from);
	}
	if (t) {
		TAILQ_REMOVE(from, t, link);
		TAILQ_INSERT_TAIL(&h->running, t, link);
		t->state = TRANSFER_RUNNING;
		h->in_flight++;
	}
	pthread_mutex_unlock(&h->lock);
	return t;
}

/* A running transfer that nobody wants any more, or NULL. */
static struct http_transfer *unwanted(struct http *h)
{
	struct http_transfer *t;

	pthread_mutex_lock(&h->lock);
	TAILQ_FOREACH(t, &h->running, link)
	if (t->abandoned || h->canceled)
		break;
	pthread_mutex_unlock(&h->lock);
	return t;
}

static void end_unwanted(struct http *h)
{
	struct http_transfer *t;

	while ((t = unwanted(h))) {
		curl_multi_remove_handle(h->multi, t->easy);
		t->answer.outcome = HTTP_CANCELED;
		end(h, t);
	}
}

/* ---- changes of the network ---- */

static void restart(struct http *h, struct http_transfer *t)
{
	curl_multi_remove_handle(h->multi, t->easy);
	curl_easy_reset(t->easy);
	begin(h, t);
}

static void on_change(struct http *h, bool slept, uint64_t now_us)
{
	struct http_transfer *t;

	TAILQ_FOREACH (t, &h->running, link)
		transfer_doubt(t, now_us);
	h->settings.changed_us = now_us;
	h->bad = (struct bad_addresses){0};
	drop_idle(h, slept);
	log_debug(slept ? "this machine slept: new connections" : "the network of this machine changed: new connections where needed");
	if (h->changed)
		h->changed(h->context);
}

static void resume_paused(struct http *h)
{
	uint64_t now_us = clock_us();
	struct http_transfer *t, *next;

	for (t = TAILQ_FIRST(&h->running); t; t = next) {
		next = TAILQ_NEXT(t, link);
		if (!transfer_resume(t, now_us))
			ended(h, t, CURLE_WRITE_ERROR);
	}
}

static void watch_network(struct http *h)
{
	uint64_t now_us = clock_us();
	enum network_news news = network_watch_look(&h->watch, now_us);
	struct http_transfer *t, *next;

	if (news != NETWORK_SAME)
		on_change(h, news == NETWORK_SLEPT, now_us);
	for (t = TAILQ_FIRST(&h->running); t; t = next) {
		next = TAILQ_NEXT(t, link);
		if (transfer_restarts(t, now_us))
			restart(h, t);
	}
}

/* ---- the loop itself ---- */

/* Only the loop changes the running list, so it may read it without the lock. */
static void end_stalled(struct http *h)
{
	struct http_transfer *t = TAILQ_FIRST(&h->running);
	uint64_t now_us = clock_us();

	while (t) {
		struct http_transfer *next = TAILQ_NEXT(t, link);

		if (transfer_stalls(t, &h->settings, now_us))
			ended(h, t, CURLE_OPERATION_TIMEDOUT);
		t = next;
	}
}

static void end_finished(struct http *h)
{
	int left;
	CURLMsg *m;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		struct http_transfer *t;
		CURLcode code = m->data.result;

		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		ended(h, t, code);
	}
}

static int wait_ms(struct http *h)
{
	unsigned part = h->settings.stall_ms / 4 + 1;
	int ms = part < SPEED_CHECK_MS ? (int)part : SPEED_CHECK_MS;
	int news_ms = network_watch_wait_ms(&h->watch, clock_us());

	if (TAILQ_EMPTY(&h->running))
		ms = IDLE_WAIT_MS;
	return news_ms >= 0 && news_ms < ms ? news_ms : ms;
}

static bool must_stop(struct http *h)
{
	bool stop;

	pthread_mutex_lock(&h->lock);
	stop = h->stop && TAILQ_EMPTY(&h->running);
	pthread_mutex_unlock(&h->lock);
	return stop;
}

static void *loop(void *context)
{
	struct http *h = context;

	while (!must_stop(h)) {
		struct curl_waitfd news = {.fd = h->watch.fd, .events = CURL_WAIT_POLLIN};
		struct http_transfer *t;
		int running;

		curl_multi_poll(h->multi, &news, h->watch.fd >= 0, wait_ms(h), NULL);
		watch_network(h);
		resume_paused(h);
		curl_multi_perform(h->multi, &running);
		end_finished(h);
		end_stalled(h);
		end_unwanted(h);
		while ((t = admit(h)))
			begin(h, t);
	}
	return NULL;
}

/* ---- opening and closing ---- */

static void init_libcurl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* A line break in a header would let its author add others. */
static bool header_valid(const char *header)
{
	const char *colon = strchr(header, ':');

	if (!colon || colon == header)
		return false;
	for (const char *p = header; *p; p++)
		if ((p < colon && !isgraph((unsigned char)*p)) || iscntrl((unsigned char)*p))
			return false;
	return true;
}

static int copy_headers(struct http_settings *s, const char *const *headers, struct err *e)
{
	for (; headers && *headers; headers++) {
		struct curl_slist *longer;

		if (!header_valid(*headers))
			return err_set(e, -EINVAL, "not a header of the form 'Name: value': '%s'",
				*headers);
		longer = curl_slist_append(s->headers, *headers);
		if (!longer)
			return err_set(e, -ENOMEM, "no memory for headers");
		s->headers = longer;
	}
	return 0;
}

static int copy_settings(struct http_settings *s, const struct http_options *o, struct err *e)
{
	s->netrc = o->netrc;
	s->connect_ms = o->connect_ms;
	s->stall_ms = o->stall_ms;
	s->proxy = o->proxy ? strdup(o->proxy) : NULL;
	s->cacert = o->cacert ? strdup(o->cacert) : NULL;
	if ((o->proxy && !s->proxy) || (o->cacert && !s->cacert))
		return err_set(e, -ENOMEM, "no memory for HTTP settings");
	return copy_headers(s, o->headers, e);
}

static int start_loop(struct http *h, struct err *e)
{
	int r;

	h->multi = curl_multi_init();
	if (!h->multi)
		return err_set(e, -ENOMEM, "no memory for HTTP transfers");
	curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
	r = thread_start(&h->thread, loop, h);
	if (r < 0)
		return err_set(e, r, "cannot start a thread for HTTP transfers: %s", strerror(-r));
	h->started = true;
	return 0;
}

int http_open(struct http **out, const struct http_options *o, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http *h = calloc(1, sizeof(*h));
	int r;

	*out = NULL;
	if (!h)
		return err_set(e, -ENOMEM, "no memory for HTTP transfers");
	pthread_once(&once, init_libcurl);
	pthread_mutex_init(&h->lock, NULL);
	h->in_flight_max = HTTP_IN_FLIGHT;
	h->changed = o->changed;
	h->context = o->context;
	network_watch_open(&h->watch);
	TAILQ_INIT(&h->demanded);
	TAILQ_INIT(&h->background);
	TAILQ_INIT(&h->running);
	r = copy_settings(&h->settings, o, e);
	if (!r)
		r = start_loop(h, e);
	if (r < 0) {
		http_close(h);
		return r;
	}
	*out = h;
	return 0;
}

void http_close(struct http *h)
{
	if (!h)
		return;
	http_cancel(h);
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_mutex_unlock(&h->lock);
	if (h->started) {
		curl_multi_wakeup(h->multi);
		pthread_join(h->thread, NULL);
	}
	while (h->spares)
		curl_easy_cleanup(h->spare[--h->spares]);
	curl_multi_cleanup(h->multi);
	network_watch_close(&h->watch);
	curl_slist_free_all(h->settings.headers);
	free(h->settings.proxy);
	free(h->settings.cacert);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static void cancel_queue(struct transfer_list *queue)
{
	struct http_transfer *t;

	while ((t = TAILQ_FIRST(queue))) {
		TAILQ_REMOVE(queue, t, link);
		t->answer.outcome = HTTP_CANCELED;
		set_done(t);
	}
}

void http_cancel(struct http *h)
{
	pthread_mutex_lock(&h->lock);
	h->canceled = true;
	cancel_queue(&h->demanded);
	cancel_queue(&h->background);
	pthread_mutex_unlock(&h->lock);
	if (h->started)
		curl_multi_wakeup(h->multi);
}

/* ---- callers ---- */

int http_start(struct http *h, const struct http_request *rq, struct http_transfer **out)
{
	struct http_transfer *t = transfer_new(rq);
	bool canceled;

	*out = NULL;
	if (!t)
		return -ENOMEM;
	t->http = h;
	pthread_mutex_lock(&h->lock);
	canceled = h->canceled;
	if (!canceled && rq->urgent)
		TAILQ_INSERT_HEAD(&h->demanded, t, link);
	else if (!canceled)
		TAILQ_INSERT_TAIL(rq->background ? &h->background : &h->demanded, t, link);
	pthread_mutex_unlock(&h->lock);
	if (canceled) {
		transfer_free(t);
		return -ECANCELED;
	}
	curl_multi_wakeup(h->multi);
	*out = t;
	return 0;
}

static int find_done(struct http_transfer *const *transfers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (transfers[i]->state == TRANSFER_DONE)
			return (int)i;
	return -EAGAIN;
}

int http_wait(
	struct http *h, struct http_transfer *const *transfers, size_t count, uint64_t until_ms)
{
	pthread_cond_t done;
	int found, r = 0;

	clock_cond_init(&done);
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < count; i++)
		transfers[i]->waiter = &done;
	while ((found = find_done(transfers, count)) < 0 && r != -ETIMEDOUT)
		r = clock_cond_wait(&done, &h->lock, until_ms);
	for (size_t i = 0; i < count; i++)
		transfers[i]->waiter = NULL;
	pthread_mutex_unlock(&h->lock);
	pthread_cond_destroy(&done);
	return found < 0 ? -ETIMEDOUT : found;
}

void http_wake(struct http *h)
{
	curl_multi_wakeup(h->multi);
}

struct http_answer *http_answer(struct http_transfer *t)
{
	return &t->answer;
}

struct http_progress http_progress(struct http_transfer *t)
{
	return (struct http_progress){
		.begun_us = t->begun_us, .sent_us = t->sent_us, .received = t->received, .length = t->length};
}

/* After that the sink is not called any more. The lock is held. */
static void wait_for_loop(struct http *h, struct http_transfer *t)
{
	pthread_cond_t done;

	clock_cond_init(&done);
	t->waiter = &done;
	curl_multi_wakeup(h->multi);
	while (t->state != TRANSFER_DONE)
		pthread_cond_wait(&done, &h->lock);
	t->waiter = NULL;
	pthread_cond_destroy(&done);
}

void http_finish(struct http_transfer *t)
{
	struct http *h;
	bool running;

	if (!t)
		return;
	h = t->http;
	pthread_mutex_lock(&h->lock);
	running = t->state == TRANSFER_RUNNING;
	if (running)
		t->abandoned = true;
	else if (t->state == TRANSFER_QUEUED)
		TAILQ_REMOVE(t->rq.background && !t->rq.urgent ? &h->background : &h->demanded, t, link);
	if (running && t->rq.sink) {
		wait_for_loop(h, t);
		running = false;
	}
	pthread_mutex_unlock(&h->lock);
	if (running)
		curl_multi_wakeup(h->multi);
	else
		transfer_free(t);
}

int http_get(struct http *h, const struct http_request *rq, uint64_t until_ms,
	struct http_answer *answer)
{
	struct http_transfer *t;
	int r = http_start(h, rq, &t);

	memset(answer, 0, sizeof(*answer));
	if (r < 0)
		return r;
	r = http_wait(h, &t, 1, until_ms);
	if (!r) {
		*answer = t->answer;
		t->answer.body = (struct buf){0};
		r = answer->outcome == HTTP_CANCELED ? -ECANCELED : 0;
	}
	http_finish(t);
	return r;
}
