/* Opening an image by its link: see image.h. */
#include "disk/image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "disk/cloop.h"
#include "disk/copies.h"
#include "disk/foreign.h"
#include "disk/manifests.h"
#include "disk/pack_source.h"
#include "disk/raw.h"
#include "disk/store.h"
#include "disk/unpacked.h"
#include "fetch/url.h"
#include "format/mirror_words.h"

#define COPY_PART (1u << 20) /* bytes at a time when a kernel or initrd is written out */

static int take_manifest(struct image *image, struct found_manifest *found, struct err *e)
{
	struct pin pin = {
		.kind = PIN_MANIFEST,
		.verified = found->verified,
		.signer = found->signer,
		.text = found->text.data,
		.len = found->text.len,
	};
	int r = pin_write(&pin, &image->pin);

	image->manifest = found->manifest;
	image->in_store = true;
	image->verified = found->verified;
	image->from_copy = found->from_copy;
	found->manifest = (struct manifest){0};
	found_manifest_free(found);
	return r < 0 ? err_set(e, r, "no memory for a manifest") : 0;
}

static int open_origin(struct image *image, const struct image_options *o, const char *url, struct err *e)
{
	int r = origin_open(&image->origin, &url, 1, &o->origin, e);

	for (const char **m = o->mirrors; !r && m && *m; m++)
		r = origin_add(image->origin, *m, e);
	return r;
}

char *image_cache_dir(const struct image_options *o, struct err *e)
{
	return o->cache_dir ? strdup(o->cache_dir) : file_xdg_dir("XDG_CACHE_HOME", ".cache", e);
}

void image_check_cache(struct image_options *o)
{
	if (!o->cache_found || !access(o->cache_dir, F_OK))
		return;
	log_warning("the cache %s is not there any more; going on without", o->cache_dir);
	o->no_cache = true;
}

static int open_cache(struct image *image, const struct image_options *o, struct err *e)
{
	_cleanup_free_ char *dir = NULL;

	if (o->no_cache)
		return 0;
	dir = image_cache_dir(o, e);
	return dir ? cache_open(&image->cache, dir, o->cache_size, false, e) : -ENOENT;
}

static int refuse_unsigned(const struct image *image, const struct image_options *o, struct err *e)
{
	const struct link *l = &image->link;

	if (l->has_key)
		return 0;
	if (l->remote && o->strict)
		return err_set(e, -EACCES, "the link has no key, so nothing shows that what comes is what its publisher made (and --strict is given)");
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
	struct found_manifest found = {0};
	struct link *l = &image->link;
	int r;

	if (l->name[0]) {
		r = open_cache(image, o, e);
		if (!r)
			r = open_origin(image, o, l->store, e);
		if (!r)
			r = manifest_fetch(&found, l, image->origin, image->cache, o->strict, e);
		if (!r)
			return take_manifest(image, &found, e);
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

static int open_local(struct image *image, bool strict, struct err *e)
{
	struct found_manifest found = {0};
	struct link *l = &image->link;
	struct stat st;
	bool there = !stat(l->file, &st);
	int r;

	if (there && !S_ISDIR(st.st_mode))
		return l->has_key ? err_set(e, -EINVAL, "%s is a plain file; a key belongs to an image in a store", l->file) : 0;
	r = manifest_load(&found, l, strict, e);
	if (r == -ENOENT && there && l->version)
		return err_set(e, r, "%s has no version %" PRIu64 ": there is no manifest.%" PRIu64, l->file, l->version, l->version);
	if (r == -ENOENT && there)
		return err_set(e, r, "%s is a folder, but no image in a store (it has no manifest)", l->file);
	if (r < 0)
		return r;
	r = take_manifest(image, &found, e);
	return r < 0 ? r : cache_open(&image->store, l->store, 0, true, e);
}

/* The pinned manifest in place of the newest: what is known by now of newer versions and keys has nothing to say about it. */
static int open_pinned_manifest(struct image *image, const struct image_options *o, struct err *e)
{
	const struct pin *pin = &image->pinned;
	const struct link *l = &image->link;
	struct found_manifest found = {.text = BUF_INIT(MANIFEST_MAX), .signer = pin->signer, .verified = pin->verified};
	const char *message;
	size_t len;
	int r = pin->verified == l->has_key ? 0 : err_set(e, -EKEYREJECTED, "the process before was not asked for the same");

	if (!r)
		r = signature_open(pin->verified ? &pin->signer : NULL, pin->text, pin->len, &message, &len, e);
	if (!r)
		r = manifest_parse(&found.manifest, message, len, e);
	if (!r && buf_append(&found.text, pin->text, pin->len) < 0)
		r = err_set(e, -ENOMEM, "no memory for a manifest");
	if (r < 0)
		found_manifest_free(&found);
	else
		r = take_manifest(image, &found, e);
	if (r < 0)
		return r;
	if (!l->remote)
		return cache_open(&image->store, l->store, 0, true, e);
	r = open_cache(image, o, e);
	return r < 0 ? r : open_origin(image, o, l->store, e);
}

static int open_pinned(struct image *image, const struct image_options *o, struct err *e)
{
	int r = pin_read(&image->pinned, o->pin, o->pin_len, e);

	if (!r && image->pinned.kind == PIN_MANIFEST)
		r = open_pinned_manifest(image, o, e);
	else if (!r && image->pinned.kind == PIN_HTTP)
		r = open_origin(image, o, image->link.file, e);
	return r;
}

static int open_newest(struct image *image, const struct image_options *o, struct err *e)
{
	int r = refuse_unsigned(image, o, e);

	if (!r)
		r = image->link.remote ? open_remote(image, o, e) : open_local(image, o->strict, e);
	return r;
}

/* A mirror that the publisher names. One that cannot be used is no reason to do without the others. */
static int add_mirror(void *context, const char *url)
{
	struct image *image = context;
	struct err e = ERR_INIT;

	if (!sandbox_port_allowed(url_port(url)))
		log_warning("the mirror %s is not used: its port is none of the web's usual ones; --mirror with it would allow that", url);
	else if (origin_add(image->origin, url, &e) < 0)
		log_warning("the mirror %s is not used: %s", url, e.text);
	return 0;
}

static void add_mirrors(struct image *image)
{
	const struct manifest *m = &image->manifest;

	for (size_t i = 0; i < m->mirror_count; i++)
		add_mirror(image, m->mirrors[i]);
	for (size_t i = 0; i < m->boot_count; i++)
		mirror_words(m->boot[i].cmdline, add_mirror, image);
}

static int open_blocks(struct image *image, const struct image_options *o, struct err *e)
{
	if (image->origin && image->verified)
		add_mirrors(image);
	image->plays = o->play && !o->trace && image->origin && image->manifest.profile.size &&
		       !copy_is_marked(image->cache, &image->link.key, &image->manifest);
	budget_divide(&image->budget, o->memory_limit, image->plays);
	return blocks_open(&image->blocks, image->store, image->cache, image->origin, &image->budget, e);
}

int image_open(struct image **out, const char *link, const struct image_options *o, struct err *e)
{
	struct image *image = calloc(1, sizeof(*image));
	int r;

	if (!image)
		return err_set(e, -ENOMEM, "no memory for an image");
	image->text = strdup(link);
	image->pin = (struct buf)BUF_INIT(PIN_MAX);
	if (image->text)
		text_clean(image->text);
	r = image->text ? link_parse(&image->link, link, e) : err_set(e, -ENOMEM, "no memory for a link");
	budget_divide(&image->budget, o->memory_limit, false);
	if (!r)
		r = o->pin ? open_pinned(image, o, e) : open_newest(image, o, e);
	if (!r && image->in_store)
		r = open_blocks(image, o, e);
	if (r < 0) {
		image_close(image);
		return r;
	}
	if (image->in_store && !image->verified && !o->insecure && !o->pin)
		log_info("the link has no key: the signature of %s is not checked", image->link.name);
	image->trace = o->trace;
	image->fills = o->fill;
	*out = image;
	return 0;
}

static int is_pinned_file(const struct image *image, const struct pin *found, struct err *e)
{
	const struct file_version *was = &image->pinned.file, *is = &found->file;

	if (image->pinned.kind == PIN_FILE && (was->size != is->size || was->seconds != is->seconds || was->nanoseconds != is->nanoseconds))
		return err_set(e, -ESTALE, "the file changed while it was in use");
	return 0;
}

/* A plain file: raw, or a cloop whose inside is the disk. One on a server may need memory twice: as it comes, and unpacked. */
static int open_plain(struct image *image, struct source **out, struct err *e)
{
	struct pin pin = {.kind = image->origin ? PIN_HTTP : PIN_FILE, .http = image->pinned.http};
	struct source *file = NULL;
	int r = image->origin ? http_source_open(&file, image->origin, image->budget.chunks / 2, &pin.http, e)
			      : file_source_open(&file, image->link.file, &pin.file, e);
	int cloop;

	if (r == -ENOENT && image->origin)
		return err_add(e, "neither an image nor a file is there");
	if (r < 0)
		return r;
	cloop = image->pinned.kind ? image->pinned.cloop : cloop_source_probe(file, e);
	pin.cloop = cloop > 0;
	r = is_pinned_file(image, &pin, e);
	if (!r)
		r = cloop > 0		   ? cloop_source_open(out, file, image->budget.chunks / 2, e)
		    : cloop < 0		   ? cloop
		    : image->pinned.kind   ? 0 /* it was looked at when it was opened first */
					   : foreign_refuse(file, e);
	if (r < 0) {
		source_close(file);
		return r;
	}
	if (!cloop)
		*out = file;
	r = pin_write(&pin, &image->pin);
	return r < 0 ? err_set(e, r, "no memory for a file") : 0;
}

/* Without the pack it works, too. */
static void put_pack_over(struct image *image, struct source **source)
{
	const struct manifest *m = &image->manifest;
	struct err e = ERR_INIT;
	int r = playback_open(&image->playback, &m->profile, m->image.size, image->origin, image->cache, image->budget.pack, &e);

	if (!r)
		r = pack_source_open(source, *source, image->playback, &e);
	if (r < 0) {
		log_warning("the boot pack is not used: %s", e.text);
		playback_close(steal_ptr(image->playback));
	}
}

/* What is traced is an image of a store: a pack belongs to a version. */
static int begin_trace(struct image *image, struct err *e)
{
	int r;

	if (!image->trace)
		return 0;
	if (!image->in_store)
		return err_set(e, -EINVAL, "only images in a store can be recorded");
	r = trace_begin(image->trace, &image->manifest, e);
	if (!r)
		disk_trace(image->disk, steal_ptr(image->trace));
	return r;
}

void image_play(struct image *image, playback_show show, void *context)
{
	struct err e = ERR_INIT;

	if (image->playback && playback_start(image->playback, show, context, &e) < 0)
		log_warning("the boot pack is not used: %s", e.text);
	if (image->fills && !image->unpacked && fill_start(&image->fill, image, &e) < 0)
		log_warning("--fill: %s", e.text);
}

void image_stop_playing(struct image *image)
{
	if (image->playback)
		playback_stop(image->playback);
}

/* The unpacked file over the blocks, where there is one. A recording is to see what is read, by blocks. */
static void put_unpacked_over(struct image *image, struct source **source)
{
	int fd = image->trace ? -ENOENT : unpacked_find(image, &image->unpacked);
	struct err e = ERR_INIT;

	if (fd < 0)
		return;
	image->unpacked_fd = fd;
	if (unpacked_source_open(source, fd, image->unpacked, *source, &e) < 0) {
		log_warning("the unpacked image is not used: %s", e.text);
		free(steal_ptr(image->unpacked));
		close(fd);
	}
}

int image_open_disk(struct image *image, struct err *e)
{
	struct source *source = NULL;
	int r = image->in_store ? store_source_open(&source, image->blocks, &image->manifest.image, e)
				: open_plain(image, &source, e);

	if (!r && image->in_store)
		put_unpacked_over(image, &source);
	if (!r && image->plays && !image->unpacked)
		put_pack_over(image, &source);
	if (!r)
		r = disk_open(&image->disk, source, e);
	if (r < 0)
		source_close(source);
	else
		r = begin_trace(image, e);
	if (!r && image->from_copy)
		image->refresh = refresh_start(&image->link, image->manifest.version, image->origin, image->cache);
	return r;
}

int image_extract(struct image *image, const struct tree *tree, int fd, const char *what, struct err *e)
{
	_cleanup_free_ uint8_t *part = malloc(COPY_PART);
	struct source *source = NULL;
	struct progress progress;
	int r = part ? store_source_open(&source, image->blocks, tree, e) : err_set(e, -ENOMEM, "no memory to copy");

	progress_begin(&progress, what, tree->size);
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
		progress_show(&progress, at, "");
	}
	progress_end(&progress);
	source_close(source);
	return r;
}

const struct buf *image_pin(const struct image *image)
{
	return &image->pin;
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
		json_object_set_new(out, "from_copy", json_boolean(image->from_copy));
	}
	json_object_set_new(out, "sandbox", json_string(sandbox_status()));
	if (image->disk)
		disk_status(image->disk, out);
	if (image->fill)
		fill_status(image->fill, out);
	return out;
}

void image_close(struct image *image)
{
	if (!image)
		return;
	if (image->blocks)
		blocks_cancel(image->blocks);
	fill_end(image->fill);
	disk_close(image->disk);
	if (image->blocks)
		blocks_close(image->blocks);
	if (image->origin)
		origin_cancel(image->origin);
	refresh_end(image->refresh);
	if (image->origin)
		origin_close(image->origin);
	if (image->cache)
		cache_close(image->cache);
	if (image->store)
		cache_close(image->store);
	trace_close(image->trace);
	manifest_free(&image->manifest);
	buf_free(&image->pin);
	link_free(&image->link);
	free(image->text);
	free(image->unpacked);
	free(image);
}
