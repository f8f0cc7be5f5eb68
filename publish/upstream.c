/* Blocks for a proxy: see upstream.h. They are checked each time, also those of the cache: a client that gets a wrong block takes the proxy
 * for a liar. Sent is the cache's file, so that slow clients cost no memory; only what the cache does not keep is sent from memory,
 * up to a limit. */
#include "publish/upstream.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "format/block.h"

#define DECODING_MAX 4 /* blocks that are decoded at once: up to 4 MiB each */

static atomic_size_t bodies; /* bytes sent from memory now */

int upstream_open(struct upstream *u, const char *url, const char *const *mirrors, const struct origin_options *o, struct err *e)
{
	int r;

	*u = (struct upstream){.url = strdup(url)};
	if (!u->url)
		return err_set(e, -ENOMEM, "no memory for a URL");
	r = origin_open(&u->origin, &url, 1, o, e);
	for (; !r && mirrors && *mirrors; mirrors++)
		r = origin_add(u->origin, *mirrors, e);
	return r;
}

void upstream_close(struct upstream *u)
{
	if (u->origin)
		origin_close(u->origin);
	free(u->url);
}

bool upstream_gone(const struct upstream *u)
{
	return clock_ms() < u->gone_until_ms;
}

void upstream_note(struct upstream *u, int result, const char *why)
{
	bool gone = result == -EHOSTUNREACH || result == -ETIMEDOUT;

	if (result == -ECANCELED)
		return;
	u->gone_until_ms = gone ? clock_ms() + UPSTREAM_GONE_MS : 0;
	if (gone && !atomic_exchange(&u->told, true))
		log_warning("%s; serving what is here", why);
	else if (!gone && atomic_exchange(&u->told, false))
		log_info("%s answers again", u->url);
}

static int check(void *context, const struct buf *body, struct err *e)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t less = PTHREAD_COND_INITIALIZER;
	static unsigned decoding;
	int64_t len = block_claimed_len(body->data, body->len, e);
	_cleanup_free_ uint8_t *decoded = NULL;
	int r;

	if (len < 0)
		return (int)len;
	pthread_mutex_lock(&lock);
	while (decoding == DECODING_MAX)
		pthread_cond_wait(&less, &lock);
	decoding++;
	pthread_mutex_unlock(&lock);
	decoded = malloc((size_t)len);
	r = decoded ? block_decode(decoded, (size_t)len, context, body->data, body->len, e) : err_set(e, -ENOMEM, "no memory for a block");
	pthread_mutex_lock(&lock);
	decoding--;
	pthread_cond_signal(&less);
	pthread_mutex_unlock(&lock);
	return r;
}

static void set_etag(struct content *out, const struct hash *hash)
{
	char hex[HASH_HEX_MAX];

	hash_hex(hash, hex);
	snprintf(out->etag, sizeof(out->etag), "\"%s\"", hex);
}

static bool open_entry(struct cache *cache, const struct hash *hash, struct content *out)
{
	out->fd = cache_open_entry(cache, hash, &out->size);
	if (out->fd < 0)
		return false;
	set_etag(out, hash);
	return true;
}

bool block_from_cache(struct cache *cache, const struct hash *hash, struct content *out)
{
	_cleanup_buf_ struct buf frame = BUF_INIT(BLOCK_FILE_MAX);
	struct err e = ERR_INIT;

	if (cache_load(cache, hash, &frame) < 0)
		return false;
	if (check((void *)hash, &frame, &e) < 0) {
		log_debug("a bad block in %s: %s", cache_dir(cache), e.text);
		cache_drop(cache, hash);
		return false;
	}
	return open_entry(cache, hash, out);
}

static void free_body(void *owner)
{
	struct buf *body = owner;

	bodies -= body->room;
	buf_free(body);
	free(body);
}

/* Takes the frame over. */
static void send_from_memory(struct buf *frame, const struct hash *hash, struct content *out)
{
	struct buf *body = malloc(sizeof(*body));

	if (!body || bodies + frame->room > UPSTREAM_BODIES_MAX) {
		free(body);
		buf_free(frame);
		content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE, "Too much is being sent, and the cache cannot be written to.\n");
		out->retry_after_s = 1;
		return;
	}
	bodies += frame->room;
	*body = *frame;
	*out = (struct content){.status = MHD_HTTP_OK, .fd = -1, .data = body->data, .size = body->len, .release = free_body, .owner = body};
	set_etag(out, hash);
}

static int fetch(struct upstream *u, const struct hash *hash, struct buf *frame)
{
	char path[BLOCK_PATH_MAX];
	struct origin_request rq = {.path = path, .max = BLOCK_FILE_MAX, .check = check, .context = (void *)hash, .once = true,
		.timeout_ms = UPSTREAM_FETCH_MS};
	struct origin_answer answer = {0};
	struct err e = ERR_INIT;
	int r;

	if (upstream_gone(u))
		return -EHOSTUNREACH;
	block_path(hash, path);
	r = origin_get(u->origin, &rq, &answer, &e);
	upstream_note(u, r, e.text);
	if (r == -EBADMSG)
		log_warning("%s", e.text);
	*frame = answer.body;
	return r;
}

void block_fetch(struct upstream *stores, size_t count, struct cache *cache, const struct hash *hash, struct content *out)
{
	bool gone = false, wrong = false;
	struct buf frame;

	for (size_t i = 0; i < count; i++) {
		int r = fetch(&stores[i], hash, &frame);

		if (!r) {
			cache_store(cache, hash, frame.data, frame.len);
			if (open_entry(cache, hash, out))
				buf_free(&frame);
			else
				send_from_memory(&frame, hash, out);
			return;
		}
		wrong |= r == -EBADMSG;
		gone |= r != -EBADMSG && r != -ENOENT && r != -EACCES;
	}
	if (gone)
		content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE, "The store that may have this does not answer.\n");
	else if (wrong)
		content_error(out, MHD_HTTP_BAD_GATEWAY, "The store sends wrong bytes.\n");
	else
		content_error(out, MHD_HTTP_NOT_FOUND, "The store does not have this.\n");
}
