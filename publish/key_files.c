/* Files of replaced keys: see key_files.h. All are named by key numbers, and a store has no table of keys: which key belongs to a number is told
 * by NAME/key.pub and by the last words of the others. */
#include "publish/key_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "format/layout.h"

#define KEYS_MAX 64 /* of one image: far above what readers follow */

int key_files_last_word(struct store *s, const char *name, const struct public_key *key, struct manifest *out, struct err *e)
{
	_cleanup_free_ char *path = layout_next(name, key->number);
	int r = path ? store_load_manifest(s, path, key, out, e) : err_set(e, -ENOMEM, "no memory for a path");

	if (!r && !out->has_next_key) {
		manifest_free(out);
		r = err_set(e, -EBADMSG, "%s/%s names no next key", s->path, path);
	}
	return r;
}

int key_files_check_signer(struct store *s, const char *name, const struct signer *signer, struct err *e)
{
	char next[PUBLIC_KEY_TEXT_MAX];
	struct manifest m;
	int r = key_files_last_word(s, name, &signer->public, &m, e);

	if (r == -ENOENT || r == -EKEYREJECTED)
		return 0;
	if (r < 0)
		return r;
	public_key_encode(&m.next_key, next);
	manifest_free(&m);
	return err_set(e, -EKEYREVOKED,
		"the key %s gave way to %s for %s (`inetboot key --rotate`): publish with that one; if the change was interrupted, do it again first",
		signer->file, next, name);
}

/* ---- the files of one image ---- */

enum kind { STRANGER, NEXT, RESIGNED };

/* What a file is by its name. */
static enum kind parse_name(const char *base, uint64_t *version, uint8_t number[KEY_NUMBER_LEN])
{
	const char *dot = strrchr(base, '.');
	char digits[24];
	size_t len;

	if (!dot || hex_decode(number, KEY_NUMBER_LEN, dot + 1, strlen(dot + 1)) < 0)
		return STRANGER;
	len = (size_t)(dot - base);
	if (len == 4 && !memcmp(base, "next", 4))
		return NEXT;
	if (!text_starts(base, "manifest.") || len <= 9 || len - 9 >= sizeof(digits))
		return STRANGER;
	memcpy(digits, base + 9, len - 9);
	digits[len - 9] = 0;
	return text_to_u64(digits, version) < 0 ? STRANGER : RESIGNED;
}

struct key_file {
	enum kind kind;
	uint64_t version;
	uint8_t number[KEY_NUMBER_LEN];
	const char *base;
};

/* Calls visit for each until it fails. */
static int each_file(struct store *s, const char *name, int (*visit)(void *, const struct key_file *, struct err *), void *context, struct err *e)
{
	int fd = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *at;
	int r = 0;

	if (!d)
		return err_errno(e, "cannot open %s/%s", s->path, name);
	while (!r && (at = readdir(d))) {
		struct key_file f = {.base = at->d_name};

		f.kind = parse_name(at->d_name, &f.version, f.number);
		if (f.kind != STRANGER)
			r = visit(context, &f, e);
	}
	return r;
}

/* ---- removing ---- */

struct drop {
	struct store *store;
	const char *name;
	uint64_t version;
};

static int drop_file(void *context, const struct key_file *f, struct err *e)
{
	const struct drop *d = context;
	_cleanup_free_ char *path = file_path("%s/%s", d->name, f->base);

	if (f->kind != RESIGNED || f->version != d->version)
		return 0;
	if (!path || (unlinkat(d->store->fd, path, 0) < 0 && errno != ENOENT))
		return err_errno(e, "cannot remove %s/%s", d->name, f->base);
	return 0;
}

int key_files_drop(struct store *s, const char *name, uint64_t version, struct err *e)
{
	struct drop d = {s, name, version};

	return each_file(s, name, drop_file, &d, e);
}

/* ---- checking ---- */

struct check {
	struct store *store;
	const char *name;
	const struct versions *versions;
	versions_bad bad;
	void *context;
	struct public_key keys[KEYS_MAX]; /* of key.pub, and of all last words */
	size_t count;
};

static const struct public_key *find_key(const struct check *c, const uint8_t number[KEY_NUMBER_LEN])
{
	for (size_t i = 0; i < c->count; i++)
		if (!memcmp(c->keys[i].number, number, KEY_NUMBER_LEN))
			return &c->keys[i];
	return NULL;
}

static int collect_key(void *context, const struct key_file *f, struct err *e)
{
	struct check *c = context;
	_cleanup_free_ char *path = f->kind == NEXT ? layout_next(c->name, f->number) : NULL;
	struct manifest m;

	if (!path || c->count == KEYS_MAX || store_load_manifest(c->store, path, NULL, &m, NULL) < 0)
		return 0; /* check_next() tells */
	if (m.has_next_key)
		c->keys[c->count++] = m.next_key;
	manifest_free(&m);
	return 0;
}

static int check_next(struct check *c, const struct key_file *f, const char *path, struct err *why)
{
	struct public_key current;
	struct manifest m;
	/* Of the first key nothing is known but its number. */
	int r = store_load_manifest(c->store, path, find_key(c, f->number), &m, why);

	if (r < 0)
		return r;
	if (!m.has_next_key || strcmp(m.name, c->name) != 0)
		r = err_set(why, -EINVAL, "%s/%s is no last word of a key of %s", c->store->path, path, c->name);
	else if (!store_image_key(c->store, c->name, &current, NULL) && !memcmp(current.number, f->number, KEY_NUMBER_LEN))
		r = err_set(why, -EINVAL, "%s/%s: this key is still the one in %s/key.pub: was the change interrupted? Do it again", c->store->path,
			path, c->name);
	manifest_free(&m);
	return r;
}

static const struct version *find_version(const struct check *c, uint64_t version)
{
	for (size_t i = 0; i < c->versions->count; i++) {
		const struct version *v = &c->versions->list[i];

		if (!v->newest && v->manifest.version == version && !strcmp(v->manifest.name, c->name))
			return v;
	}
	return NULL;
}

/* The same message as manifest.N, and a right signature. */
static int check_resigned(struct check *c, const struct key_file *f, const char *path, struct err *why)
{
	_cleanup_buf_ struct buf ours = BUF_INIT(MANIFEST_MAX), theirs = BUF_INIT(MANIFEST_MAX);
	const struct version *v = find_version(c, f->version);
	const struct public_key *key = find_key(c, f->number);
	const char *a, *b;
	size_t a_len, b_len;
	int r;

	if (!v || !key)
		return err_set(why, -EINVAL, "%s/%s: there is no %s for it", c->store->path, path, v ? "key" : "version");
	r = store_open_signed(c->store, path, key, &ours, &a, &a_len, why);
	if (!r)
		r = store_open_signed(c->store, v->file, NULL, &theirs, &b, &b_len, why);
	if (r < 0) {
		err_add(why, "%s/%s", c->store->path, path);
		return r;
	}
	return a_len == b_len && !memcmp(a, b, a_len) ? 0
		: err_set(why, -EINVAL, "%s/%s says something else than %s", c->store->path, path, v->file);
}

static int check_file(void *context, const struct key_file *f, struct err *e)
{
	struct check *c = context;
	_cleanup_free_ char *path = file_path("%s/%s", c->name, f->base);
	struct err why = ERR_INIT;

	if (!path)
		return err_set(e, -ENOMEM, "no memory for a path");
	if ((f->kind == NEXT ? check_next : check_resigned)(c, f, path, &why) < 0)
		c->bad(c->context, path, &why);
	return 0;
}

int key_files_verify(struct store *s, const char *name, const struct versions *v, versions_bad bad, void *context, struct err *e)
{
	struct check c = {.store = s, .name = name, .versions = v, .bad = bad, .context = context};
	int r;

	if (!store_image_key(s, name, &c.keys[0], NULL))
		c.count = 1;
	r = each_file(s, name, collect_key, &c, e);
	return r < 0 ? r : each_file(s, name, check_file, &c, e);
}
