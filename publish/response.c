/* HTTP answers: see response.h. */
#include "publish/response.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

struct wish { /* what a request asks of content */
	const char *if_match_none; /* If-None-Match, or NULL */
	const char *range;	   /* Range, or NULL */
	const char *if_range;
};

void content_error(struct content *c, unsigned status, const char *text)
{
	*c = (struct content){.status = status, .text = text, .fd = -1};
}

void content_free(struct content *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->release)
		c->release(c->owner);
	*c = (struct content)CONTENT_INIT;
}

static const char *content_type(const char *path)
{
	const char *base = strrchr(path, '/') + 1;

	if (text_ends(base, ".html"))
		return "text/html; charset=utf-8";
	if (text_ends(base, ".json"))
		return "application/json";
	if (text_starts(base, "manifest") || text_starts(base, "next.") || text_ends(base, ".pub"))
		return "text/plain; charset=utf-8";
	return text_starts(path, "/blocks/") ? "application/zstd" : "application/octet-stream";
}

static const char *cache_control(const char *path)
{
	return text_starts(path, "/blocks/") || text_starts(path, "/packs/")
		       ? "public, max-age=31536000, immutable"
		       : "no-cache";
}

/* Does a list of ETags, or "*", name this one? Weak comparison, as If-None-Match has it. */
static bool etag_listed(const char *list, const char *etag)
{
	const char *at = strstr(list, etag);

	return !strcmp(list, "*") || (at && (at == list || strchr(" ,/", at[-1])));
}

/* Parses "bytes=a-b", "bytes=a-", "bytes=-n". 1: a range inside the content; 0: nothing that must be
 * heeded (another unit, several ranges, nonsense); -1: it cannot be satisfied. */
static int parse_range(const char *text, uint64_t size, uint64_t *start, uint64_t *len)
{
	char first[24] = "", last[24] = "";
	const char *dash;
	uint64_t a, b;

	if (!text_starts(text, "bytes="))
		return 0;
	text += 6;
	dash = strchr(text, '-');
	if (!dash || dash - text >= (ptrdiff_t)sizeof(first) || strlen(dash + 1) >= sizeof(last))
		return 0;
	memcpy(first, text, (size_t)(dash - text));
	strcpy(last, dash + 1);
	if ((*last && text_to_u64(last, &b) < 0) || (*first && text_to_u64(first, &a) < 0) ||
		(!*first && !*last))
		return 0;
	if (!*first) {
		if (!b || !size)
			return -1;
		*len = b < size ? b : size;
		*start = size - *len;
		return 1;
	}
	if (*last && b < a)
		return 0;
	if (a >= size)
		return -1;
	*start = a;
	*len = !*last || b >= size ? size - a : b - a + 1;
	return 1;
}

struct MHD_Response *response_text(const char *text)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);

	if (r) {
		MHD_add_response_header(r, "Content-Type", "text/plain; charset=utf-8");
		MHD_add_response_header(r, "Cache-Control", "no-store");
	}
	return r;
}

static struct MHD_Response *error_response(const struct content *c)
{
	struct MHD_Response *r = response_text(c->text);
	char seconds[16];

	if (r && c->retry_after_s) {
		snprintf(seconds, sizeof(seconds), "%u", c->retry_after_s);
		MHD_add_response_header(r, "Retry-After", seconds);
	}
	return r;
}

static void release_content(void *content)
{
	content_free(content);
	free(content);
}

/* Takes the content over. */
static struct MHD_Response *body(struct content *c, uint64_t start, uint64_t len)
{
	struct MHD_Response *r;
	struct content *kept;

	if (c->fd >= 0) {
		r = MHD_create_response_from_fd_at_offset64(len, c->fd, start);
		if (r)
			c->fd = -1;
		content_free(c);
		return r;
	}
	kept = malloc(sizeof(*kept));
	if (!kept) {
		content_free(c);
		return NULL;
	}
	*kept = *c;
	*c = (struct content)CONTENT_INIT;
	r = MHD_create_response_from_buffer_with_free_callback_cls(
		(size_t)len, (uint8_t *)kept->data + start, release_content, kept);
	if (!r)
		release_content(kept);
	return r;
}

static void add_headers(struct MHD_Response *r, const char *path, const struct content *c)
{
	char age[24];

	MHD_add_response_header(r, "ETag", c->etag);
	MHD_add_response_header(r, "Accept-Ranges", "bytes");
	MHD_add_response_header(r, "Cache-Control", cache_control(path));
	if (c->dated) {
		snprintf(age, sizeof(age), "%" PRIu64, c->age_s);
		MHD_add_response_header(r, "Age", age);
	}
	if (c->stale)
		MHD_add_response_header(r, "Warning", "110 - \"Response is Stale\"");
}

static void add_range_header(struct MHD_Response *r, int ranged, uint64_t start, uint64_t len, uint64_t size)
{
	char range[80];

	if (ranged > 0)
		snprintf(range, sizeof(range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, start, start + len - 1, size);
	else
		snprintf(range, sizeof(range), "bytes */%" PRIu64, size);
	MHD_add_response_header(r, "Content-Range", range);
}

static struct MHD_Response *make(const char *path, const struct wish *w, struct content *c, unsigned *status)
{
	uint64_t start = 0, len = c->size;
	struct content told = *c; /* for its numbers: the content itself goes away */
	struct MHD_Response *r;
	int ranged = 0;

	*status = MHD_HTTP_OK;
	if (w->if_match_none && etag_listed(w->if_match_none, c->etag))
		*status = MHD_HTTP_NOT_MODIFIED;
	else if (w->range && (!w->if_range || !strcmp(w->if_range, c->etag)))
		ranged = parse_range(w->range, c->size, &start, &len);
	if (ranged < 0)
		*status = MHD_HTTP_RANGE_NOT_SATISFIABLE;
	if (*status != MHD_HTTP_OK) {
		content_free(c);
		r = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
	} else {
		r = body(c, start, len);
	}
	if (!r)
		return NULL;
	add_headers(r, path, &told);
	if (*status == MHD_HTTP_OK)
		MHD_add_response_header(r, "Content-Type", content_type(path));
	if (ranged)
		add_range_header(r, ranged, start, len, told.size);
	if (ranged > 0)
		*status = MHD_HTTP_PARTIAL_CONTENT;
	return r;
}

struct MHD_Response *response_make(
	struct MHD_Connection *connection, const char *path, bool is_get, struct content *c, unsigned *status)
{
	struct wish w = {
		.if_match_none = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "If-None-Match"),
		.if_range = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "If-Range"),
	};

	if (is_get) /* ranges are defined for GET only */
		w.range = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Range");
	if (c->status == MHD_HTTP_OK)
		return make(path, &w, c, status);
	*status = c->status;
	return error_response(c);
}
