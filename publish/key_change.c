/* Replacing and revoking keys: see key_change.h.
 *
 * A replacement writes, each file durably before the next: the old key's last word, the kept versions signed again, NAME/manifest, and last
 * NAME/key.pub. Before NAME/manifest is renamed nobody asks for the other files, and after it they are there; that rename is
 * the moment. All are made from what the store has and the two keys alone, so that doing it again gives the same files. */
#include "publish/key_change.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "format/layout.h"
#include "publish/catalogue.h"
#include "publish/key_files.h"

struct change {
	const struct key_change *o;
	struct store store;
	struct signer old, new; /* new: where o->new_key is given */
	key_change_done done;
	void *context;
};

/* ---- the last word ---- */

static int save_last_word(struct change *c, const struct manifest *newest, struct err *e)
{
	_cleanup_buf_ struct buf message = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *path = layout_next(newest->name, c->old.public.number);
	struct manifest m = {.version = newest->version, .image = newest->image, .chunks = newest->chunks, .has_next_key = true,
		.next_key = c->new.public};
	char comment[SIGNER_COMMENT_MAX];
	int r;

	snprintf(m.name, sizeof(m.name), "%s", newest->name);
	snprintf(m.created, sizeof(m.created), "%s", newest->created);
	snprintf(comment, sizeof(comment), "inetboot next key of %s", m.name);
	r = manifest_encode(&m, &message, e);
	return r < 0 ? r : signer_save(&c->old, &c->store, path, comment, message.data, message.len, 0, e);
}

/* May the new key take over, as far as earlier changes say? */
static int check_new_key(struct change *c, const char *name, struct err *e)
{
	struct manifest m;
	bool same;
	int r = key_files_last_word(&c->store, name, &c->new.public, &m, e);

	if (!r || r == -EKEYREJECTED) {
		if (!r)
			manifest_free(&m);
		return err_set(e, -ELOOP, "%s, or a key of its number, was a key of %s before, and has been replaced: take a fresh key",
			c->new.file, name);
	}
	if (r != -ENOENT)
		return r;
	r = key_files_last_word(&c->store, name, &c->old.public, &m, e);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	same = public_key_equal(&m.next_key, &c->new.public);
	manifest_free(&m);
	return same ? 0 : err_set(e, -EEXIST,
		"%s was given to another key than %s before: its readers may know that already. Go on with that key", name, c->new.file);
}

/* ---- one image ---- */

enum state { TO_DO, DONE_BEFORE };

static int refuse_signer(struct change *c, const struct version *current, struct err *e)
{
	return err_set(e, -EKEYREJECTED, "another key than %s signed %s/%s", c->old.file, c->store.path, current->file);
}

static int look_to_replace(struct change *c, const struct version *current, enum state *out, struct err *e)
{
	int r;

	if (current->manifest.revoked)
		return err_set(e, -EKEYREVOKED, "%s is revoked: there is nothing to sign with a new key", current->manifest.name);
	r = check_new_key(c, current->manifest.name, e);
	if (!r)
		r = store_signed_by(&c->store, current->file, &c->old.public, e);
	if (r > 0)
		*out = TO_DO;
	if (r)
		return r < 0 ? r : 0;
	r = store_signed_by(&c->store, current->file, &c->new.public, e);
	if (!r)
		return refuse_signer(c, current, e);
	*out = DONE_BEFORE;
	/* After a publish --replace-key there is no last word, and the old links do not lead here. */
	return r < 0 ? r : key_files_check_signer(&c->store, current->manifest.name, &c->old, NULL) == -EKEYREVOKED ? 0 : refuse_signer(c, current, e);
}

static int look_to_revoke(struct change *c, const struct version *current, enum state *out, struct err *e)
{
	int r = store_signed_by(&c->store, current->file, &c->old.public, e);

	*out = current->manifest.revoked ? DONE_BEFORE : TO_DO;
	return r ? (r < 0 ? r : 0) : refuse_signer(c, current, e);
}

/* Loads an image's versions and says what is to be done. The caller frees v in any case. */
static int look(struct change *c, const char *name, struct versions *v, enum state *out, struct err *e)
{
	const struct version *current;
	int r = store_versions(&c->store, name, NULL, NULL, v, e);

	if (r < 0)
		return r;
	if (!v->count)
		return err_set(e, -ENOENT, "%s has no image %s", c->store.path, name);
	current = versions_current(v);
	if (!current)
		return err_set(e, -ENOENT, "%s was never published to its end: publish it again first", name);
	return c->o->new_key ? look_to_replace(c, current, out, e) : look_to_revoke(c, current, out, e);
}

/* Copies the message of a signed file under another signature, if `from` signed it. 0, or 1 where it did not. */
static int sign_again(struct change *c, const char *from, const char *to, const struct manifest *m, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(MANIFEST_MAX);
	char comment[SIGNER_COMMENT_MAX];
	const char *message;
	size_t len;
	int r;

	if (!from || !to)
		return err_set(e, -ENOMEM, "no memory for a path");
	r = store_open_signed(&c->store, from, &c->old.public, &data, &message, &len, e);
	if (r == -EKEYREJECTED || r == -ENOENT)
		return 1;
	signer_comment(comment, m->name, m->version);
	return r < 0 ? r : signer_save(&c->new, &c->store, to, comment, message, len, 0, e);
}

static int sign_kept_version(struct change *c, const struct version *v, struct err *e)
{
	const struct manifest *m = &v->manifest;
	_cleanup_free_ char *before = layout_resigned(m->name, m->version, c->old.public.number);
	_cleanup_free_ char *to = layout_resigned(m->name, m->version, c->new.public.number);
	int r = sign_again(c, v->file, to, m, e);

	if (r > 0) /* it is older than our old key */
		r = sign_again(c, before, to, m, e);
	if (r > 0)
		log_warning("%s signed neither %s nor %s: links with the new key cannot pin that version", c->old.file, v->file, before);
	return r < 0 ? r : 0;
}

static int save_public(struct change *c, const char *name, struct err *e)
{
	struct public_key there;

	if (!store_image_key(&c->store, name, &there, NULL) && public_key_equal(&there, &c->new.public))
		return 0;
	return signer_save_public(&c->new, &c->store, name, e);
}

static int replace_key(struct change *c, const struct versions *v, struct err *e)
{
	const struct version *current = versions_current(v);
	int r = save_last_word(c, &versions_newest(v)->manifest, e);

	for (size_t i = 0; !r && i < v->count; i++)
		if (!v->list[i].newest)
			r = sign_kept_version(c, &v->list[i], e);
	if (r < 0)
		return r;
	r = sign_again(c, current->file, current->file, &current->manifest, e);
	return r > 0 ? refuse_signer(c, current, e) : r;
}

static void make_revoked(struct manifest *m, const struct version *newest, const char *reason)
{
	m->revoked = true;
	snprintf(m->reason, sizeof(m->reason), "%s", reason ? reason : "");
	m->parent_version = m->version;
	m->parent_root = m->image.root;
	m->version = newest->manifest.version + 1;
	manifest_time_text(m->created, time(NULL));
}

static int revoke_image(struct change *c, const struct versions *v, struct err *e)
{
	_cleanup_buf_ struct buf message = BUF_INIT(MANIFEST_MAX);
	const struct version *current = versions_current(v), *newest = versions_newest(v);
	_cleanup_free_ char *numbered = layout_manifest(current->manifest.name, newest->manifest.version + 1);
	struct manifest m = current->manifest; /* shallow: nothing owned is changed */
	char comment[SIGNER_COMMENT_MAX];
	int r;

	if (newest->manifest.revoked) /* written before, but not under its second name */
		m = newest->manifest;
	else
		make_revoked(&m, newest, c->o->reason);
	signer_comment(comment, m.name, m.version);
	r = manifest_encode(&m, &message, e);
	if (!r && !newest->manifest.revoked)
		r = signer_save(&c->old, &c->store, numbered, comment, message.data, message.len, FILE_EXCLUSIVE, e);
	return r < 0 ? r : signer_save(&c->old, &c->store, current->file, comment, message.data, message.len, 0, e);
}

static int change_image(struct change *c, const char *name, struct err *e)
{
	_cleanup_close_ int lock = store_lock_name(&c->store, name, e);
	struct versions v = {0};
	_cleanup_free_ char *link = NULL;
	enum state state;
	int r = lock < 0 ? lock : look(c, name, &v, &state, e);

	if (!r && state == TO_DO)
		r = c->o->new_key ? replace_key(c, &v, e) : revoke_image(c, &v, e);
	if (!r && c->o->new_key) {
		r = save_public(c, name, e);
		link = link_format(c->o->base_url ? c->o->base_url : c->store.path, name, 0, &c->new.public);
	}
	if (!r)
		c->done(c->context, name, versions_current(&v)->manifest.version, link, state == DONE_BEFORE);
	versions_free(&v);
	return r;
}

/* ---- all of them ---- */

static int look_at_named(struct change *c, struct err *e)
{
	int r = 0;

	for (size_t i = 0; !r && i < c->o->count; i++) {
		struct versions v = {0};
		enum state state;

		r = link_name_valid(c->o->names[i]) ? look(c, c->o->names[i], &v, &state, e)
						    : err_set(e, -EINVAL, "%s is no name of an image", c->o->names[i]);
		versions_free(&v);
	}
	return r;
}

static int change_named(struct change *c, struct err *e)
{
	int r = look_at_named(c, e);

	for (size_t i = 0; !r && i < c->o->count; i++)
		r = cancel_requested() ? err_set(e, -EINTR, "interrupted: do it again") : change_image(c, c->o->names[i], e);
	return r;
}

/* The names of all images that the old key signs, or did until the same change. They are those of v. */
static int choose_all(struct change *c, const struct versions *v, const char **names, size_t *count, struct err *e)
{
	enum state state;

	for (size_t i = 0; i < v->count; i++) {
		const struct version *at = &v->list[i];
		int r = at->newest ? (c->o->new_key ? look_to_replace : look_to_revoke)(c, at, &state, e) : -ENOENT;

		if (!r)
			names[(*count)++] = at->manifest.name;
		else if (at->newest && r != -EKEYREJECTED && r != -EKEYREVOKED)
			return r;
	}
	return *count ? 0 : err_set(e, -ENOENT, "%s signs nothing in %s", c->old.file, c->store.path);
}

static int change_all(struct change *c, struct err *e)
{
	_cleanup_free_ const char **names = NULL;
	const struct key_change *asked = c->o;
	struct key_change chosen = *asked;
	struct versions v;
	int r = store_versions(&c->store, NULL, NULL, NULL, &v, e);

	if (r < 0)
		return r;
	names = calloc(v.count + 1, sizeof(*names));
	r = names ? choose_all(c, &v, names, &chosen.count, e) : err_set(e, -ENOMEM, "no memory for names");
	chosen.names = names;
	c->o = &chosen;
	if (!r)
		r = change_named(c, e);
	c->o = asked;
	versions_free(&v);
	return r;
}

static int check_keys(const struct change *c, struct err *e)
{
	if (c->o->new_key && !memcmp(c->old.public.number, c->new.public.number, KEY_NUMBER_LEN))
		return err_set(e, -EINVAL, "%s and %s are the same key, or have the same number: make another one with `inetboot key`",
			c->old.file, c->new.file);
	return 0;
}

static int open_store(struct change *c, struct err *e)
{
	int r = store_open(&c->store, c->o->store, e); /* first like this: to publish would make a missing one */

	if (r < 0)
		return r;
	store_close(&c->store);
	return store_open_publish(&c->store, c->o->store, c->o->new_key ? "a new key" : "a revocation", e);
}

static int run(struct change *c, struct err *e)
{
	struct err why = ERR_INIT;
	int r = signer_load(&c->old, c->o->key, e);

	if (!r && c->o->new_key)
		r = signer_load(&c->new, c->o->new_key, e);
	if (!r)
		r = check_keys(c, e);
	if (!r)
		r = open_store(c, e);
	if (r < 0)
		return r;
	r = c->o->count ? change_named(c, e) : change_all(c, e);
	if (catalogue_write(&c->store, &why) < 0)
		log_warning("the catalogue is out of date: %s", why.text);
	store_close(&c->store);
	return r;
}

int key_change(const struct key_change *o, key_change_done done, void *context, struct err *e)
{
	struct change c = {.o = o, .store = STORE_INIT, .done = done, .context = context};
	int r = run(&c, e);

	signer_wipe(&c.old);
	signer_wipe(&c.new);
	return r;
}
