/* Finding a manifest: see manifests.h. The search itself is in manifest_search.c; here is what comes before and after it: copies in the
 * cache, freshness, and what is remembered. */
#include "disk/manifests.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "disk/copies.h"
#include "disk/freshness.h"
#include "disk/manifest_search.h"
#include "fetch/url.h"

void found_manifest_free(struct found_manifest *f)
{
	manifest_free(&f->manifest);
	buf_free(&f->text);
}

static int handle_revoked(struct manifest_search *s, struct err *e)
{
	const struct manifest *m = &s->best.manifest;

	if (!s->link->has_key) {
		log_warning("%s says that its publisher has revoked it%s%s", m->name, *m->reason ? ": " : "", m->reason);
		return 0;
	}
	if (succession_is_last(&s->keys, s->signer) && succession_revoke(&s->keys, &s->best.text, s->cache, &s->forgotten) < 0)
		log_warning("%s", s->forgotten.text);
	return manifest_search_refuse_revoked(s, m->reason, e);
}

static void remember_version(struct manifest_search *s)
{
	if (s->best.verified)
		versions_remember(&s->best.signer, s->best.manifest.name, s->best.manifest.version, &s->forgotten);
}

/* Hands the best over. */
static int finish(struct manifest_search *s, struct found_manifest *out, struct err *e)
{
	const struct manifest *m = &s->best.manifest;
	int r = m->revoked ? handle_revoked(s, e) : 0;

	if (!r)
		r = freshness_check(m, s->best.from_copy, s->strict, e);
	if (r < 0)
		return r;
	remember_version(s);
	if (s->forgotten.code && s->strict)
		return err_set(e, s->forgotten.code, "%s", s->forgotten.text);
	if (s->forgotten.code)
		log_warning("%s", s->forgotten.text);
	*out = s->best;
	s->best = (struct found_manifest){0};
	return 0;
}

/* ---- copies in the cache ---- */

static void keep_copy(struct manifest_search *s)
{
	_cleanup_free_ char *name = s->link->has_key ? copy_name(s->link->name, s->link->version) : NULL;

	copy_keep(s->cache, &s->link->key, name, s->best.text.data, s->best.text.len);
}

/* Takes a good copy as the best. False: there is none. */
static bool load_copy(struct manifest_search *s)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *name = s->link->has_key ? copy_name(s->link->name, s->link->version) : NULL;

	return !copy_load(s->cache, &s->link->key, name, &text) && !manifest_search_consider(s, text.data, text.len, NULL, NULL);
}

/* So that the race has them: a link's server may be gone for good. */
static void add_mirrors(struct manifest_search *s, const struct manifest *m)
{
	struct err e = ERR_INIT;

	for (size_t i = 0; i < m->mirror_count; i++)
		if (sandbox_port_allowed(url_port(m->mirrors[i])) && origin_add(s->origin, m->mirrors[i], &e) < 0)
			log_debug("mirror %s: %s", m->mirrors[i], e.text);
}

/* Asks the network for the newest, with a copy of what was the newest to fall back to. */
static int fetch(struct manifest_search *s, bool have_copy, struct err *e)
{
	struct found_manifest copy = s->best;
	int signer = s->signer, r;

	s->best = (struct found_manifest){0};
	s->once = have_copy;
	if (have_copy && !s->strict) /* a strict start has less use for a copy */
		s->timeout_ms = copy_is_marked(s->cache, &s->link->key, &copy.manifest) ? MANIFEST_WHOLE_MS : MANIFEST_COPY_MS;
	add_mirrors(s, &copy.manifest);
	r = manifest_search_run(s, e);
	if (r >= 0 || !have_copy || (r != -EHOSTUNREACH && r != -ETIMEDOUT && r != -EBADMSG)) {
		found_manifest_free(&copy);
		return r;
	}
	log_warning("no server gives the manifest (%s): starting from version %" PRIu64 " in the cache", e->text, copy.manifest.version);
	found_manifest_free(&s->best);
	s->best = copy;
	s->best.from_copy = true;
	s->signer = signer;
	return 0;
}

int manifest_fetch(struct found_manifest *out, const struct link *l, struct origin *origin, struct cache *cache, bool strict,
	struct err *e)
{
	struct manifest_search s = {.link = l, .origin = origin, .cache = cache, .strict = strict, .timeout_ms = ORIGIN_FIRST_MS};
	bool have_copy;
	int r = manifest_search_begin(&s, e);

	if (!r) {
		have_copy = load_copy(&s);
		if (!have_copy || !l->version)
			r = fetch(&s, have_copy, e);
		if (!r) {
			manifest_search_tell(&s);
			if (!s.best.from_copy && !s.best.manifest.revoked)
				keep_copy(&s);
			r = finish(&s, out, e);
		}
	}
	manifest_search_end(&s);
	return r;
}

int manifest_refresh(struct found_manifest *out, const struct link *l, struct origin *origin, struct cache *cache, unsigned timeout_ms,
	struct err *e)
{
	struct manifest_search s = {.link = l, .origin = origin, .cache = cache, .once = true, .timeout_ms = timeout_ms};
	int r = manifest_search_begin(&s, e);

	if (!r)
		r = manifest_search_run(&s, e);
	if (!r && s.best.manifest.revoked) {
		handle_revoked(&s, NULL);
	} else if (!r) {
		keep_copy(&s);
		remember_version(&s);
	}
	if (!r) {
		*out = s.best;
		s.best = (struct found_manifest){0};
	}
	manifest_search_end(&s);
	return r;
}

int manifest_load(struct found_manifest *out, const struct link *l, bool strict, struct err *e)
{
	struct manifest_search s = {.link = l, .strict = strict};
	int r = manifest_search_begin(&s, e);

	if (!r)
		r = manifest_search_run(&s, e);
	if (r == -ENOENT || r == -ENOTDIR)
		r = err_set(e, -ENOENT, "there is neither a file %s nor an image of that name in a store%s", l->file,
			strchr(l->file, ':') ? " (is http:// missing?)" : "");
	if (!r)
		r = finish(&s, out, e);
	manifest_search_end(&s);
	return r;
}
