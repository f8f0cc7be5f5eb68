/* One transfer: sets up libcurl's easy handle, takes in head and body, follows redirects, and turns
 * the end into an outcome.
 *
 * libcurl is not asked to follow redirects: it would send the headers that people gave for their
 * private store (tokens) to any host that the store redirects to. Here they go to the scheme, host
 * and port of the store only, and not to mirrors that a manifest names. A login from ~/.netrc is
 * for a host, whatever leads there, but a redirect from https to http does not carry it.
 *
 * libcurl's low-speed limit is not used either: it knows whole seconds, and averages. The speed is
 * taken over windows of stall_ms that start when the request is sent; name resolution, connection
 * and handshake have their own limit. */
#include "fetch/http_transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "fetch/url.h"

#define SPEED_MIN 1000       /* bytes per second */
#define DRAIN_MAX (64 << 10) /* bytes of an error page that are read to keep the connection */
#define HEAD_MAX (64 << 10)  /* bytes of header lines of one answer, trailers included */
#define SHORT_SEGMENT 1200		/* bytes: with TCP's and IPv6's heads within 1280, what every way has to carry */
#define SHORT_SEGMENTS_US 600000000 /* for so long after a silence; it costs a few percent */
#define RECEIVE_BUFFER (64L << 10)
#define FIRST_CONNECT_MS 4000L
#define NAMES_KEPT_S 60L
#define DOUBT_US 1000000

#define say(t, ...) snprintf((t)->answer.text, sizeof((t)->answer.text), __VA_ARGS__)

struct http_transfer *transfer_new(const struct http_request *rq)
{
	struct http_transfer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->rq = *rq;
	t->rq.url = strdup(rq->url);
	t->rq.home = strdup(rq->home ? rq->home : rq->url);
	t->rq.if_range = rq->if_range ? strdup(rq->if_range) : NULL;
	t->answer.body.cap = rq->len ? rq->len : rq->max;
	if (!t->rq.url || !t->rq.home || (rq->if_range && !t->rq.if_range)) {
		transfer_free(t);
		return NULL;
	}
	return t;
}

void transfer_free(struct http_transfer *t)
{
	if (!t)
		return;
	buf_free(&t->answer.body);
	curl_slist_free_all(t->headers);
	free((char *)t->rq.url);
	free((char *)t->rq.home);
	free((char *)t->rq.if_range);
	free(t->at);
	free(t);
}

/* ---- callbacks of libcurl, in the loop's thread ---- */

static size_t on_head(char *line, size_t size, size_t count, void *context)
{
	struct http_transfer *t = context;

	if (!t->answer.latency_us && t->sent_us)
		t->answer.latency_us = clock_us() - t->sent_us;
	t->head_bytes += size * count;
	if (t->head_bytes > HEAD_MAX) { /* libcurl keeps them all */
		t->head_over = true;
		return 0;
	}
	http_head_line(&t->head, line, size * count);
	return size * count;
}

static void judge(struct http_transfer *t)
{
	const struct http_head *h = &t->head;

	if (t->judged)
		return;
	t->judged = true;
	t->verdict = http_head_judge(h, &t->rq, t->answer.text);
	t->length = t->verdict == HTTP_OK && h->has_length ? h->length : 0;
	if (t->verdict == HTTP_OK && h->has_length && !t->rq.sink)
		buf_reserve(&t->answer.body,
			h->length < t->answer.body.cap ? h->length : t->answer.body.cap);
}

/* Gives a piece to the sink. */
static size_t sink(struct http_transfer *t, const char *data, size_t len)
{
	uint64_t at = (t->head.status == 206 ? t->rq.offset : 0) + t->answer.sunk;
	struct err why = ERR_INIT;
	int r = t->rq.sink(t->rq.context, at, data, len, &why);

	if (r == -EAGAIN) {
		t->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	t->enough = r > 0;
	t->refused = r < 0;
	if (t->refused)
		say(t, "%.300s", why.text[0] ? why.text : strerror(-r));
	else
		t->answer.sunk += len;
	return r ? 0 : len;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
	struct http_transfer *t = context;
	size_t len = size * count, taken = len;
	bool wanted;

	if (!http_head_redirects(&t->head))
		judge(t);
	wanted = t->judged && t->verdict == HTTP_OK;
	if (wanted && t->rq.sink)
		taken = sink(t, data, len);
	if (t->paused)
		return taken;
	t->answer.received += len;
	t->received += len;
	t->window_bytes += len;
	if (!wanted) {
		t->dropped = t->answer.received > DRAIN_MAX;
		return t->dropped ? 0 : len;
	}
	if (t->rq.sink)
		return taken;
	t->over = buf_append(&t->answer.body, data, len) < 0;
	return t->over ? 0 : len;
}

static int on_send(void *context, char *to, char *from, int to_port, int from_port)
{
	struct http_transfer *t = context;
	long connections = 0;

	(void)from, (void)to_port;
	t->port = from_port;
	t->sent_us = t->window_us = clock_us();
	address_tries_end(&t->tries, to, t->bad, t->sent_us);
	if (!curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connections) && connections)
		t->answer.connect_us = t->sent_us - t->begun_us;
	t->window_bytes = 0;
	return CURL_PREREQFUNC_OK;
}

/* Has the kernel end a connection whose peer does not acknowledge: else the streams of a dead
 * HTTP/2 connection would stall one after the other. After a silence it asks for short packets: the way here may swallow long ones without
 * telling the server (a tunnel behind a firewall that drops ICMP), and then connections are made, but no answer ever comes. */
static int on_socket(void *context, curl_socket_t fd, curlsocktype purpose)
{
	const struct http_settings *s = context;
	unsigned limit = s->stall_ms;
	int segment = SHORT_SEGMENT;

	(void)purpose;
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
	if (s->silence_us && clock_us() - s->silence_us < SHORT_SEGMENTS_US)
		setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
	return CURL_SOCKOPT_OK;
}

/* An address that did not answer lately is passed over: libcurl goes on with the next one. */
static curl_socket_t on_open(void *context, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct http_transfer *t = context;
	uint64_t now_us = clock_us();

	if (!t->any_address && bad_addresses_has(t->bad, &to->addr, now_us)) {
		t->passed_over = true;
		return CURL_SOCKET_BAD;
	}
	address_tries_add(&t->tries, &to->addr, now_us);
	return sockets_open(t->sockets, to->family, to->socktype, to->protocol);
}

/* ---- preparing ---- */

/* scheme://host:port of a URL, allocated. */
static char *origin_of(const char *url)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *host = NULL, *port = NULL, *out = NULL;

	if (u && !curl_url_set(u, CURLUPART_URL, url, 0) &&
		!curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
		!curl_url_get(u, CURLUPART_HOST, &host, 0) &&
		!curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
		asprintf(&out, "%s://%s:%s", scheme, host, port) < 0)
		out = NULL;
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(u);
	return out;
}

static bool same_origin(const char *a, const char *b)
{
	_cleanup_free_ char *x = origin_of(a), *y = origin_of(b);

	return x && y && !strcasecmp(x, y);
}

static bool add_header(struct curl_slist **list, const char *header)
{
	struct curl_slist *longer = curl_slist_append(*list, header);

	if (longer)
		*list = longer;
	return longer;
}

static bool make_headers(struct http_transfer *t, const struct http_settings *s)
{
	bool ok = add_header(&t->headers, "Accept-Encoding: identity");

	if (ok && t->rq.revalidate)
		ok = add_header(&t->headers, "Cache-Control: no-cache") &&
		     add_header(&t->headers, "Pragma: no-cache");
	if (ok && t->rq.if_range) {
		char line[HTTP_ETAG_MAX + 16];

		snprintf(line, sizeof(line), "If-Range: %s", t->rq.if_range);
		ok = add_header(&t->headers, line);
	}
	if (s->headers && same_origin(t->at ? t->at : t->rq.url, t->rq.home))
		for (const struct curl_slist *h = s->headers; ok && h; h = h->next)
			ok = add_header(&t->headers, h->data);
	return ok;
}

static void set_tls(CURL *easy, const struct http_settings *s, bool https)
{
	/* Waiting for a first connection, to share it, makes sense where it may turn out to be
	 * HTTP/2. */
	curl_easy_setopt(
		easy, CURLOPT_HTTP_VERSION, https ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, https ? 1L : 0L);
	if (s->cacert) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, s->cacert);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
}

static void set_callbacks(struct http_transfer *t, const struct http_settings *s)
{
	CURL *easy = t->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, s);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, sockets_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, t->sockets);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error);
}

/* libcurl gives each but the last address of a name half of the time that is left. The first try is short, so that a dead address
 * costs little; one after a connection failed has all the time that people allow. Names are asked for again after a failure, and when the network has
 * changed: what they said before may be what is wrong. */
static void set_addresses(struct http_transfer *t, const struct http_settings *s)
{
	bool first = !t->rq.patient && !t->any_address && s->connect_ms > FIRST_CONNECT_MS;
	uint64_t age_s = s->changed_us ? (clock_us() - s->changed_us) / 1000000 : NAMES_KEPT_S;

	if (t->rq.new_connection)
		age_s = 0;
	curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, first ? FIRST_CONNECT_MS : (long)s->connect_ms);
	curl_easy_setopt(t->easy, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
	curl_easy_setopt(t->easy, CURLOPT_DNS_CACHE_TIMEOUT, age_s < NAMES_KEPT_S ? (long)age_s : NAMES_KEPT_S);
	curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, t->rq.new_connection ? 1L : 0L);
}

int transfer_prepare(struct http_transfer *t, const struct http_settings *s)
{
	const char *url = t->at ? t->at : t->rq.url;
	CURL *easy = t->easy;
	bool netrc = s->netrc && (text_starts(url, "https:") || text_starts(t->rq.url, "http:"));

	memset(&t->head, 0, sizeof(t->head));
	t->judged = t->over = t->dropped = t->passed_over = t->head_over = false;
	t->paused = t->enough = t->refused = false;
	t->answer.sunk = 0;
	t->head_bytes = 0;
	t->doubt_us = 0;
	t->port = 0;
	t->answer.text[0] = t->error[0] = 0;
	t->answer.body.len = 0;
	t->answer.latency_us = t->answer.connect_us = t->sent_us = t->window_bytes = t->received = t->length = 0;
	t->begun_us = clock_us();
	curl_slist_free_all(t->headers);
	t->headers = NULL;
	if (!make_headers(t, s))
		return -ENOMEM;
	if (curl_easy_setopt(easy, CURLOPT_URL, url))
		return -ENOMEM;
	if (curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"))
		return -EINVAL;
	set_callbacks(t, s);
	set_tls(easy, s, text_starts(url, "https:"));
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "inetboot/" INETBOOT_VERSION);
	set_addresses(t, s);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(
		easy, CURLOPT_NETRC, (long)(netrc ? CURL_NETRC_OPTIONAL : CURL_NETRC_IGNORED));
	if (s->proxy)
		curl_easy_setopt(easy, CURLOPT_PROXY, s->proxy);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Without this, taking away a transfer whose name is still being resolved waits for the
	 * resolver, and the loop with it. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(easy, CURLOPT_RANGE, NULL);
	if (t->rq.len) {
		char range[48];

		snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, t->rq.offset,
			t->rq.offset + t->rq.len - 1);
		curl_easy_setopt(easy, CURLOPT_RANGE, range);
	}
	return 0;
}

bool transfer_stalls(struct http_transfer *t, const struct http_settings *s, uint64_t now_us)
{
	uint64_t limit_us = (uint64_t)s->stall_ms * 1000, spent_us = now_us - t->window_us;

	if (t->paused) /* it is us who do not take more */
		return false;
	if (!t->sent_us) /* libcurl limits connecting, but not the waiting for a connection that may
			    be shared */
		t->stalled = now_us - t->begun_us > (uint64_t)s->connect_ms * 1000 + limit_us;
	else if (spent_us >= limit_us)
		t->stalled = t->window_bytes < SPEED_MIN * spent_us / 1000000;
	if (t->stalled)
		curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
	if (t->sent_us && spent_us >= limit_us) {
		t->window_us = now_us;
		t->window_bytes = 0;
	}
	return t->stalled;
}

bool transfer_resume(struct http_transfer *t, uint64_t now_us)
{
	if (!t->paused)
		return true;
	t->paused = false;
	t->window_us = now_us;
	t->window_bytes = 0;
	curl_easy_pause(t->easy, CURLPAUSE_CONT);
	return !t->enough && !t->refused;
}

void transfer_doubt(struct http_transfer *t, uint64_t now_us)
{
	t->doubt_us = now_us + DOUBT_US;
	t->doubt_bytes = t->received;
}

bool transfer_restarts(struct http_transfer *t, uint64_t now_us)
{
	if (!t->doubt_us || now_us < t->doubt_us)
		return false;
	t->doubt_us = 0;
	if (t->received != t->doubt_bytes)
		return false;
	t->rq.new_connection = true;
	return true;
}

/* ---- the end ---- */

/* Where a redirect leads, resolved against where we are; NULL when that is no URL. */
static char *redirect_target(const struct http_transfer *t)
{
	CURLU *u = curl_url();
	char *found = NULL, *out = NULL;

	if (u && !curl_url_set(u, CURLUPART_URL, t->at ? t->at : t->rq.url, 0) &&
		!curl_url_set(u, CURLUPART_URL, t->head.location, CURLU_URLENCODE) &&
		!curl_url_get(u, CURLUPART_URL, &found, 0))
		out = strdup(found);
	curl_free(found);
	curl_url_cleanup(u);
	return out;
}

static bool follow(struct http_transfer *t)
{
	char *target;

	t->answer.outcome = HTTP_WRONG;
	if (++t->redirects > HTTP_REDIRECTS) {
		say(t, "more than %d redirects", HTTP_REDIRECTS);
		return false;
	}
	target = redirect_target(t);
	if (!target || (!text_starts(target, "http://") && !text_starts(target, "https://"))) {
		say(t, "a redirect to something that is not http or https: %.200s",
			t->head.location);
		free(target);
		return false;
	}
	if (!sandbox_port_allowed((unsigned)url_port(target))) {
		say(t, "a redirect to a port that only --mirror could have opened: %.200s", target);
		free(target);
		return false;
	}
	free(t->at);
	t->at = target;
	return true;
}

static enum http_outcome outcome_of(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_NO_CONNECTION_AVAILABLE:
	case CURLE_PROXY:
	case CURLE_AGAIN:
		return HTTP_NO_ANSWER;
	case CURLE_PARTIAL_FILE:
		return HTTP_SHORT;
	default:
		return HTTP_WRONG;
	}
}

static void explain(struct http_transfer *t, CURLcode code)
{
	const char *why = t->error[0] ? t->error : curl_easy_strerror(code);
	char now[32];
	struct tm tm;
	time_t seconds = time(NULL);

	if (code == CURLE_PARTIAL_FILE && t->head.has_length) {
		say(t, "the connection was closed after %" PRIu64 " of %" PRIu64 " bytes",
			t->answer.received, t->head.length);
	} else if (code == CURLE_PEER_FAILED_VERIFICATION &&
		   (strstr(why, "expired") || strstr(why, "yet valid"))) {
		gmtime_r(&seconds, &tm);
		strftime(now, sizeof(now), "%Y-%m-%d %H:%M", &tm);
		say(t, "%.160s (this machine's clock says %s UTC: is that right?)", why, now);
	} else if (code == CURLE_PEER_FAILED_VERIFICATION) {
		say(t, "%.160s (a certificate authority of your own is named by --cacert)", why);
	} else {
		say(t, "%s", why);
	}
}

/* A sink got all that came. */
static void end_sunk(struct http_transfer *t)
{
	struct http_answer *a = &t->answer;
	uint64_t need = t->rq.len + (t->head.status == 206 ? 0 : t->rq.offset);

	a->outcome = t->enough || t->answer.sunk >= need ? HTTP_OK : HTTP_SHORT;
	if (a->outcome != HTTP_OK)
		say(t, "the body ended after %" PRIu64 " of %" PRIu64 " bytes", t->answer.sunk, need);
}

static void end_whole(struct http_transfer *t)
{
	struct http_answer *a = &t->answer;

	if (t->rq.len && a->body.len != t->rq.len) {
		say(t, "the server sent %zu bytes instead of %" PRIu64, a->body.len, t->rq.len);
		a->outcome = HTTP_WRONG;
		return;
	}
	a->outcome = HTTP_OK;
	a->total = t->head.status == 206 ? t->head.total : a->body.len;
}

bool transfer_ended(struct http_transfer *t, CURLcode code, const struct http_settings *s)
{
	struct http_answer *a = &t->answer;
	uint64_t from_us = t->sent_us ? t->sent_us : t->begun_us;

	address_tries_end(&t->tries, NULL, t->bad, clock_us());
	if (t->passed_over && !t->sent_us && !t->stalled && code && code != CURLE_COULDNT_RESOLVE_HOST) {
		t->any_address = true; /* no other address works either */
		return true;
	}
	a->spent_us = clock_us() - from_us;
	a->status = t->head.status;
	a->version = t->head.version;
	snprintf(a->etag, sizeof(a->etag), "%s", t->head.etag);
	snprintf(a->type, sizeof(a->type), "%s", t->head.type);
	a->stranger = code == CURLE_PEER_FAILED_VERIFICATION || (a->status == 200 && !strcasecmp(a->type, "text/html"));
	a->retry_after_ms = http_head_retry_ms(&t->head);
	if (t->stalled) {
		a->outcome = HTTP_NO_ANSWER;
		if (!t->sent_us)
			say(t, "no connection");
		else if (!a->received)
			say(t, "no answer within %u ms", s->stall_ms);
		else
			say(t, "less than 1 kB/s over %u ms", s->stall_ms);
		return false;
	}
	if (t->head_over) {
		say(t, "more than %d bytes of header lines", HEAD_MAX);
		a->outcome = HTTP_WRONG;
		return false;
	}
	if (http_head_redirects(&t->head) && (!code || t->dropped))
		return follow(t);
	if (!code)
		judge(t);
	if (t->over) {
		say(t, "the body is longer than the %zu bytes that it may have", a->body.cap);
		a->outcome = HTTP_WRONG;
	} else if (t->judged && t->verdict != HTTP_OK) {
		a->outcome =
			t->verdict; /* its text is there; how an error page ended does not matter */
	} else if (t->refused) { /* it said why */
		a->outcome = HTTP_WRONG;
	} else if (code && !t->enough) {
		a->outcome = outcome_of(code);
		explain(t, code);
	} else if (t->rq.sink) {
		end_sunk(t);
	} else {
		end_whole(t);
	}
	return false;
}
