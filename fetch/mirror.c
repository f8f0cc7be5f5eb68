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

static void note_failure(struct mirror *m, const struct http_answer *a, uint64_t now_ms)
{
	uint64_t wait_ms = a->retry_after_ms;

	m->errors++;
	snprintf(m->last_error, sizeof(m->last_error), "%s", a->text);
	if (now_ms >= m->retry_at_ms) { /* transfers that fail together count once */
		m->failures++;
		m->retry_at_ms = now_ms + backoff_ms(m->failures);
	}
	if (wait_ms > MIRROR_RETRY_AFTER_MAX_MS)
		wait_ms = MIRROR_RETRY_AFTER_MAX_MS;
	if (wait_ms && a->outcome == HTTP_NO_ANSWER)
		m->not_before_ms = now_ms + wait_ms;
}

bool mirror_note(struct mirror *m, const struct http_answer *a, uint64_t now_ms)
{
	bool outage_ended;

	m->requests++;
	m->bytes += a->received;
	if (a->latency_us)
		m->latency_us =
			m->latency_us ? (m->latency_us * 7 + a->latency_us) / 8 : a->latency_us;
	if (!a->status) {
		if (!m->silent_since_ms)
			m->silent_since_ms = now_ms;
		note_failure(m, a, now_ms);
		return false;
	}
	outage_ended = m->silent_since_ms && now_ms - m->silent_since_ms >= MIRROR_OUTAGE_MS;
	m->silent_since_ms = 0;
	if (a->outcome == HTTP_OK || a->outcome == HTTP_MISSING || a->outcome == HTTP_STALE) {
		m->failures = 0;
		m->retry_at_ms = 0;
	} else {
		note_failure(m, a, now_ms);
	}
	return outage_ended;
}

json_t *mirror_status(const struct mirror *m)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:s, s:f}", "url", m->url, "requests",
		(json_int_t)m->requests, "bytes", (json_int_t)m->bytes, "errors",
		(json_int_t)m->errors, "last_error", m->last_error, "latency_ms",
		(double)m->latency_us / 1000.0);
}
