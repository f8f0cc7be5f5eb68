/* Finding a manifest: see manifests.h. Copies in the cache: manifests/KEY/NAME (newest seen) and manifests/KEY/NAME@N. */
#include "disk/manifests.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "disk/versions.h"

void found_manifest_free(struct found_manifest *f)
{
	manifest_free(&f->manifest);
	buf_free(&f->text);
}

/* Does a manifest that is signed right answer the link? */
static int check_identity(const struct link *l, const struct manifest *m, struct err *e)
{
	uint64_t seen = l->has_key ? versions_seen(&l->key, l->name) : 0;

	if (strcmp(m->name, l->name))
		return err_set(e, -EBADMSG, "the manifest is of an image named %s, not %s", m->name, l->name);
	if (l->version && m->version != l->version)
		return err_set(e, -EBADMSG, "the manifest is of version %" PRIu64 ", not %" PRIu64, m->version, l->version);
	if (!l->version && m->version < seen)
		return err_set(e, -ESTALE,
			"the server offers version %" PRIu64 ", but version %" PRIu64 " was seen before: it is out of date, or somebody replays "
			"an old one. To use it all the same, name it: %s@%" PRIu64,
			m->version, seen, l->name, m->version);
	return 0;
}

int manifest_accept(struct found_manifest *out, const struct link *l, const void *text, size_t len, struct err *e)
{
	struct found_manifest found = {.text = BUF_INIT(MANIFEST_MAX), .verified = l->has_key};
	const char *message;
	size_t message_len;
	int r = signature_open(l->has_key ? &l->key : NULL, text, len, &message, &message_len, e);

	if (!r)
		r = manifest_parse(&found.manifest, message, message_len, e);
	if (!r)
		r = check_identity(l, &found.manifest, e);
	if (!r && buf_append(&found.text, text, len) < 0)
		r = err_set(e, -ENOMEM, "no memory for a manifest of %zu bytes", len);
	if (r < 0) {
		found_manifest_free(&found);
		return r;
	}
	found_manifest_free(out);
	*out = found;
	return 0;
}

/* ---- copies in the cache ---- */

/* Where a copy of the manifest is kept: the path, and its folder in *dir; both allocated, NULL without memory. */
static char *copy_path(const struct link *l, struct cache *cache, char **dir)
{
	char hex[HASH_HEX_MAX];

	hex_encode(hex, l->key.key, sizeof(l->key.key));
	*dir = file_path("%s/manifests/%.32s", cache_dir(cache), hex);
	if (!*dir)
		return NULL;
	return l->version ? file_path("%s/%s@%" PRIu64, *dir, l->name, l->version) : file_path("%s/%s", *dir, l->name);
}

static void keep_copy(const struct link *l, struct cache *cache, const struct buf *text)
{
	struct err e = ERR_INIT;
	_cleanup_free_ char *dir = NULL, *path = NULL;

	if (!cache || !l->has_key)
		return;
	path = copy_path(l, cache, &dir);
	if (!path || file_mkdirs(dir, &e) < 0 || file_save(AT_FDCWD, path, text->data, text->len, 0, &e) < 0)
		log_debug("no copy of the manifest is kept for offline use: %s", e.text);
}

static int load_copy(struct found_manifest *out, const struct link *l, struct cache *cache)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *dir = NULL, *path = NULL;
	int r;

	if (!cache || !l->has_key)
		return -ENOENT;
	path = copy_path(l, cache, &dir);
	r = path ? file_load(AT_FDCWD, path, &text, NULL) : -ENOMEM;
	return r < 0 ? r : manifest_accept(out, l, text.data, text.len, NULL);
}

/* ---- asking for it ---- */

static char *manifest_path(const struct link *l)
{
	return l->version ? file_path("%s/manifest.%" PRIu64, l->name, l->version) : file_path("%s/manifest", l->name);
}

struct manifest_check {
	const struct link *link;
	struct found_manifest *out;
	int refused; /* why the last manifest that came was not taken */
};

static int check_manifest(void *context, const struct buf *body, struct err *e)
{
	struct manifest_check *c = context;

	c->refused = manifest_accept(c->out, c->link, body->data, body->len, e);
	return c->refused;
}

static int ask(struct found_manifest *out, const struct link *l, struct origin *origin, struct cache *cache, bool once, struct err *e)
{
	_cleanup_free_ char *path = manifest_path(l);
	struct manifest_check check = {.link = l, .out = out};
	struct origin_request rq = {
		.path = path,
		.max = MANIFEST_MAX,
		.check = check_manifest,
		.context = &check,
		.fresh = true,
		.timeout_ms = ORIGIN_FIRST_MS,
		.once = once,
	};
	struct origin_answer answer = {0};
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "no memory for a path");
	r = origin_get(origin, &rq, &answer, e);
	if (!r)
		keep_copy(l, cache, &answer.body);
	buf_free(&answer.body);
	if (r != -EBADMSG || (check.refused != -ESTALE && check.refused != -EKEYREJECTED))
		return r;
	if (e)
		e->code = check.refused;
	return check.refused;
}

int manifest_fetch(struct found_manifest *out, const struct link *l, struct origin *origin, struct cache *cache, struct err *e)
{
	struct found_manifest copy = {0};
	int have_copy = load_copy(&copy, l, cache), r;

	if (have_copy < 0 || !l->version) {
		r = ask(out, l, origin, cache, !have_copy, e);
		if (r >= 0 || have_copy < 0 || (r != -EHOSTUNREACH && r != -ETIMEDOUT && r != -EBADMSG)) {
			found_manifest_free(&copy);
			return r;
		}
		log_warning("no server gives the manifest (%s): starting from version %" PRIu64 " in the cache", e->text, copy.manifest.version);
	}
	*out = copy;
	return 0;
}

int manifest_load(struct found_manifest *out, const struct link *l, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *path = manifest_path(l);
	_cleanup_free_ char *full = path ? file_path("%s/%s", l->store, path) : NULL;
	int r = full ? file_load_plain(AT_FDCWD, full, &text, e) : -ENOMEM;

	if (r == -ENOENT || r == -ENOTDIR)
		return err_set(e, -ENOENT, "there is neither a file %s nor an image of that name in a store%s", l->file,
			strchr(l->file, ':') ? " (is http:// missing?)" : "");
	return r < 0 ? r : manifest_accept(out, l, text.data, text.len, e);
}
