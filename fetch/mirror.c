/* One mirror: see mirror.h. */
#include "fetch/mirror.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fetch/backoff.h"

#define URL_MAX 4096 /* bytes */

static int check_url(const char *url, struct err *e)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *user = NULL;
	int r = 0;

	if (!u)
		return err_set(e, -ENOMEM, "no memory for a URL");
	if (strlen(url) > URL_MAX || curl_url_set(u, CURLUPART_URL, url, 0) ||
		curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
		(strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0))
		r = err_set(e, -EINVAL, "not an http or https URL: %.200s", url);
	else if (!curl_url_get(u, CURLUPART_USER, &user, 0))
		r = err_set(
			e, -EINVAL, "a user name in a URL ends up in logs: put it into ~/.netrc");
	curl_free(scheme);
	curl_free(user);
	curl_url_cleanup(u);
	return r;
}

int mirror_new(struct mirror **out, const char *url, struct err *e)
{
	struct mirror *m;
	size_t len = strlen(url);
	int r = check_url(url, e);

	if (r < 0)
		return r;
	while (len && url[len - 1] == '/')
		len--;
	m = calloc(1, sizeof(*m));
	if (!m || !(m->url = strndup(url, len))) {
		free(m);
		return err_set(e, -ENOMEM, "no memory for a mirror");
	}
	*out = m;
	return 0;
}

void mirror_free(struct mirror *m)
{
	if (!m)
		return;
	free(m->url);
	free(m);
}

void mirror_begin(struct mirror *m, double bytes, uint64_t now_ms)
{
	if (!m->in_flight++) {
		m->window_ms = now_ms;
		m->window_bytes = 0;
	}
	m->ahead += bytes;
	m->asked_ms = now_ms;
}

void mirror_end(struct mirror *m, double bytes)
{
	m->in_flight--;
	m->ahead = m->in_flight ? m->ahead - bytes : 0;
}

static void note_failure(struct mirror *m, const struct http_answer *a, uint64_t now_ms)
{
	uint64_t wait_ms = a->retry_after_ms;

	m->errors++;
	snprintf(m->last_error, sizeof(m->last_error), "%s", a->text);
	if (!m->failures)
		m->demoted_ms = now_ms;
	if (now_ms >= m->retry_at_ms) { /* transfers that fail together count once */
		m->failures++;
		m->retry_at_ms = now_ms + backoff_ms(m->failures);
	}
	if (wait_ms > MIRROR_RETRY_AFTER_MAX_MS)
		wait_ms = MIRROR_RETRY_AFTER_MAX_MS;
	if (wait_ms && a->outcome == HTTP_NO_ANSWER)
		m->not_before_ms = now_ms + wait_ms;
}

static void note_delivered(struct mirror *m, uint64_t bytes, uint64_t now_ms)
{
	m->window_bytes += bytes;
	if (now_ms - m->window_ms < MIRROR_WINDOW_MS)
		return;
	estimate_delivered(&m->estimate, m->window_bytes, (double)(now_ms - m->window_ms) * 1e3);
	m->window_ms = now_ms;
	m->window_bytes = 0;
}

/* A first failure is nothing to talk about. */
static unsigned news_of_failure(struct mirror *m, uint64_t now_ms)
{
	if (m->told || m->failures < 2 || (m->told_ms && now_ms - m->told_ms < MIRROR_TELL_MS))
		return 0;
	m->told = true;
	m->told_ms = now_ms;
	return MIRROR_TELL_DEMOTED;
}

static unsigned news_of_success(struct mirror *m)
{
	unsigned news = m->told ? MIRROR_TELL_GOOD : 0;

	m->told = false;
	m->failures = 0;
	m->retry_at_ms = 0;
	return news;
}

static void note_times(struct mirror *m, const struct http_answer *a)
{
	if (a->latency_us)
		estimate_first_byte(&m->estimate, (double)(a->connect_us + a->latency_us));
	if (a->outcome == HTTP_OK || a->outcome == HTTP_NO_ANSWER)
		estimate_body(&m->estimate, a->received, (double)(a->spent_us - a->latency_us), m->in_flight);
}

unsigned mirror_note(struct mirror *m, const struct http_answer *a, uint64_t now_ms)
{
	bool fine = a->outcome == HTTP_OK || a->outcome == HTTP_MISSING || a->outcome == HTTP_STALE;
	unsigned news = 0;

	m->requests++;
	m->bytes += a->received;
	note_delivered(m, a->received, now_ms);
	m->good += a->outcome == HTTP_OK;
	m->not_found += a->outcome == HTTP_MISSING;
	note_times(m, a);
	estimate_useful(&m->estimate, a->outcome == HTTP_OK);
	if (!a->status) {
		if (!m->silent_since_ms)
			m->silent_since_ms = now_ms;
	} else {
		if (m->silent_since_ms && now_ms - m->silent_since_ms >= MIRROR_OUTAGE_MS)
			news |= MIRROR_RETURNED;
		m->silent_since_ms = 0;
	}
	if (fine)
		return news | news_of_success(m);
	note_failure(m, a, now_ms);
	return news | news_of_failure(m, now_ms);
}

void mirror_note_lost(struct mirror *m, double spent_us, uint64_t received)
{
	double latency_us = m->estimate.latency_us;

	m->bytes += received;
	if (received)
		estimate_body(&m->estimate, received, spent_us > latency_us ? spent_us - latency_us : spent_us, m->in_flight);
	else
		estimate_first_byte(&m->estimate, spent_us);
}

double mirror_room(const struct mirror *m, double bytes)
{
	double room = MIRROR_ROOM_GAIN * estimate_line_bytes(&m->estimate) / (bytes < 1 ? 1 : bytes);

	if (m->failures)
		return 0;
	return room < MIRROR_ROOM_LEAST ? MIRROR_ROOM_LEAST : room;
}

static const char *state_name(const struct mirror *m, uint64_t now_ms)
{
	if (now_ms < m->not_before_ms)
		return "waiting";
	if (m->failures)
		return "demoted";
	return m->good + m->not_found ? "good" : "unknown";
}

json_t *mirror_status(const struct mirror *m, uint64_t all_good, uint64_t now_ms)
{
	return json_pack("{s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:s}", "url", m->url, "state", state_name(m, now_ms),
		"share", all_good ? (double)m->good * 100 / (double)all_good : 0.0, "requests", (json_int_t)m->requests,
		"bytes", (json_int_t)m->bytes, "errors", (json_int_t)m->errors, "not_found", (json_int_t)m->not_found,
		"hedges", (json_int_t)m->hedges, "hedges_won", (json_int_t)m->hedges_won,
		"latency_ms", m->estimate.latency_us / 1000, "latency_p95_ms", estimate_p95_us(&m->estimate) / 1000,
		"bytes_per_s", (json_int_t)estimate_rate(&m->estimate), "last_error", m->last_error);
}
