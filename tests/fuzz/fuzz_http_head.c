/* The head of an HTTP answer, line by line: the first byte says what was asked for, the rest is
 * what the server sent. */
#include "fuzz.h"

#include "fetch/http_head.h"

#define TAG "\"tag\""

static const struct http_request requests[] = {
	{.url = "http://h/f", .max = 1000},
	{.url = "http://h/f", .max = 1000, .len = 100},
	{.url = "http://h/f", .max = 1000, .offset = 50, .len = 100},
	{.url = "http://h/f", .max = 1000, .offset = 50, .len = 100, .if_range = TAG},
	{.url = "http://h/f", .max = 1000, .len = 100, .if_range = TAG},
};

#define REQUESTS (sizeof(requests) / sizeof(requests[0]))

static void require_ended(const char *text, size_t room)
{
	require(memchr(text, 0, room));
}

/* What a body may be taken for is what was asked for. */
static void check_good(const struct http_head *h, const struct http_request *rq)
{
	require(h->status == 200 || h->status == 206);
	if (h->status == 206)
		require(rq->len && h->has_range && h->first == rq->offset &&
			h->last == rq->offset + rq->len - 1 && h->last < h->total);
	else
		require(!rq->offset && (!rq->len || (h->has_length && h->length == rq->len)));
	if (h->has_length)
		require(h->length <= (rq->len ? rq->len : rq->max));
	if (rq->if_range)
		require(!strcmp(h->etag, rq->if_range));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[HTTP_TEXT_MAX] = "";
	const struct http_request *rq;
	const char *at, *end;
	struct http_head h = {0};
	enum http_outcome outcome;

	if (!size)
		return 0;
	rq = &requests[data[0] % REQUESTS];
	end = (const char *)data + size;
	for (at = (const char *)data + 1; at < end;) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t len = newline ? (size_t)(newline + 1 - at) : (size_t)(end - at);
		char *line = malloc(len); /* so that a byte too many is seen */

		if (!line)
			return 0;
		memcpy(line, at, len);
		http_head_line(&h, line, len);
		free(line);
		at += len;
	}
	require_ended(h.etag, sizeof(h.etag));
	require_ended(h.type, sizeof(h.type));
	require_ended(h.encoding, sizeof(h.encoding));
	require_ended(h.location, sizeof(h.location));
	require_ended(h.retry_after, sizeof(h.retry_after));
	require_ended(h.date, sizeof(h.date));
	require(!h.has_range || (h.first <= h.last && h.last < h.total));
	require(!http_head_redirects(&h) || (h.location[0] && h.status / 100 == 3));
	require(http_head_retry_ms(&h) <= 86400000);
	outcome = http_head_judge(&h, rq, text);
	require_ended(text, sizeof(text));
	require(outcome == HTTP_OK || text[0]);
	if (outcome == HTTP_OK)
		check_good(&h, rq);
	return 0;
}
