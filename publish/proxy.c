/* The proxy: see proxy.h. A path is read twice, when it is asked for and in the thread that makes its content: so the rest need not
 * know what paths are. */
#include "publish/proxy.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "publish/catalogue.h"
#include "publish/flights.h"
#include "publish/proxy_image.h"
#include "publish/proxy_pack.h"
#include "publish/recent.h"

struct proxy {
	struct cache *cache;
	struct flights *flights;
	struct recent missing;
	struct upstream stores[PROXY_IMAGES_MAX];
	size_t store_count;
	struct proxy_image images[PROXY_IMAGES_MAX];
	size_t image_count;
};

enum kind { NOTHING, BLOCK, PACK, NEWEST, VERSION, RESIGNED, LAST_WORD, CATALOGUE, PAGE };

struct route {
	enum kind kind;
	struct hash hash;
	struct proxy_image *image;
	uint64_t version;
	uint8_t number[KEY_NUMBER_LEN];
	struct profile profile;
	uint64_t image_size;
};

/* ---- paths ---- */

/* "ab/abcdef..." */
static enum kind block_route(const char *text, struct route *out)
{
	size_t len = strlen(text);

	if (len != 3 + 2 * HASH_LEN || text[2] != '/' || strncmp(text, text + 3, 2) != 0 || hex_decode(out->hash.bytes, HASH_LEN, text + 3, len - 3) < 0)
		return NOTHING;
	return BLOCK;
}

/* Of the newest version of an image. */
static enum kind pack_route(struct proxy *p, const char *text, struct route *out)
{
	enum kind kind = NOTHING;

	if (hex_decode(out->hash.bytes, HASH_LEN, text, strlen(text)) < 0)
		return NOTHING;
	for (size_t i = 0; i < p->image_count && !kind; i++) {
		struct proxy_image *image = &p->images[i];
		const struct manifest *m = &image->now.manifest;

		pthread_mutex_lock(&image->lock);
		if (m->profile.size && hash_equal(&m->profile.pack, &out->hash)) {
			kind = PACK;
			out->image = image;
			out->profile = m->profile;
			out->image_size = m->image.size;
		}
		pthread_mutex_unlock(&image->lock);
	}
	return kind;
}

/* "3", or "3.KEYNUMBER" */
static enum kind version_route(const char *text, struct route *out)
{
	char digits[24];
	size_t len = strcspn(text, ".");

	if (len >= sizeof(digits))
		return NOTHING;
	memcpy(digits, text, len);
	digits[len] = 0;
	if (text_to_u64(digits, &out->version) < 0 || !out->version || digits[0] == '0')
		return NOTHING;
	if (!text[len])
		return VERSION;
	return hex_decode(out->number, KEY_NUMBER_LEN, text + len + 1, strlen(text + len + 1)) < 0 ? NOTHING : RESIGNED;
}

static enum kind image_route(const char *file, struct route *out)
{
	if (!strcmp(file, "manifest"))
		return NEWEST;
	if (text_starts(file, "manifest."))
		return version_route(file + 9, out);
	if (text_starts(file, "next.") && !hex_decode(out->number, KEY_NUMBER_LEN, file + 5, strlen(file + 5)))
		return LAST_WORD;
	return NOTHING;
}

static struct route find_route(struct proxy *p, const char *path)
{
	struct route r = {.kind = NOTHING};

	if (text_starts(path, "/blocks/"))
		r.kind = block_route(path + 8, &r);
	else if (text_starts(path, "/packs/"))
		r.kind = pack_route(p, path + 7, &r);
	else if (!strcmp(path, "/catalog.json"))
		r.kind = CATALOGUE;
	else if (!strcmp(path, "/index.html"))
		r.kind = PAGE;
	for (size_t i = 0; i < p->image_count && !r.kind; i++) {
		const char *name = p->images[i].link.name;

		if (!strncmp(path + 1, name, strlen(name)) && path[1 + strlen(name)] == '/') {
			r.image = &p->images[i];
			r.kind = image_route(path + 2 + strlen(name), &r);
		}
	}
	return r;
}

/* ---- the catalogue ---- */

static void free_json(void *text)
{
	free(text);
}

static void free_page(void *page)
{
	buf_free(page);
	free(page);
}

/* Of manifests that were good a moment ago. */
static void lock_all(struct proxy *p, bool lock)
{
	for (size_t i = 0; i < p->image_count; i++)
		lock ? pthread_mutex_lock(&p->images[i].lock) : pthread_mutex_unlock(&p->images[i].lock);
}

static int make_catalogue(struct proxy *p, struct buf *page, char **json)
{
	struct catalogue_image images[PROXY_IMAGES_MAX];
	int r;

	lock_all(p, true);
	for (size_t i = 0; i < p->image_count; i++) {
		images[i] = (struct catalogue_image){.newest = &p->images[i].now.manifest};
		images[i].versions = &images[i].newest->version;
		images[i].version_count = 1;
		public_key_encode(&p->images[i].link.key, images[i].key);
	}
	r = catalogue_make(images, p->image_count, page, json, NULL);
	lock_all(p, false);
	return r;
}

static void set_catalogue(struct proxy *p, bool html, struct content *out)
{
	struct buf *page = calloc(1, sizeof(*page));
	char *json = NULL;
	int r = -ENOMEM;
	struct hash hash;

	if (page) {
		*page = (struct buf)BUF_INIT(CATALOGUE_PAGE_MAX);
		r = make_catalogue(p, page, &json);
	}
	if (r < 0) {
		content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE, "There is no memory for this now.\n");
	} else if (html) {
		*out = (struct content){.status = MHD_HTTP_OK, .fd = -1, .data = page->data, .size = page->len, .release = free_page, .owner = page};
		page = NULL;
	} else {
		*out = (struct content){.status = MHD_HTTP_OK, .fd = -1, .data = json, .size = strlen(json), .release = free_json, .owner = json};
		json = NULL;
	}
	if (!r) {
		hash_of(&hash, out->data, (size_t)out->size);
		out->etag[0] = '"';
		hex_encode(out->etag + 1, hash.bytes, 16);
		strcat(out->etag, "\"");
	}
	if (page)
		free_page(page);
	free(json);
}

/* ---- making content ---- */

static bool make_near(struct proxy *p, const struct route *r, struct content *out)
{
	switch (r->kind) {
	case BLOCK:
		return block_from_cache(p->cache, &r->hash, out);
	case PACK:
		return pack_from_cache(p->cache, &r->profile, out);
	case NEWEST:
		return proxy_image_newest(r->image, false, out);
	case CATALOGUE:
	case PAGE:
		set_catalogue(p, r->kind == PAGE, out);
		return true;
	default:
		return false;
	}
}

static void make_far(struct proxy *p, const struct route *r, struct content *out)
{
	switch (r->kind) {
	case BLOCK:
		block_fetch(p->stores, p->store_count, p->cache, &r->hash, out);
		return;
	case PACK:
		pack_fetch(r->image->upstream, p->cache, &r->profile, r->image_size, out);
		return;
	case NEWEST:
		proxy_image_newest(r->image, true, out);
		return;
	case VERSION:
		proxy_image_version(r->image, r->version, out);
		return;
	case RESIGNED:
		proxy_image_resigned(r->image, r->version, r->number, out);
		return;
	default:
		proxy_image_last_word(r->image, r->number, out);
	}
}

static bool make(void *context, const char *path, bool far, struct content *out)
{
	struct proxy *p = context;
	struct route r = find_route(p, path);

	if (!far)
		return make_near(p, &r, out);
	make_far(p, &r, out);
	if (out->status == MHD_HTTP_NOT_FOUND)
		recent_add(&p->missing, path);
	return true;
}

/* ---- the site ---- */

static bool find(void *context, const char *path, struct content *out, void **ticket)
{
	struct proxy *p = context;
	struct route r = find_route(p, path);

	if (r.kind == NOTHING) {
		content_error(out, MHD_HTTP_NOT_FOUND, "This proxy has no such file.\n");
		return true;
	}
	if (recent_has(&p->missing, path)) {
		content_error(out, MHD_HTTP_NOT_FOUND, "The store does not have this.\n");
		return true;
	}
	*ticket = flights_join(p->flights, path);
	if (!*ticket)
		content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE, "This proxy is about to end, or has no memory.\n");
	return !*ticket;
}

static void wait_for(void *context, void *ticket, site_done done, void *waiter)
{
	flights_wait(((struct proxy *)context)->flights, ticket, done, waiter);
}

static void finish(void *context, void *ticket, struct content *out)
{
	flights_finish(((struct proxy *)context)->flights, ticket, out);
}

static void cancel(void *context)
{
	struct proxy *p = context;

	for (size_t i = 0; i < p->store_count; i++)
		origin_cancel(p->stores[i].origin);
	flights_land(p->flights);
}

struct site proxy_site(struct proxy *p)
{
	return (struct site){.context = p, .find = find, .wait = wait_for, .finish = finish, .cancel = cancel};
}

/* ---- opening ---- */

static int find_store(struct proxy *p, const char *url, const struct image_options *o, struct upstream **out, struct err *e)
{
	int r;

	for (size_t i = 0; i < p->store_count; i++) {
		if (!strcmp(p->stores[i].url, url)) {
			*out = &p->stores[i];
			return 0;
		}
	}
	*out = &p->stores[p->store_count];
	r = upstream_open(*out, url, o->mirrors, &o->origin, e);
	if (r < 0)
		upstream_close(*out);
	else
		p->store_count++;
	return r;
}

static int check_link(const struct proxy *p, const struct link *l, struct err *e)
{
	if (!l->remote || !l->name[0])
		return err_set(e, -EINVAL, "that is no image in a store on a web server");
	if (!l->has_key)
		return err_set(e, -EINVAL, "the link has no key, so the proxy could not tell what to hand on: give it the whole link (it ends in #RWQ...)");
	if (l->version)
		return err_set(e, -EINVAL, "a proxy hands on all versions: leave out @%llu", (unsigned long long)l->version);
	for (size_t i = 0; i < p->image_count; i++)
		if (!strcmp(p->images[i].link.name, l->name))
			return err_set(e, -EINVAL, "two images with the name %s: they need two proxies", l->name);
	return 0;
}

static int add_image(struct proxy *p, const char *text, const struct image_options *o, struct err *e)
{
	struct proxy_image *image = &p->images[p->image_count];
	struct upstream *store = NULL;
	struct link l;
	int r = link_parse(&l, text, e);

	if (r < 0)
		return err_add(e, "%s", text);
	r = check_link(p, &l, e);
	if (!r)
		r = find_store(p, l.store, o, &store, e);
	if (r < 0) {
		link_free(&l);
		return err_add(e, "%s", text);
	}
	p->image_count++; /* it owns the link now */
	return proxy_image_open(image, &l, store, p->cache, e);
}

int proxy_open(struct proxy **out, const char *const *links, size_t count, const struct image_options *o, struct err *e)
{
	_cleanup_free_ char *dir = image_cache_dir(o, e);
	struct proxy *p = calloc(1, sizeof(*p));
	int r = !p ? err_set(e, -ENOMEM, "no memory for a proxy") : dir ? 0 : -ENOENT;

	if (!r) {
		recent_init(&p->missing);
		r = cache_open(&p->cache, dir, o->cache_size, false, e);
	}
	for (size_t i = 0; i < count && !r; i++)
		r = add_image(p, links[i], o, e);
	if (!r)
		r = flights_open(&p->flights, make, p, e);
	if (r < 0) {
		proxy_close(p);
		return r;
	}
	*out = p;
	return 0;
}

void proxy_close(struct proxy *p)
{
	if (!p)
		return;
	if (p->flights)
		flights_land(p->flights);
	flights_close(p->flights);
	for (size_t i = 0; i < p->image_count; i++)
		proxy_image_close(&p->images[i]);
	for (size_t i = 0; i < p->store_count; i++)
		upstream_close(&p->stores[i]);
	if (p->cache)
		cache_close(p->cache);
	free(p);
}

char *proxy_link(const struct proxy *p, size_t i, const char *url)
{
	return i < p->image_count ? link_format(url, p->images[i].link.name, 0, &p->images[i].link.key) : NULL;
}
