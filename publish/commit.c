/* Committing: see commit.h. As in publish.c, everything is in the store, and durable, before a manifest names it; whether the version
 * written over is still what readers get is asked before the work, and again with the image's lock held. */
#include "publish/commit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "format/block.h"
#include "format/chunker.h"
#include "format/link.h"
#include "publish/block_files.h"
#include "publish/catalogue.h"
#include "publish/filesystem.h"
#include "publish/flusher.h"
#include "publish/new_version.h"
#include "publish/overlay.h"
#include "publish/pack_maker.h"
#include "publish/pipeline.h"
#include "publish/rescan.h"
#include "publish/signer.h"
#include "publish/store.h"
#include "publish/tree.h"

struct job {
	const struct commit_options *o;
	struct overlay overlay;
	struct link link; /* of --base */
	const char *name; /* of the image */
	struct store store;
	struct signer signer;
	struct block_writer *writer;
	struct versions versions;    /* before the work */
	const struct manifest *base; /* one of them */
	struct hash current;         /* root of the one that readers get */
	struct manifest manifest;    /* shallow: what it owns is the base's */
	struct tree_cursor *cursor;  /* in the base's index */
	struct buf old;              /* the block of the base that was loaded last */
	struct hash old_hash;
	const struct pipeline_sink *sink;
	struct rescan_stats stats;
};

/* ---- which version ---- */

/* Is that the version over which an overlay without a binding was written? As User-Mode Linux tells. */
static int check_fits(const struct job *j, const struct manifest *m, struct err *e)
{
	const struct cow_head *h = &j->overlay.head;

	if (h->size == m->image.size && h->mtime == (uint32_t)manifest_time(m->created))
		return 0;
	return err_set(e, -ESTALE,
		"%s was not written over %s version %" PRIu64
		": name the right one with --base LINK@N",
		j->overlay.path, m->name, m->version);
}

static const struct manifest *find_root(const struct versions *v, const struct hash *root)
{
	for (size_t i = v->count; i-- > 0;)
		if (hash_equal(&v->list[i].manifest.image.root, root))
			return &v->list[i].manifest;
	return NULL;
}

/* What readers get. A newer one than that was taken back by hand, or is of a publisher who died before he was done: it stays, but nothing
 * is built on it. */
static const struct version *readers_version(const struct versions *v)
{
	const struct version *current = versions_current(v);

	return current ? current : versions_newest(v);
}

static const struct manifest *find_version(const struct versions *v, uint64_t version)
{
	for (size_t i = v->count; i-- > 0;)
		if (v->list[i].manifest.version == version)
			return &v->list[i].manifest;
	return NULL;
}

static int find_base(struct job *j, struct err *e)
{
	const struct cow_binding *b = &j->overlay.binding;
	const struct versions *v = &j->versions;

	if (j->overlay.bound)
		j->base = find_root(v, &b->root);
	else if (j->link.version)
		j->base = find_version(v, j->link.version);
	else if (v->count)
		j->base = &readers_version(v)->manifest;
	if (j->overlay.bound && j->link.version) {
		const struct manifest *named = find_version(v, j->link.version);

		if (!named || !hash_equal(&named->image.root, &b->root))
			return err_set(e, -ESTALE,
				"%s was written over %s version %" PRIu64 ", not over version %" PRIu64,
				j->overlay.path, j->name, b->version, j->link.version);
	}
	if (!j->base && !v->count)
		return err_set(e, -ENOENT,
			"there is no image %s in %s: its store is where the next version goes",
			j->name, j->o->store);
	if (!j->base)
		return err_set(e, -ENOENT,
			"%s has no %s version %" PRIu64 " (any more), over which %s was written",
			j->o->store, j->name, j->overlay.bound ? b->version : j->link.version,
			j->overlay.path);
	if (j->overlay.head.size != j->base->image.size)
		return err_set(e, -EINVAL,
			"%s is for a disk of %" PRIu64 " bytes, and that of %s version %" PRIu64
			" has %" PRIu64,
			j->overlay.path, j->overlay.head.size, j->name, j->base->version,
			j->base->image.size);
	return j->overlay.bound ? 0 : check_fits(j, j->base, e);
}

static int check_current(struct job *j, const struct manifest *current, struct err *e)
{
	if (hash_equal(&current->image.root, &j->base->image.root))
		return 0;
	return err_set(e, -ESTALE,
		"%s was written over %s version %" PRIu64
		", and somebody has published version %" PRIu64
		" since: to keep what that has, boot it with a new overlay and make the changes "
		"there again. Or say --force, and the next "
		"version is made of version %" PRIu64 " and %s alone; %s@%" PRIu64
		" stays as it is",
		j->overlay.path, j->name, j->base->version, current->version, j->base->version,
		j->overlay.path, j->name, current->version);
}

static int choose(struct job *j, struct err *e)
{
	const struct version *current;
	int r = store_versions(&j->store, j->name, NULL, NULL, &j->versions, e);

	if (!r)
		r = find_base(j, e);
	if (r < 0)
		return r;
	current = readers_version(&j->versions);
	j->current = current->manifest.image.root;
	r = version_check_signer(&j->store, &j->versions, &j->signer, j->name, false, e);
	return r < 0 || j->o->force ? r : check_current(j, &current->manifest, e);
}

/* ---- the disk ---- */

static int next_entry(void *context, struct index_entry *out, struct err *e)
{
	struct job *j = context;
	int r = j->sink->stopped(j->sink->context, e);

	return r < 0 ? r : tree_cursor_next(j->cursor, out, e);
}

static int next_change(void *context, uint64_t from, struct rescan_range *out, struct err *e)
{
	struct job *j = context;

	return overlay_next(&j->overlay, from, out, e);
}

static int read_old(void *context, const struct index_entry *entry, uint64_t skip, void *buf,
	size_t len, struct err *e)
{
	struct job *j = context;
	int r = 0;

	if (!hash_equal(&entry->hash, &j->old_hash)) {
		r = block_file_load(j->store.fd, &entry->hash, entry->length, &j->old, NULL, e);
		j->old_hash = r < 0 ? (struct hash){0} : entry->hash;
	}
	if (!r)
		memcpy(buf, j->old.data + skip, len);
	return r;
}

static int read_new(void *context, void *buf, size_t len, uint64_t offset, struct err *e)
{
	struct job *j = context;

	return overlay_read(&j->overlay, buf, len, offset, e);
}

static int produce(void *context, const struct pipeline_sink *sink, struct err *e)
{
	struct job *j = context;
	struct rescan_source from = {.entry = next_entry,
		.change = next_change,
		.read_old = read_old,
		.read_new = read_new,
		.context = j};
	struct rescan_sink to = {.keep = sink->keep, .ops = sink->ops, .context = sink->context};

	j->sink = sink;
	return rescan(&from, &to, &j->stats, e);
}

static int read_disk(void *context, void *buf, size_t len, uint64_t offset, struct err *e)
{
	struct job *j = context;

	return tree_read(j->store.fd, &j->manifest.image, buf, len, offset, e);
}

static int put_disk(struct job *j, struct err *e)
{
	struct manifest *m = &j->manifest;
	struct progress progress;
	int r;

	j->old = (struct buf)BUF_INIT(BLOCK_LEN_MAX);
	r = tree_cursor_open(&j->cursor, j->store.fd, &j->base->image, e);
	if (r < 0)
		return r;
	progress_begin(&progress, "committing", j->base->image.size);
	r = pipeline_run_from(produce, j, j->writer,
		j->o->jobs ? j->o->jobs : pipeline_default_jobs(), &progress, &m->image, &m->chunks,
		e);
	progress_end(&progress);
	return r < 0 ? r : filesystem_detect(read_disk, j, m->image.size, m->filesystem, e);
}

/* ---- what else the version has ---- */

static int note_node(void *context, const struct hash *hash, struct err *e)
{
	return block_writer_note(context, hash, e);
}

static int note_chunk(void *context, const struct index_entry *entry, struct err *e)
{
	return block_writer_note(context, &entry->hash, e);
}

static int note_tree(struct job *j, const struct tree *tree, struct err *e)
{
	struct tree_visitor v = {.node = note_node, .chunk = note_chunk, .context = j->writer};

	return tree->size ? tree_walk(j->store.fd, tree, &v, e) : 0;
}

/* They are there: for what a full download takes. */
static int note_boot_entries(struct job *j, struct err *e)
{
	int r = 0;

	for (size_t i = 0; !r && i < j->base->boot_count; i++) {
		const struct boot_entry *b = &j->base->boot[i];

		r = note_tree(j, &b->kernel, e);
		if (!r)
			r = note_tree(j, &b->initrd, e);
		for (size_t k = 0; !r && k < b->module_count; k++)
			r = note_tree(j, &b->modules[k], e);
	}
	return r;
}

static int page_changed(void *context, uint64_t page, struct err *e)
{
	struct job *j = context;
	struct rescan_range range;
	int r = overlay_next(&j->overlay, page * PACK_PAGE, &range, e);

	return r > 0 ? range.start < (page + 1) * PACK_PAGE : r;
}

/* The pages that a boot of the version before needs: one of this will need most of them. */
static int put_pack(struct job *j, struct err *e)
{
	struct err why = ERR_INIT;
	int r;

	if (!j->base->profile.size || j->o->no_pack)
		return 0;
	r = pack_remake(&j->store, &j->base->profile, &j->manifest.image, page_changed, j,
		PACK_LEVEL_DEFAULT, &j->manifest.profile, &why);
	if (r != -ENOENT && r != -EBADMSG)
		return r < 0 ? err_set(e, r, "%s", why.text) : 0;
	log_warning("the new version has no boot pack, as that of the version before cannot be read: %s",
		why.text);
	return 0;
}

/* ---- the version ---- */

static int put_all(struct job *j, struct err *e)
{
	struct flusher *flusher = flusher_start(j->store.fd);
	int r;

	j->manifest = *j->base;
	j->manifest.profile = (struct profile){0};
	j->manifest.chunk_min = CHUNK_MIN;
	j->manifest.chunk_avg = CHUNK_AVG;
	j->manifest.chunk_max = CHUNK_MAX;
	j->manifest.parent_version = j->base->version;
	j->manifest.parent_root = j->base->image.root;
	r = put_disk(j, e);
	if (!r)
		r = note_boot_entries(j, e);
	if (!r && !hash_equal(&j->manifest.image.root, &j->current))
		r = put_pack(j, e);
	flusher_stop(flusher);
	return r;
}

/* With the image's lock held. */
static int add_version(struct job *j, const struct versions *v, struct err *e)
{
	const struct version *newest = versions_newest(v);
	int r;

	if (!newest || !hash_equal(&readers_version(v)->manifest.image.root, &j->current))
		return err_set(e, -ESTALE, "somebody has changed %s in %s just now: try again",
			j->name, j->o->store);
	r = version_check_signer(&j->store, v, &j->signer, j->name, false, e);
	if (r < 0)
		return r;
	j->manifest.version = newest->manifest.version + 1;
	return version_save(&j->store, &j->signer, &j->manifest, e);
}

static int save(struct job *j, struct err *e)
{
	struct versions v;
	_cleanup_close_ int lock = version_begin(&j->store, j->writer, j->name, &j->manifest, &v, e);
	int r;

	if (lock < 0)
		return lock;
	r = add_version(j, &v, e);
	versions_free(&v);
	return r;
}

static int tell(struct job *j, struct commit_result *out, struct err *e)
{
	const struct manifest *m = &j->manifest;

	snprintf(out->name, sizeof(out->name), "%s", j->name);
	out->base_version = j->base->version;
	out->version = out->unchanged ? j->base->version : m->version;
	out->lost_pack = !out->unchanged && j->base->profile.size && !m->profile.size;
	out->size = m->image.size;
	out->chunks = m->chunks;
	out->changed = j->stats.changed;
	out->scanned = j->stats.scanned;
	block_writer_stats(j->writer, &out->blocks);
	out->link = link_format(
		j->o->base_url ? j->o->base_url : j->store.path, j->name, 0, &j->signer.public);
	return out->link ? 0 : err_set(e, -ENOMEM, "no memory for the link");
}

static int run(struct job *j, struct commit_result *out, struct err *e)
{
	struct err why = ERR_INIT;
	int r = choose(j, e);

	if (r < 0)
		return r;
	j->writer = block_writer_new(&j->store, j->o->level);
	if (!j->writer)
		return err_set(e, -ENOMEM, "no memory to commit");
	r = put_all(j, e);
	if (r < 0)
		return r;
	out->unchanged = hash_equal(&j->manifest.image.root, &j->current);
	if (!out->unchanged)
		r = save(j, e);
	if (!r && !out->unchanged &&
		catalogue_write(&j->store, &why) < 0) /* the version is there all the same */
		log_warning("the catalogue is out of date: %s", why.text);
	return r < 0 ? r : tell(j, out, e);
}

/* Which image? A store that is not there must not be made. */
static int open_all(struct job *j, struct err *e)
{
	struct store there = STORE_INIT;
	int r = j->o->base ? link_parse(&j->link, j->o->base, e) : 0;

	if (r < 0)
		return r;
	if (!j->overlay.bound && !j->o->base)
		return err_set(e, -EINVAL,
			"%s does not say over which image it was written (an older program made "
			"it): say so with --base LINK",
			j->overlay.path);
	if (j->o->base && !j->link.name[0])
		return err_set(e, -EINVAL, "--base %s is no image in a store", j->o->base);
	j->name = j->o->base ? j->link.name : j->overlay.binding.name;
	if (j->overlay.bound && strcmp(j->name, j->overlay.binding.name) != 0)
		return err_set(e, -EINVAL,
			"%s was written over %s version %" PRIu64 ", not over %s", j->overlay.path,
			j->overlay.binding.name, j->overlay.binding.version, j->name);
	r = signer_load(&j->signer, j->o->key, e);
	if (!r)
		r = store_open(&there, j->o->store, e);
	store_close(&there);
	return r < 0 ? r : store_open_publish(&j->store, j->o->store, j->name, e);
}

int commit_overlay(
	const char *file, const struct commit_options *o, struct commit_result *out, struct err *e)
{
	struct job j = {.o = o, .store = STORE_INIT};
	int r;

	*out = (struct commit_result){0};
	r = overlay_open(&j.overlay, file, e);
	if (r < 0)
		return r;
	r = open_all(&j, e);
	if (!r)
		r = run(&j, out, e);
	tree_cursor_close(j.cursor);
	buf_free(&j.old);
	block_writer_free(j.writer);
	versions_free(&j.versions);
	signer_wipe(&j.signer);
	store_close(&j.store);
	link_free(&j.link);
	overlay_close(&j.overlay);
	return r;
}
