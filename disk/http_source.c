/* A resource on a web server as a source: aligned segments by range requests, kept in memory. There are no hashes here: what the server says is what is read; links with a key are for
 * servers that are not trusted. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "disk/network_status.h"
#include "disk/raw.h"
#include "disk/segments.h"

#define SEGMENT (128u << 10) /* bytes of a range request: the largest read of a FUSE file */

struct http_source {
	struct source source;
	struct origin *origin;
	struct segments segments;
	char etag[256];
};

static int load_segment(void *context, const struct memory_key *key, bool background, uint8_t **data, size_t *len, struct err *e)
{
	struct http_source *s = context;
	struct origin_request rq = {
		.path = "",
		.offset = key->span * SEGMENT,
		.len = key->room,
		.max = key->room,
		.if_range = s->etag[0] ? s->etag : NULL,
		.background = background,
	};
	struct origin_answer answer = {0};
	int r = origin_get(s->origin, &rq, &answer, e);

	if (r == -ESTALE)
		return err_add(e, "the file changed on the server while it was in use; start again to use the new one");
	if (r < 0)
		return r;
	if (answer.total != s->source.size || answer.body.len != key->room) {
		buf_free(&answer.body);
		return err_set(e, -ESTALE, "the file changed its size on the server from %llu to %llu bytes while it was in use",
			(unsigned long long)s->source.size, (unsigned long long)answer.total);
	}
	*data = answer.body.data;
	*len = answer.body.len;
	return 0;
}

static int http_source_read(struct source *source, void *buf, size_t len, uint64_t offset, struct err *e)
{
	return segments_read(&((struct http_source *)source)->segments, buf, len, offset, e);
}

static void http_source_prefetch(struct source *source, uint64_t offset, uint64_t len)
{
	segments_prefetch(&((struct http_source *)source)->segments, offset, len);
}

static void http_source_status(struct source *source, json_t *out)
{
	network_status(((struct http_source *)source)->origin, out);
}

static void http_source_cancel(struct source *source)
{
	origin_cancel(((struct http_source *)source)->origin);
}

static void http_source_close(struct source *source)
{
	struct http_source *s = (struct http_source *)source;

	segments_close(&s->segments);
	free(s);
}

static const struct source_ops http_ops = {
	.name = "http",
	.read = http_source_read,
	.prefetch = http_source_prefetch,
	.status = http_source_status,
	.cancel = http_source_cancel,
	.close = http_source_close,
};

static int ask_version(struct http_source *s, struct http_version *version, struct err *e)
{
	struct origin_request rq = {.path = "", .offset = 0, .len = 1, .max = 1, .timeout_ms = ORIGIN_FIRST_MS};
	struct origin_answer answer = {0};
	int r = origin_get(s->origin, &rq, &answer, e);

	if (r < 0)
		return r;
	version->size = answer.total;
	memcpy(version->etag, answer.etag, sizeof(version->etag));
	buf_free(&answer.body);
	if (!version->etag[0])
		log_warning("the server gives no ETag: a change of the file while it is in use may go unnoticed");
	return version->size ? 0 : err_set(e, -EINVAL, "the file on the server is empty");
}

int http_source_open(struct source **out, struct origin *origin, size_t memory_limit, struct http_version *version, struct err *e)
{
	struct http_version unnamed = {0};
	struct http_source *s = calloc(1, sizeof(*s));
	int r;

	if (!version)
		version = &unnamed;
	if (!s)
		return err_set(e, -ENOMEM, "no memory for a file");
	s->source.ops = &http_ops;
	s->origin = origin;
	r = version->size ? 0 : ask_version(s, version, e);
	s->source.size = version->size;
	memcpy(s->etag, version->etag, sizeof(s->etag));
	if (!r)
		r = segments_open(&s->segments, s->source.size, SEGMENT, memory_limit, ORIGIN_IN_FLIGHT, load_segment, s, e);
	if (r < 0) {
		http_source_close(&s->source);
		return r;
	}
	*out = &s->source;
	return 0;
}
