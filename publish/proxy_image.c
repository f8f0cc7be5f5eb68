/* An image of a proxy: see proxy_image.h. What the servers say takes the place of what is here only when it is good by
 * the link's key and not older. */
#include "publish/proxy_image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "disk/succession.h"
#include "fetch/url.h"
#include "format/layout.h"

static void add_mirrors(struct proxy_image *p)
{
	const struct manifest *m = &p->now.manifest;

	for (size_t i = 0; i < m->mirror_count; i++)
		if (sandbox_port_allowed((unsigned)url_port(m->mirrors[i])))
			origin_add(p->upstream->origin, m->mirrors[i], NULL);
}

int proxy_image_open(struct proxy_image *p, const struct link *l, struct upstream *u, struct cache *cache, struct err *e)
{
	int r;

	p->link = *l;
	p->upstream = u;
	p->cache = cache;
	pthread_mutex_init(&p->lock, NULL);
	r = manifest_fetch(&p->now, l, u->origin, cache, false, e);
	if (r < 0)
		return r;
	p->asked_ms = clock_ms();
	p->checked_ms = p->now.from_copy ? 0 : p->asked_ms;
	p->stale = p->now.from_copy;
	add_mirrors(p);
	return 0;
}

void proxy_image_close(struct proxy_image *p)
{
	found_manifest_free(&p->now);
	link_free(&p->link);
	pthread_mutex_destroy(&p->lock);
}

/* A copy of the text, so that it may change meanwhile. */
static void set_text(struct content *out, const void *text, size_t len)
{
	char hex[HASH_HEX_MAX];
	struct hash hash;
	void *copy = malloc(len);

	if (!copy) {
		content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE, "There is no memory for this now.\n");
		return;
	}
	memcpy(copy, text, len);
	hash_of(&hash, text, len);
	hash_hex(&hash, hex);
	*out = (struct content){.status = MHD_HTTP_OK, .fd = -1, .data = copy, .size = len, .release = free, .owner = copy};
	snprintf(out->etag, sizeof(out->etag), "\"%.32s\"", hex);
}

/* With the lock. */
static void set_newest(struct proxy_image *p, struct content *out)
{
	set_text(out, p->now.text.data, p->now.text.len);
	out->stale = p->stale;
	out->dated = p->checked_ms;
	out->age_s = (clock_ms() - p->checked_ms) / 1000;
}

/* With the lock. Takes found over. */
static void take(struct proxy_image *p, struct found_manifest *found)
{
	struct manifest *m = &found->manifest;

	p->checked_ms = clock_ms();
	p->stale = false;
	if (!m->revoked && m->version < p->now.manifest.version) {
		log_warning("%s offers version %" PRIu64 " of %s, which is older than what was seen", p->upstream->url, m->version, m->name);
		p->stale = true;
		found_manifest_free(found);
		return;
	}
	if (m->revoked)
		log_warning("its publisher has revoked %s: nobody shall use it any more", m->name);
	else if (m->version > p->now.manifest.version)
		log_info("%s has version %" PRIu64 " now", m->name, m->version);
	found_manifest_free(&p->now);
	p->now = *found;
	add_mirrors(p);
}

static void renew(struct proxy_image *p)
{
	struct found_manifest found = {0};
	struct err e = ERR_INIT;
	int r;

	if (upstream_gone(p->upstream))
		r = -EHOSTUNREACH;
	else {
		r = manifest_refresh(&found, &p->link, p->upstream->origin, p->cache, PROXY_REFRESH_MS, &e);
		upstream_note(p->upstream, r, e.text);
		if (r < 0 && r != -EHOSTUNREACH && r != -ETIMEDOUT && r != -ECANCELED)
			log_warning("%s", e.text);
	}
	pthread_mutex_lock(&p->lock);
	p->asked_ms = clock_ms();
	p->stale = r < 0;
	if (!r)
		take(p, &found);
	pthread_mutex_unlock(&p->lock);
}

bool proxy_image_newest(struct proxy_image *p, bool may_ask, struct content *out)
{
	bool ask;

	pthread_mutex_lock(&p->lock);
	ask = !p->now.manifest.revoked && clock_ms() - p->asked_ms >= PROXY_FRESH_MS; /* a revocation is the last word */
	if (ask && may_ask) {
		pthread_mutex_unlock(&p->lock);
		renew(p);
		pthread_mutex_lock(&p->lock);
		ask = false;
	}
	if (!ask)
		set_newest(p, out);
	pthread_mutex_unlock(&p->lock);
	return !ask;
}

static void set_error(struct content *out, int r)
{
	if (r == -ENOENT || r == -EACCES)
		content_error(out, MHD_HTTP_NOT_FOUND, "The store does not have this.\n");
	else if (r == -EHOSTUNREACH || r == -ETIMEDOUT || r == -ECANCELED)
		content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE, "The store that may have this does not answer.\n");
	else
		content_error(out, MHD_HTTP_BAD_GATEWAY, "What the store sends is not signed right.\n");
}

void proxy_image_version(struct proxy_image *p, uint64_t version, struct content *out)
{
	struct found_manifest found = {0};
	struct link pinned = p->link;
	struct err e = ERR_INIT;
	int r;

	pinned.version = version;
	r = manifest_fetch(&found, &pinned, p->upstream->origin, p->cache, false, &e);
	if (r < 0) {
		log_debug("%s", e.text);
		set_error(out, r);
	} else {
		set_text(out, found.text.data, found.text.len);
	}
	found_manifest_free(&found);
}

/* What was signed again by a later key: only those ask for it whose link has that key, so it is checked by them alone. */
void proxy_image_resigned(struct proxy_image *p, uint64_t version, const uint8_t number[KEY_NUMBER_LEN], struct content *out)
{
	_cleanup_free_ char *path = layout_resigned(p->link.name, version, number);
	struct origin_request rq = {.path = path, .max = MANIFEST_MAX, .once = true, .timeout_ms = PROXY_REFRESH_MS};
	struct origin_answer answer = {0};
	int r = path ? origin_get(p->upstream->origin, &rq, &answer, NULL) : -ENOMEM;

	if (r < 0)
		set_error(out, r);
	else
		set_text(out, answer.body.data, answer.body.len);
	buf_free(&answer.body);
}

/* Those that led to the key of the present manifest are known: that was only accepted by them. */
void proxy_image_last_word(struct proxy_image *p, const uint8_t number[KEY_NUMBER_LEN], struct content *out)
{
	_cleanup_(succession_free) struct succession keys;
	struct content newest = CONTENT_INIT;
	int i;

	proxy_image_newest(p, true, &newest);
	content_free(&newest);
	succession_begin(&keys, &p->link.key, p->link.name, p->cache);
	i = succession_find(&keys, number);
	if (i >= 0 && keys.words[i].len)
		set_text(out, keys.words[i].data, keys.words[i].len);
	else
		set_error(out, -ENOENT);
}
