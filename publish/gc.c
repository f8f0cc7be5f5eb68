/* Garbage collection: mark, then sweep, with the store's exclusive lock held from the first to the
 * last. Old manifests go before the blocks that only they name, so that no reader is promised what
 * is gone; interrupted in between, the next run finishes. */
#include "publish/gc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash_set.h"
#include "base/log.h"
#include "publish/block_files.h"
#include "publish/catalogue.h"
#include "publish/key_files.h"
#include "publish/store.h"
#include "publish/tree.h"

struct gc {
	struct store store;
	const struct gc_options *o;
	struct gc_result *out;
	struct hash_set needed; /* blocks and boot packs */
	struct hash_set met;    /* index nodes that were walked */
	bool *dropped;          /* per version */
};

static int need(struct gc *g, const struct hash *hash, struct err *e)
{
	return hash_set_add(&g->needed, hash, 0) < 0
		       ? err_set(e, -ENOMEM, "no memory for the list of blocks")
		       : 0;
}

static int on_node(void *context, const struct hash *hash, struct err *e)
{
	return need(context, hash, e);
}

static int on_chunk(void *context, const struct index_entry *entry, struct err *e)
{
	return need(context, &entry->hash, e);
}

static int mark_tree(struct gc *g, const struct tree *tree, struct err *e)
{
	struct tree_visitor v = {.node = on_node, .chunk = on_chunk, .context = g, .met = &g->met};

	return tree->size ? tree_walk(g->store.fd, tree, &v, e) : 0;
}

static int mark_manifest(struct gc *g, const struct manifest *m, struct err *e)
{
	int r = mark_tree(g, &m->image, e);

	if (!r && m->profile.size)
		r = need(g, &m->profile.pack, e);

	for (size_t i = 0; !r && i < m->boot_count; i++) {
		const struct boot_entry *b = &m->boot[i];

		r = mark_tree(g, &b->kernel, e);
		if (!r)
			r = mark_tree(g, &b->initrd, e);
		for (size_t k = 0; !r && k < b->module_count; k++)
			r = mark_tree(g, &b->modules[k], e);
	}
	return r;
}

static bool same_image(const struct version *a, const struct version *b)
{
	return !strcmp(a->manifest.name, b->manifest.name);
}

/* Was the version before this one replaced by it not long ago? Clocks that are ahead keep it longer. */
static bool is_recent(const struct gc *g, const struct manifest *successor)
{
	return time(NULL) - manifest_time(successor->created) < (int64_t)g->o->keep_seconds;
}

/* Which versions go: for each image all but the `keep` newest numbers, and what was the newest until not long ago. What `manifest` says
 * always stays. */
static void choose(struct gc *g, const struct versions *v)
{
	for (size_t i = v->count; g->o->keep && i > 0;) {
		const struct version *newest = &v->list[i - 1], *successor = NULL, *last = NULL;
		uint64_t kept = 0;

		for (; i > 0 && same_image(&v->list[i - 1], newest); i--) {
			const struct version *at = &v->list[i - 1];

			if (!last || at->manifest.version != last->manifest.version) {
				kept++;
				successor = last;
			}
			last = at;
			g->dropped[i - 1] = kept > g->o->keep && !at->newest && !is_recent(g, &successor->manifest);
		}
	}
}

/* A version whose number the file `manifest` has is what readers get now. */
static bool is_current(const struct versions *v, size_t i)
{
	for (size_t k = 0; k < v->count; k++)
		if (v->list[k].newest && same_image(&v->list[k], &v->list[i]) &&
			v->list[k].manifest.version == v->list[i].manifest.version)
			return true;
	return false;
}

static int mark(struct gc *g, const struct versions *v, struct err *e)
{
	for (size_t i = 0; i < v->count; i++) {
		int r;

		if (g->dropped[i] && is_current(v, i))
			g->dropped[i] = false;
		if (g->dropped[i] || v->list[i].manifest.revoked) /* nobody reads a revoked one's disk */
			continue;
		r = mark_manifest(g, &v->list[i].manifest, e);
		if (r < 0)
			return err_add(e, "nothing was removed: %s", v->list[i].file);
	}
	return 0;
}

static int drop_versions(struct gc *g, const struct versions *v, struct err *e)
{
	for (size_t i = 0; i < v->count; i++) {
		int r;

		if (!g->dropped[i])
			continue;
		log_debug("removing %s", v->list[i].file);
		r = g->o->dry_run ? 0 : key_files_drop(&g->store, v->list[i].manifest.name, v->list[i].manifest.version, e);
		if (r < 0)
			return r;
		if (!g->o->dry_run && unlinkat(g->store.fd, v->list[i].file, 0) < 0)
			return err_errno(e, "cannot remove %s", v->list[i].file);
		g->out->versions_removed++;
	}
	/* The manifests' absence must not be younger than that of their blocks. */
	return g->o->dry_run || !g->out->versions_removed ? 0 : store_sync(&g->store, e);
}

static int sweep_file(void *context, const char *path, const struct hash *hash, struct err *e)
{
	struct gc *g = context;
	struct stat st;

	if (fstatat(g->store.fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(e, "cannot look at %s", path);
	if (hash && hash_set_find(&g->needed, hash)) {
		g->out->blocks_kept++;
		g->out->bytes_kept += (uint64_t)st.st_size;
		return 0;
	}
	/* Of what is no block only our temporary files go; others are not ours to judge. */
	if (!hash && strrchr(path, '/')[1] != '.')
		return 0;
	if (!g->o->dry_run && unlinkat(g->store.fd, path, 0) < 0)
		return err_errno(e, "cannot remove %s", path);
	g->out->blocks_removed += hash != NULL;
	g->out->bytes_removed += hash ? (uint64_t)st.st_size : 0;
	g->out->other_removed += hash == NULL;
	return 0;
}

/* With the exclusive lock nobody writes: what file_save() has left in a folder is of somebody who was killed. */
static int sweep_folder(struct gc *g, const char *folder, struct err *e)
{
	int fd = openat(g->store.fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *at;

	if (!d)
		return err_errno(e, "cannot open %s", folder);
	while ((at = readdir(d))) {
		if (!file_is_temporary(at->d_name))
			continue;
		if (!g->o->dry_run && unlinkat(fd, at->d_name, 0) < 0)
			return err_errno(e, "cannot remove %s/%s", folder, at->d_name);
		g->out->other_removed++;
	}
	return 0;
}

static int sweep_folders(struct gc *g, const struct versions *v, struct err *e)
{
	int r = sweep_folder(g, ".", e);

	for (size_t i = 0; !r && i < v->count; i++)
		if (!i || !same_image(&v->list[i], &v->list[i - 1]))
			r = sweep_folder(g, v->list[i].manifest.name, e);
	return r;
}

static int run(struct gc *g, struct err *e)
{
	struct versions v = {0};
	int r = store_lock_exclusive(&g->store, e);

	if (!r)
		r = store_versions(&g->store, NULL, NULL, NULL, &v, e);
	if (r < 0)
		return err_add(e, "nothing was removed");
	g->dropped = calloc(v.count + 1, sizeof(*g->dropped));
	if (!g->dropped)
		r = err_set(e, -ENOMEM, "no memory for the list of versions");
	if (!r) {
		choose(g, &v);
		r = mark(g, &v, e);
	}
	if (!r)
		r = drop_versions(g, &v, e);
	if (!r)
		r = block_files_each(g->store.fd, sweep_file, g, e);
	if (!r)
		r = pack_files_each(g->store.fd, sweep_file, g, e);
	if (!r)
		r = sweep_folders(g, &v, e);
	if (!r && !g->o->dry_run)
		r = catalogue_write(&g->store, e);
	versions_free(&v);
	return r;
}

int gc_store(const char *path, const struct gc_options *o, struct gc_result *out, struct err *e)
{
	struct gc g = {.o = o, .out = out};
	int r;

	*out = (struct gc_result){0};
	r = store_open(&g.store, path, e);
	if (r < 0)
		return r;
	r = run(&g, e);
	hash_set_free(&g.needed);
	hash_set_free(&g.met);
	free(g.dropped);
	store_close(&g.store);
	return r;
}
