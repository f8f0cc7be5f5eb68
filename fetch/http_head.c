/* The head of an HTTP answer: see http_head.h. */
#include "fetch/http_head.h"

#include <ctype.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/text.h"

#define RETRY_MAX_S 86400 /* bounds the arithmetic; callers bound the waiting */

/* The value of a field, when the line holds that field: trimmed, and "" where it does not fit,
 * since half a value is none. */
static bool field(const char *line, size_t len, const char *name, char *out, size_t room)
{
	size_t name_len = strlen(name);

	if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
		return false;
	line += name_len + 1;
	len -= name_len + 1;
	while (len && isspace((unsigned char)*line))
		line++, len--;
	while (len && isspace((unsigned char)line[len - 1]))
		len--;
	if (len >= room || memchr(line, 0, len))
		len = 0;
	memcpy(out, line, len);
	out[len] = 0;
	return true;
}

static void status_line(struct http_head *h, const char *line, size_t len)
{
	char text[32];
	int major = 0, minor = 0, status = 0;

	len = len < sizeof(text) - 1 ? len : sizeof(text) - 1;
	memcpy(text, line, len);
	text[len] = 0;
	memset(h, 0, sizeof(*h));
	if (sscanf(text, "HTTP/%1d.%1d %3d", &major, &minor, &status) != 3 &&
		sscanf(text, "HTTP/%1d %3d", &major, &status) != 2)
		return;
	h->version = major * 10 + minor;
	h->status = status;
}

/* A number that ends at `end`, inside a field. */
static bool number(const char **at, char end, uint64_t *out)
{
	char digits[24];
	const char *stop = strchr(*at, end);

	if (!stop || (size_t)(stop - *at) >= sizeof(digits))
		return false;
	memcpy(digits, *at, (size_t)(stop - *at));
	digits[stop - *at] = 0;
	*at = stop + 1;
	return !text_to_u64(digits, out);
}

/* bytes FIRST-LAST/TOTAL. A total that is not said ("*") is of no use: how long the resource is has
 * to be known. */
static void content_range(struct http_head *h, const char *value)
{
	const char *at = value + 6;

	h->has_range = !strncasecmp(value, "bytes ", 6) && number(&at, '-', &h->first) &&
		       number(&at, '/', &h->last) && number(&at, 0, &h->total) &&
		       h->first <= h->last && h->last < h->total;
}

static void strong_etag(struct http_head *h)
{
	size_t len = strlen(h->etag);

	if (len < 2 || h->etag[0] != '"' || h->etag[len - 1] != '"')
		h->etag[0] = 0;
}

void http_head_line(struct http_head *h, const char *line, size_t len)
{
	char value[128];

	if (len > 5 && !memcmp(line, "HTTP/", 5)) {
		status_line(h, line, len);
	} else if (field(line, len, "ETag", h->etag, sizeof(h->etag))) {
		strong_etag(h);
	} else if (field(line, len, "Content-Type", h->type, sizeof(h->type))) {
		h->type[strcspn(h->type, "; \t")] = 0;
	} else if (field(line, len, "Content-Length", value, sizeof(value))) {
		h->has_length = !text_to_u64(value, &h->length);
	} else if (field(line, len, "Content-Range", value, sizeof(value))) {
		content_range(h, value);
	} else if (field(line, len, "Content-Encoding", h->encoding, sizeof(h->encoding))) {
		return;
	} else if (field(line, len, "Location", h->location, sizeof(h->location))) {
		return;
	} else if (field(line, len, "Retry-After", h->retry_after, sizeof(h->retry_after))) {
		return;
	} else {
		field(line, len, "Date", h->date, sizeof(h->date));
	}
}

bool http_head_redirects(const struct http_head *h)
{
	return h->location[0] && (h->status == 301 || h->status == 302 || h->status == 303 ||
					 h->status == 307 || h->status == 308);
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{400, "Bad Request"},
		{401, "Unauthorized: the server wants a password or token (--netrc or --header)"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{407, "Proxy Authentication Required"},
		{408, "Request Timeout"},
		{410, "Gone"},
		{416, "Range Not Satisfiable"},
		{429, "Too Many Requests"},
		{500, "Internal Server Error"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "";
}

#define say(...) snprintf(text, HTTP_TEXT_MAX, __VA_ARGS__)

static enum http_outcome judge_error(const struct http_head *h, char *text)
{
	const char *why = reason(h->status);

	say("%d%s%s", h->status, *why ? " " : "", why);
	switch (h->status) {
	case 404:
	case 410:
		return HTTP_MISSING;
	case 401:
	case 403:
		return HTTP_DENIED;
	case 408:
	case 429:
		return HTTP_NO_ANSWER;
	default:
		return h->status >= 500 && h->status <= 599 ? HTTP_NO_ANSWER : HTTP_WRONG;
	}
}

static enum http_outcome judge_part(
	const struct http_head *h, const struct http_request *rq, char *text)
{
	if (!rq->len) {
		say("the server sent a part, but the whole was asked for");
		return HTTP_WRONG;
	}
	if (!h->has_range) {
		say("the server sent a part without saying which one");
		return HTTP_WRONG;
	}
	if (rq->if_range && h->etag[0] && strcmp(h->etag, rq->if_range) != 0) {
		say("the file has changed on the server (ETag %.60s, not %.60s)", h->etag,
			rq->if_range);
		return HTTP_STALE;
	}
	if (rq->if_range && !h->etag[0]) {
		say("the server sent a part without its ETag, so that it cannot be told from "
		    "another version");
		return HTTP_WRONG;
	}
	if (h->first != rq->offset || h->last != rq->offset + rq->len - 1) {
		say("the server sent bytes %" PRIu64 "-%" PRIu64 " instead of %" PRIu64 "-%" PRIu64,
			h->first, h->last, rq->offset, rq->offset + rq->len - 1);
		return HTTP_WRONG;
	}
	if (h->has_length && h->length != rq->len) {
		say("the server announced %" PRIu64 " bytes for a part of %" PRIu64, h->length,
			rq->len);
		return HTTP_WRONG;
	}
	return HTTP_OK;
}

static enum http_outcome judge_whole(
	const struct http_head *h, const struct http_request *rq, char *text)
{
	bool same = !rq->if_range || !strcmp(h->etag, rq->if_range);

	if (rq->len && !rq->offset && h->has_length && h->length == rq->len && same)
		return HTTP_OK;
	if (rq->len && rq->sink && same && (!h->has_length || (h->length >= rq->len && h->length - rq->len >= rq->offset)))
		return HTTP_OK; /* what was not asked for is passed over */
	if (rq->len && rq->if_range) {
		say("the file has changed on the server%s",
			same ? ", or the server does not support ranges" : "");
		return HTTP_STALE;
	}
	if (rq->len) {
		say("the server does not support ranges: it sent the whole file instead of a part");
		return HTTP_WRONG;
	}
	if (h->has_length && h->length > rq->max) {
		say("the server announced %" PRIu64 " bytes, more than the %zu that this may have",
			h->length, rq->max);
		return HTTP_WRONG;
	}
	return HTTP_OK;
}

enum http_outcome http_head_judge(
	const struct http_head *h, const struct http_request *rq, char *text)
{
	if (h->status != 200 && h->status != 206)
		return judge_error(h, text);
	if (h->encoding[0] && strcasecmp(h->encoding, "identity") != 0) {
		say("the server sent %s-encoded data that nobody asked for", h->encoding);
		return HTTP_WRONG;
	}
	return h->status == 206 ? judge_part(h, rq, text) : judge_whole(h, rq, text);
}

uint64_t http_head_retry_ms(const struct http_head *h)
{
	uint64_t seconds;
	time_t then, now;

	if (!h->retry_after[0])
		return 0;
	if (text_to_u64(h->retry_after, &seconds) < 0) {
		then = curl_getdate(h->retry_after, NULL);
		now = h->date[0] ? curl_getdate(h->date, NULL) : -1;
		if (now < 0)
			now = time(NULL);
		if (then <= now)
			return 0;
		seconds = (uint64_t)(then - now);
	}
	return (seconds < RETRY_MAX_S ? seconds : RETRY_MAX_S) * 1000;
}
