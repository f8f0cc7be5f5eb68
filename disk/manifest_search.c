/* Searching for a manifest: see manifest_search.h. */
#include "disk/manifest_search.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "format/layout.h"

#define SUCCESSOR_MS 5000 /* for last words, when there is a good manifest without them */

/* ---- is it the one that we want? ---- */

static void note_offer(struct manifest_search *s, const char *mirror, uint64_t version, bool replaced)
{
	for (size_t i = 0; i < s->offer_count; i++)
		if (s->offers[i].mirror == mirror) /* asked again */
			return;
	if (mirror && s->offer_count < OFFERS_MAX)
		s->offers[s->offer_count++] = (struct offer){mirror, version, replaced};
}

/* Of a link that pins a version. */
static int check_pinned(const struct manifest_search *s, const struct manifest *m, int signer, struct err *e)
{
	if (m->version != s->link->version)
		return err_set(e, -EBADMSG, "the manifest is of version %" PRIu64 ", not %" PRIu64, m->version, s->link->version);
	if (s->link->has_key && !succession_is_last(&s->keys, signer) && m->version > s->keys.until[signer])
		return err_set(e, -EKEYREJECTED, "version %" PRIu64 " is signed by a key that was replaced after version %" PRIu64, m->version,
			s->keys.until[signer]);
	return 0;
}

/* Of one that asks for the newest, and has a key. */
static int check_newest(struct manifest_search *s, const struct manifest *m, int signer, const char *mirror, struct err *e)
{
	uint64_t seen = succession_seen(&s->keys);
	bool replaced = !succession_is_last(&s->keys, signer);

	note_offer(s, mirror, m->version, replaced);
	if (replaced)
		return err_set(e, -ESTALE,
			"version %" PRIu64 " is signed by a key that was replaced: the server is out of date, or somebody uses a stolen key. "
			"To use it all the same, name it: %s@%" PRIu64,
			m->version, m->name, m->version);
	if (m->version < seen)
		return err_set(e, -ESTALE,
			"the server offers version %" PRIu64 ", but version %" PRIu64 " was seen before: it is out of date, or somebody replays "
			"an old one. To use it all the same, name it: %s@%" PRIu64,
			m->version, seen, m->name, m->version);
	return 0;
}

/* Does a manifest that is signed right answer the link? */
static int check_identity(struct manifest_search *s, const struct manifest *m, int signer, const char *mirror, struct err *e)
{
	if (strcmp(m->name, s->link->name) != 0)
		return err_set(e, -EBADMSG, "the manifest is of an image named %s, not %s", m->name, s->link->name);
	if (m->has_next_key)
		return err_set(e, -EBADMSG, "it is the last word of a key, and no version of %s", m->name);
	if (s->link->version)
		return check_pinned(s, m, signer, e);
	return s->link->has_key ? check_newest(s, m, signer, mirror, e) : 0;
}

/* A later key before an earlier one (a succession that was just found), a revocation before any version. */
static bool is_better(const struct manifest_search *s, const struct manifest *m, int signer)
{
	const struct manifest *best = &s->best.manifest;

	if (!s->best.text.len || signer != s->signer)
		return !s->best.text.len || signer > s->signer;
	return m->revoked != best->revoked ? m->revoked : m->version > best->version;
}

static int take(struct manifest_search *s, const struct found_manifest *found, const void *text, size_t len, int signer, struct err *e)
{
	struct buf copy = BUF_INIT(MANIFEST_MAX);

	if (buf_append(&copy, text, len) < 0)
		return err_set(e, -ENOMEM, "no memory for a manifest of %zu bytes", len);
	found_manifest_free(&s->best);
	s->best = *found;
	s->best.text = copy;
	s->signer = signer;
	if (s->link->has_key)
		s->best.signer = s->keys.keys[signer];
	return 0;
}

/* The place of the key that is to have signed the text. -ENOKEY: none that we know. */
static int find_signer(const struct manifest_search *s, const void *text, size_t len, struct err *e)
{
	uint8_t number[KEY_NUMBER_LEN];
	int r = signature_key_number(text, len, number, e);

	if (r < 0 || !s->link->has_key)
		return r;
	r = succession_find(&s->keys, number);
	return r < 0 ? err_set(e, -ENOKEY, "signed by another key than the link's, and no successor of that") : r;
}

/* 0 where it is good, whether it is the best or not; -ENOKEY for that of a stranger. mirror NULL: from a copy. */
int manifest_search_consider(struct manifest_search *s, const void *text, size_t len, const char *mirror, struct err *e)
{
	struct found_manifest found = {.verified = s->link->has_key};
	const char *message;
	size_t message_len;
	int r, signer = find_signer(s, text, len, e);

	if (signer < 0)
		return signer;
	r = signature_open(s->link->has_key ? &s->keys.keys[signer] : NULL, text, len, &message, &message_len, e);
	if (!r)
		r = manifest_parse(&found.manifest, message, message_len, e);
	if (r < 0)
		return r;
	r = check_identity(s, &found.manifest, signer, mirror, e);
	if (!r && is_better(s, &found.manifest, signer)) {
		r = take(s, &found, text, len, signer, e);
		if (!r)
			return 0;
	}
	manifest_free(&found.manifest);
	return r;
}

/* ---- asking ---- */

static int ask_folder(struct manifest_search *s, const struct origin_request *rq, origin_judge judge, struct err *e)
{
	_cleanup_free_ char *path = file_path("%s/%s", s->link->store, rq->path);
	struct origin_answer answer = {.body = BUF_INIT(rq->max), .mirror = s->link->store};
	int r = path ? file_load_plain(AT_FDCWD, path, &answer.body, e) : -ENOMEM;

	if (!r)
		r = judge(s, &answer, e);
	buf_free(&answer.body);
	return r;
}

/* Asks all mirrors for the file, whose path it frees. */
static int ask(struct manifest_search *s, char *owned_path, size_t max, origin_judge judge, unsigned timeout_ms, bool once, struct err *e)
{
	_cleanup_free_ char *path = owned_path;
	struct origin_request rq = {.path = path, .max = max, .fresh = true, .timeout_ms = timeout_ms, .once = once};

	if (!path)
		return err_set(e, -ENOMEM, "no memory for a path");
	if (!s->origin)
		return ask_folder(s, &rq, judge, e);
	return origin_race(s->origin, &rq, judge, s, s->link->version ? 0 : MANIFEST_GRACE_MS, e);
}

/* Puts it aside. */
static int keep_stranger(struct manifest_search *s, struct origin_answer *answer)
{
	struct stranger *stranger = &s->strangers[s->stranger_count];

	if (!s->keep_strangers || s->stranger_count == STRANGERS_MAX)
		return -EKEYREJECTED;
	signature_key_number((char *)answer->body.data, answer->body.len, stranger->number, NULL);
	stranger->mirror = answer->mirror;
	stranger->text = answer->body;
	answer->body = (struct buf){0};
	s->stranger_count++;
	return 0;
}

static int judge_manifest(void *context, struct origin_answer *answer, struct err *e)
{
	struct manifest_search *s = context;
	int r = manifest_search_consider(s, answer->body.data, answer->body.len, answer->mirror, e);

	if (r == -ENOKEY)
		r = keep_stranger(s, answer);
	if (r == -ESTALE || r == -EKEYREJECTED)
		s->refused = r;
	return r;
}

static int judge_last_word(void *context, struct origin_answer *answer, struct err *e)
{
	struct manifest_search *s = context;

	return succession_add(&s->keys, answer->body.data, answer->body.len, e);
}

/* ---- strangers ---- */

/* The last words from ours to the stranger's key, and then its signature: all good, or all is forgotten. */
static void follow(struct manifest_search *s, const struct stranger *stranger)
{
	unsigned timeout_ms = s->best.text.len ? SUCCESSOR_MS : ORIGIN_FIRST_MS;
	size_t known = s->keys.count;
	struct err e = ERR_INIT;
	int r = 0;

	while (!r && memcmp(succession_last(&s->keys)->number, stranger->number, KEY_NUMBER_LEN) != 0)
		r = ask(s, layout_next(s->link->name, succession_last(&s->keys)->number), LAST_WORD_MAX, judge_last_word, timeout_ms, true,
			&e);
	if (!r)
		r = manifest_search_consider(s, stranger->text.data, stranger->text.len, stranger->mirror, &e);
	if (r < 0) {
		succession_cut(&s->keys, known);
		log_debug("%s: %s", stranger->mirror, e.text);
		return;
	}
	log_info("the key of %s was replaced %s", s->link->name, s->keys.count - known > 1 ? "several times" : "by its publisher");
	succession_remember(&s->keys, known - 1, s->cache, &s->forgotten);
}

/* A version that was made before the link's key became the image's. */
static bool ask_resigned(struct manifest_search *s)
{
	return s->link->version &&
	       !ask(s, layout_resigned(s->link->name, s->link->version, s->link->key.number), MANIFEST_MAX, judge_manifest,
		       ORIGIN_FIRST_MS, true, NULL);
}

static void meet_strangers(struct manifest_search *s)
{
	s->keep_strangers = false;
	for (size_t i = 0; i < s->stranger_count; i++) {
		const struct stranger *at = &s->strangers[i];
		int r = manifest_search_consider(s, at->text.data, at->text.len, at->mirror, NULL);

		if (r != -ENOKEY || (!i && ask_resigned(s)))
			continue;
		follow(s, at);
	}
}

/* ---- the search ---- */

static int ask_manifest(struct manifest_search *s, struct err *e)
{
	return ask(s, layout_manifest(s->link->name, s->link->version), MANIFEST_MAX, judge_manifest, s->timeout_ms, s->once, e);
}

int manifest_search_run(struct manifest_search *s, struct err *e)
{
	int r;

	s->keep_strangers = s->link->has_key;
	r = ask_manifest(s, e);
	if (!r)
		meet_strangers(s);
	if (!r && !s->best.text.len) /* nothing but strangers: others may still have something */
		r = ask_manifest(s, e);
	if (r != -EBADMSG || !s->refused)
		return r;
	if (e)
		e->code = s->refused;
	return s->refused;
}

/* What others offered that is older. */
void manifest_search_tell(const struct manifest_search *s)
{
	uint64_t seen = succession_seen(&s->keys);

	for (size_t i = 0; i < s->offer_count; i++) {
		const struct offer *o = &s->offers[i];

		if (o->replaced || o->version < seen)
			log_warning("%s offers version %" PRIu64 " of %s%s: it is out of date, or somebody replays an old one", o->mirror,
				o->version, s->link->name, o->replaced ? ", signed by a key that was replaced" : ", older than what was seen");
		else if (o->version < s->best.manifest.version)
			log_info("%s still has version %" PRIu64 " of %s", o->mirror, o->version, s->link->name);
	}
}

int manifest_search_refuse_revoked(const struct manifest_search *s, const char *reason, struct err *e)
{
	return err_set(e, -EKEYREVOKED, "its publisher has revoked %s%s%s%s: nobody shall use it any more", s->link->name, *reason ? " (" : "",
		reason, *reason ? ")" : "");
}

int manifest_search_begin(struct manifest_search *s, struct err *e)
{
	if (!s->link->has_key)
		return 0;
	succession_begin(&s->keys, &s->link->key, s->link->name, s->cache);
	return s->keys.revoked ? manifest_search_refuse_revoked(s, s->keys.reason, e) : 0;
}

void manifest_search_end(struct manifest_search *s)
{
	for (size_t i = 0; i < s->stranger_count; i++)
		buf_free(&s->strangers[i].text);
	found_manifest_free(&s->best);
	succession_free(&s->keys);
}
