/* The head of an HTTP answer: parsing of the few fields that matter, and the judgement whether it
 * answers what was asked. Pure: no I/O, no allocation. Everything in here comes from a server that
 * may be hostile. */
#ifndef FETCH_HTTP_HEAD_H
#define FETCH_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch/http.h"

#define HTTP_LOCATION_MAX 4096

struct http_head {
	int status;
	int version;
	char etag[HTTP_ETAG_MAX];         /* "" for none, weak ones, and absurdly long ones */
	char type[HTTP_TYPE_MAX];         /* without parameters */
	char encoding[32];                /* Content-Encoding, "" where none */
	char location[HTTP_LOCATION_MAX]; /* "" where none or too long */
	char retry_after[64];
	char date[64];
	bool has_length;
	uint64_t length; /* Content-Length */
	bool has_range;
	uint64_t first, last, total; /* Content-Range: bytes first-last/total */
};

/* Takes one line of a head, in the order of their arrival; a status line starts afresh. */
void http_head_line(struct http_head *h, const char *line, size_t len);

/* Is it a redirect that says where to? */
bool http_head_redirects(const struct http_head *h);

/* What a body under this head would be worth; text (HTTP_TEXT_MAX) gets the reason of anything but
 * HTTP_OK. 3xx are judged as wrong: redirects must have been followed before. */
enum http_outcome http_head_judge(
	const struct http_head *h, const struct http_request *rq, char *text);

/* Retry-After as milliseconds from now, 0 where none. A date is taken relative to the answer's own
 * Date: our clock may be wrong. */
uint64_t http_head_retry_ms(const struct http_head *h);

#endif
