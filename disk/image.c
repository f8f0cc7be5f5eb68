/* Opening an image by its link: see image.h.
 *
 * A manifest comes from the store's folder, from the network, or, when no mirror answers, from the copy in the cache. It is used only
 * after: the signature (where the link has a key), the name, the pinned version, and the memory of versions agree.
 * A signature by another key, or a replayed version, is never passed over for the copy; a login page in place of a manifest is.
 * Copies in the cache: manifests/KEY/NAME (newest seen) and manifests/KEY/NAME@N. */
#include "disk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "disk/cloop.h"
#include "disk/foreign.h"
#include "disk/raw.h"
#include "disk/store.h"
#include "disk/versions.h"

#define COPY_PART (1u << 20) /* bytes at a time when a kernel or initrd is written out */

/* Checks a manifest file and puts it into image->manifest. */
static int accept_manifest(struct image *image, const void *data, size_t len, struct err *e)
{
	const struct link *l = &image->link;
	struct manifest m;
	const char *message;
	size_t message_len;
	uint64_t seen;
	int r = signature_open(l->has_key ? &l->key : NULL, data, len, &message, &message_len, e);

	if (r < 0)
		return r;
	r = manifest_parse(&m, message, message_len, e);
	if (r < 0)
		return r;
	seen = l->has_key ? versions_seen(&l->key, l->name) : 0;
	if (strcmp(m.name, l->name))
		r = err_set(e, -EBADMSG, "the manifest is of an image named %s, not %s", m.name, l->name);
	else if (l->version && m.version != l->version)
		r = err_set(e, -EBADMSG, "the manifest is of version %" PRIu64 ", not %" PRIu64, m.version, l->version);
	else if (!l->version && m.version < seen)
		r = err_set(e, -ESTALE,
			"the server offers version %" PRIu64 ", but version %" PRIu64 " was seen before: it is out of date, or somebody replays "
			"an old one. To use it all the same, name it: %s@%" PRIu64,
			m.version, seen, l->name, m.version);
	if (r < 0) {
		manifest_free(&m);
		return r;
	}
	manifest_free(&image->manifest);
	image->manifest = m;
	image->in_store = true;
	image->verified = l->has_key;
	return 0;
}

static void warn_expired(const struct manifest *m)
{
	int64_t until = m->expires[0] ? manifest_time(m->expires) : -1;

	if (until >= 0 && time(NULL) > until)
		log_warning("version %" PRIu64 " of %s expired on %s; its publisher may have a newer one", m->version, m->name,
			m->expires);
}

/* Where a copy of the manifest is kept: the path, and its folder in *dir; both allocated, NULL without memory. */
static char *copy_path(struct image *image, char **dir)
{
	const struct link *l = &image->link;
	char hex[HASH_HEX_MAX];

	hex_encode(hex, l->key.key, sizeof(l->key.key));
	*dir = file_path("%s/manifests/%.32s", cache_dir(image->cache), hex);
	if (!*dir)
		return NULL;
	return l->version ? file_path("%s/%s@%" PRIu64, *dir, l->name, l->version) : file_path("%s/%s", *dir, l->name);
}

static void keep_copy(struct image *image, const struct buf *text)
{
	struct err e = ERR_INIT;
	_cleanup_free_ char *dir = NULL, *path = NULL;

	if (!image->cache || !image->link.has_key)
		return;
	path = copy_path(image, &dir);
	if (!path || file_mkdirs(dir, &e) < 0 || file_save(AT_FDCWD, path, text->data, text->len, 0, &e) < 0)
		log_debug("no copy of the manifest is kept for offline use: %s", e.text);
}

static int load_copy(struct image *image, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *dir = NULL, *path = NULL;
	int r;

	if (!image->cache || !image->link.has_key)
		return -ENOENT;
	path = copy_path(image, &dir);
	r = path ? file_load(AT_FDCWD, path, &text, e) : -ENOMEM;
	return r < 0 ? r : accept_manifest(image, text.data, text.len, e);
}

static char *manifest_path(const struct link *l)
{
	return l->version ? file_path("%s/manifest.%" PRIu64, l->name, l->version) : file_path("%s/manifest", l->name);
}

struct manifest_check {
	struct image *image;
	int refused; /* why the last manifest that came was not taken */
};

static int check_manifest(void *context, const struct buf *body, struct err *e)
{
	struct manifest_check *c = context;

	c->refused = accept_manifest(c->image, body->data, body->len, e);
	return c->refused;
}

static int fetch_manifest(struct image *image, bool once, struct err *e)
{
	_cleanup_free_ char *path = manifest_path(&image->link);
	struct manifest_check check = {.image = image};
	struct origin_request rq = {.path = path, .max = MANIFEST_MAX, .check = check_manifest, .context = &check, .fresh = true, .timeout_ms = ORIGIN_FIRST_MS, .once = once};
	struct origin_answer answer = {0};
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "no memory for a path");
	r = origin_get(image->origin, &rq, &answer, e);
	if (!r)
		keep_copy(image, &answer.body);
	buf_free(&answer.body);
	if (r != -EBADMSG || (check.refused != -ESTALE && check.refused != -EKEYREJECTED))
		return r;
	if (e)
		e->code = check.refused;
	return check.refused;
}

/* A pinned version never changes, so a copy of it does without the network. The newest is asked for; a copy is the way out. */
static int remote_manifest(struct image *image, struct err *e)
{
	struct image copy = {.link = image->link, .cache = image->cache};
	int have_copy = load_copy(&copy, NULL), r;

	if (!have_copy && image->link.version) {
		r = 0;
	} else {
		r = fetch_manifest(image, !have_copy, e);
		if (r >= 0 || have_copy < 0 || (r != -EHOSTUNREACH && r != -ETIMEDOUT && r != -EBADMSG)) {
			manifest_free(&copy.manifest);
			return r;
		}
		log_warning("no server gives the manifest (%s): starting from version %" PRIu64 " in the cache", e->text, copy.manifest.version);
		r = 0;
	}
	image->manifest = copy.manifest;
	image->in_store = true;
	image->verified = copy.verified;
	return r;
}

static int local_manifest(struct image *image, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *path = manifest_path(&image->link);
	_cleanup_free_ char *full = path ? file_path("%s/%s", image->link.store, path) : NULL;
	int r = full ? file_load_plain(AT_FDCWD, full, &text, e) : -ENOMEM;

	if (r == -ENOENT || r == -ENOTDIR)
		return err_set(e, -ENOENT, "there is neither a file %s nor an image of that name in a store%s", image->link.file,
			strchr(image->link.file, ':') ? " (is http:// missing?)" : "");
	return r < 0 ? r : accept_manifest(image, text.data, text.len, e);
}

static int open_origin(struct image *image, const struct image_options *o, const char *url, struct err *e)
{
	int r = origin_open(&image->origin, &url, 1, &o->origin, e);

	for (const char **m = o->mirrors; !r && m && *m; m++)
		r = origin_add(image->origin, *m, e);
	return r;
}

static int open_cache(struct image *image, const struct image_options *o, struct err *e)
{
	_cleanup_free_ char *dir = NULL;

	if (o->no_cache)
		return 0;
	dir = o->cache_dir ? strdup(o->cache_dir) : file_xdg_dir("XDG_CACHE_HOME", ".cache", e);
	return dir ? cache_open(&image->cache, dir, o->cache_size, false, e) : -ENOENT;
}

static int refuse_unsigned(const struct image *image, const struct image_options *o, struct err *e)
{
	const struct link *l = &image->link;

	if (l->has_key)
		return 0;
	if (l->remote && !l->loopback && !o->insecure)
		return err_set(e, -EACCES,
			"the link has no key, so nothing shows that what comes is what its publisher made. Ask for the whole link (it ends in "
			"#RWQ...), or say --insecure");
	if (l->remote && o->insecure)
		log_warning("the link has no key: whoever controls the server or the network decides what this is");
	return 0;
}

/* A remote link without a key may be a plain file: when there is no manifest, the URL itself is looked at. */
static int open_remote(struct image *image, const struct image_options *o, struct err *e)
{
	struct link *l = &image->link;
	int r;

	if (l->name[0]) {
		r = open_cache(image, o, e);
		if (!r)
			r = open_origin(image, o, l->store, e);
		if (!r)
			r = remote_manifest(image, e);
		if (r == -ENOENT && l->has_key)
			return err_add(e, "no such image there (`inetboot ls %s` lists what there is)", l->store);
		if ((r != -ENOENT && r != -EACCES) || l->has_key) /* object storage says 403 for what is not there */
			return r;
		origin_close(image->origin);
		image->origin = NULL;
	}
	if (l->has_key)
		return err_set(e, -EINVAL, "%s is no name of an image in a store", l->file);
	return open_origin(image, o, l->file, e);
}

static int open_local(struct image *image, struct err *e)
{
	struct link *l = &image->link;
	struct stat st;
	bool there = !stat(l->file, &st);
	int r;

	if (there && !S_ISDIR(st.st_mode))
		return l->has_key ? err_set(e, -EINVAL, "%s is a plain file; a key belongs to an image in a store", l->file) : 0;
	r = local_manifest(image, e);
	if (r == -ENOENT && there && l->version)
		return err_set(e, r, "%s has no version %" PRIu64 ": there is no manifest.%" PRIu64, l->file, l->version, l->version);
	if (r == -ENOENT && there)
		return err_set(e, r, "%s is a folder, but no image in a store (it has no manifest)", l->file);
	return r < 0 ? r : cache_open(&image->store, l->store, 0, true, e);
}

static int open_blocks(struct image *image, const struct image_options *o, struct err *e)
{
	struct manifest *m = &image->manifest;

	for (size_t i = 0; i < m->mirror_count && image->origin && image->verified; i++)
		if (origin_add(image->origin, m->mirrors[i], e) < 0)
			return err_add(e, "mirror %s", m->mirrors[i]);
	return blocks_open(&image->blocks, image->store, image->cache, image->origin, o->memory_limit, e);
}

int image_open(struct image **out, const char *link, const struct image_options *o, struct err *e)
{
	struct image *image = calloc(1, sizeof(*image));
	int r;

	if (!image)
		return err_set(e, -ENOMEM, "no memory for an image");
	image->text = strdup(link);
	image->memory_limit = o->memory_limit;
	if (image->text)
		text_clean(image->text);
	r = image->text ? link_parse(&image->link, link, e) : err_set(e, -ENOMEM, "no memory for a link");
	if (!r)
		r = refuse_unsigned(image, o, e);
	if (!r)
		r = image->link.remote ? open_remote(image, o, e) : open_local(image, e);
	if (!r && image->in_store)
		r = open_blocks(image, o, e);
	if (r < 0) {
		image_close(image);
		return r;
	}
	if (image->in_store) {
		warn_expired(&image->manifest);
		if (image->verified)
			versions_remember(&image->link.key, image->link.name, image->manifest.version);
		else if (!o->insecure)
			log_info("the link has no key: the signature of %s is not checked", image->link.name);
	}
	*out = image;
	return 0;
}

/* A plain file: raw, or a cloop whose inside is the disk. One on a server may need memory twice: as it comes, and unpacked. */
static int open_plain(struct image *image, struct source **out, struct err *e)
{
	struct source *file = NULL;
	int r = image->origin ? http_source_open(&file, image->origin, image->memory_limit / 2, e)
			      : file_source_open(&file, image->link.file, e);
	int cloop;

	if (r == -ENOENT && image->origin)
		return err_add(e, "neither an image nor a file is there");
	if (r < 0)
		return r;
	cloop = cloop_source_probe(file, e);
	r = cloop > 0	? cloop_source_open(out, file, image->memory_limit / 2, e)
	    : cloop < 0 ? cloop
			: foreign_refuse(file, e);
	if (r < 0)
		source_close(file);
	else if (!cloop)
		*out = file;
	return r;
}

int image_open_disk(struct image *image, struct err *e)
{
	struct source *source = NULL;
	int r = image->in_store ? store_source_open(&source, image->blocks, &image->manifest.image, e)
				: open_plain(image, &source, e);

	if (!r)
		r = disk_open(&image->disk, source, e);
	if (r < 0)
		source_close(source);
	return r;
}

int image_extract(struct image *image, const struct tree *tree, int fd, struct err *e)
{
	_cleanup_free_ uint8_t *part = malloc(COPY_PART);
	struct source *source = NULL;
	int r = part ? store_source_open(&source, image->blocks, tree, e) : err_set(e, -ENOMEM, "no memory to copy");

	for (uint64_t at = 0; !r && at < tree->size;) {
		size_t len = tree->size - at < COPY_PART ? (size_t)(tree->size - at) : COPY_PART;

		source_prefetch(source, at + len, 4 * COPY_PART);
		r = source_read(source, part, len, at, e);
		if (!r) {
			r = file_write(fd, part, len);
			if (r < 0)
				err_set(e, r, "cannot write: %s", strerror(-r));
		}
		at += len;
	}
	source_close(source);
	return r;
}

int64_t image_mtime(const struct image *image)
{
	struct stat st;

	if (image->in_store)
		return manifest_time(image->manifest.created);
	if (!image->link.remote && !stat(image->link.file, &st))
		return st.st_mtime;
	return 0;
}

json_t *image_status(struct image *image)
{
	json_t *out = json_pack("{s:s}", "link", image->text);

	if (!out)
		return NULL;
	if (image->in_store) {
		json_object_set_new(out, "name", json_string(image->manifest.name));
		json_object_set_new(out, "version", json_integer((json_int_t)image->manifest.version));
		json_object_set_new(out, "filesystem", json_string(image->manifest.filesystem));
		json_object_set_new(out, "verified", json_boolean(image->verified));
	}
	if (image->disk)
		disk_status(image->disk, out);
	return out;
}

void image_close(struct image *image)
{
	if (!image)
		return;
	disk_close(image->disk);
	if (image->blocks)
		blocks_close(image->blocks);
	if (image->origin)
		origin_close(image->origin);
	if (image->cache)
		cache_close(image->cache);
	if (image->store)
		cache_close(image->store);
	manifest_free(&image->manifest);
	link_free(&image->link);
	free(image->text);
	free(image);
}
