/* The manifests that a store holds: see store.h. */
#include "publish/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "format/layout.h"

#define VERSIONS_MAX (1u << 20) /* manifests in one store: bounds the list, far above any use */

void versions_free(struct versions *v)
{
	for (size_t i = 0; i < v->count; i++)
		manifest_free(&v->list[i].manifest);
	free(v->list);
	*v = (struct versions){0};
}

int store_open_signed(struct store *s, const char *file, const struct public_key *key, struct buf *data, const char **message,
	size_t *len, struct err *e)
{
	int r = file_load_plain(s->fd, file, data, e);

	return r < 0 ? r : signature_open(key, (const char *)data->data, data->len, message, len, e);
}

int store_load_manifest(struct store *s, const char *file, const struct public_key *key, struct manifest *out, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(MANIFEST_MAX);
	const char *message;
	size_t len;
	int r = store_open_signed(s, file, key, &data, &message, &len, e);

	if (!r)
		r = manifest_parse(out, message, len, e);
	if (r < 0) {
		err_add(e, "%s/%s", s->path, file);
		return r;
	}
	return 0;
}

struct search {
	struct store *store;
	versions_bad bad;
	void *context;
	struct versions *out;
};

/* Loads one and checks that it is what its path says. */
static int load_version(
	struct store *s, const char *name, uint64_t number, struct version *v, struct err *e)
{
	int r = store_load_manifest(s, v->file, NULL, &v->manifest, e);

	if (r < 0)
		return r;
	if (!strcmp(v->manifest.name, name) && (v->newest || v->manifest.version == number))
		return 0;
	r = err_set(e, -EINVAL, "%s/%s says that it is %s version %llu", s->path, v->file,
		v->manifest.name, (unsigned long long)v->manifest.version);
	manifest_free(&v->manifest);
	return r;
}

static int report_bad(struct search *search, const struct err *why, const char *file, struct err *e)
{
	if (!search->bad)
		return err_set(e, why->code, "%s", why->text);
	search->bad(search->context, file, why);
	return 0;
}

static int add_version(struct search *search, const char *name, const char *base, struct err *e)
{
	struct versions *out = search->out;
	struct store *s = search->store;
	struct err why = ERR_INIT;
	struct version v = {.newest = !strcmp(base, "manifest")};
	uint64_t number = 0;
	int r;

	if (!v.newest && (!text_starts(base, "manifest.") || text_to_u64(base + 9, &number) < 0))
		return 0; /* no manifest: a temporary file or a stranger */
	if (out->count == VERSIONS_MAX)
		return err_set(
			e, -EOVERFLOW, "%s holds more than %u manifests", s->path, VERSIONS_MAX);
	snprintf(v.file, sizeof(v.file), "%s/%s", name, base);
	r = load_version(s, name, number, &v, &why);
	if (r < 0)
		return report_bad(search, &why, v.file, e);
	if (!(out->count & (out->count - 1))) { /* grow at powers of two */
		struct version *list =
			reallocarray(out->list, out->count ? out->count * 2 : 1, sizeof(*list));

		if (!list) {
			manifest_free(&v.manifest);
			return err_set(e, -ENOMEM, "no memory for the list of versions");
		}
		out->list = list;
	}
	out->list[out->count++] = v;
	return 0;
}

static int load_image(struct search *search, const char *name, struct err *e)
{
	struct store *s = search->store;
	int fd = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *at;
	int r = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (!d)
		return err_errno(e, "cannot open %s/%s", s->path, name);
	while (!r) {
		errno = 0;
		at = readdir(d);
		if (!at)
			return errno ? err_errno(e, "cannot read %s/%s", s->path, name) : 0;
		r = add_version(search, name, at->d_name, e);
	}
	return r;
}

/* An image behind a symbolic link would need blocks without anybody noticing. */
static int refuse_link(struct search *search, const char *name, struct err *e)
{
	struct err why = ERR_INIT;
	struct stat st;

	if (fstatat(search->store->fd, name, &st, 0) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	err_set(&why, -ELOOP, "%s/%s is a symbolic link: a store's folders are plain",
		search->store->path, name);
	return report_bad(search, &why, name, e);
}

static int load_all(struct search *search, struct err *e)
{
	struct store *s = search->store;
	int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *at;
	struct stat st;
	int r = 0;

	if (!d)
		return err_errno(e, "cannot open %s", s->path);
	while (!r) {
		errno = 0;
		at = readdir(d);
		if (!at)
			return errno ? err_errno(e, "cannot read %s", s->path) : 0;
		if (!link_name_valid(at->d_name))
			continue;
		if (fstatat(s->fd, at->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_errno(e, "cannot look at %s/%s", s->path, at->d_name);
		if (S_ISDIR(st.st_mode))
			r = load_image(search, at->d_name, e);
		else if (S_ISLNK(st.st_mode))
			r = refuse_link(search, at->d_name, e);
	}
	return r;
}

static int compare(const void *a, const void *b)
{
	const struct version *x = a, *y = b;
	int names = strcmp(x->manifest.name, y->manifest.name);

	if (names)
		return names;
	if (x->manifest.version != y->manifest.version)
		return x->manifest.version < y->manifest.version ? -1 : 1;
	return (int)x->newest - (int)y->newest;
}

int store_versions(struct store *s, const char *name, versions_bad bad, void *context,
	struct versions *out, struct err *e)
{
	struct search search = {.store = s, .bad = bad, .context = context, .out = out};
	int r;

	*out = (struct versions){0};
	r = name ? load_image(&search, name, e) : load_all(&search, e);
	if (r < 0)
		versions_free(out);
	else if (out->count)
		qsort(out->list, out->count, sizeof(*out->list), compare);
	return r;
}

const struct version *versions_newest(const struct versions *v)
{
	return v->count ? &v->list[v->count - 1] : NULL;
}

const struct version *versions_current(const struct versions *v)
{
	for (size_t i = 0; i < v->count; i++)
		if (v->list[i].newest)
			return &v->list[i];
	return NULL;
}

int store_signed_by(struct store *s, const char *file, const struct public_key *key, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(MANIFEST_MAX);
	const char *message;
	size_t len;
	int r = store_open_signed(s, file, key, &data, &message, &len, e);

	if (r == -EKEYREJECTED)
		return 0;
	return r < 0 ? r : 1;
}

int store_image_key(struct store *s, const char *name, struct public_key *out, struct err *e)
{
	_cleanup_free_ char *path = layout_public_key(name);
	_cleanup_buf_ struct buf text = BUF_INIT(4096);
	int r = path ? file_load_plain(s->fd, path, &text, e) : -ENOMEM;

	return r < 0 ? r : public_key_file_parse(out, (const char *)text.data, text.len, e);
}
