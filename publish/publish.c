/* Publishing, in this order: check name and key against what the store has; put the disk, then the
 * boot files, through the pipeline; make the blocks durable; with the image's lock held choose the
 * version, write manifest.N, then manifest. Readers see the new version with that last rename, and
 * everything that it names is on the disk by then. */
#include "publish/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "format/block.h"
#include "format/chunker.h"
#include "format/link.h"
#include "publish/catalogue.h"
#include "publish/filesystem.h"
#include "publish/flusher.h"
#include "publish/input.h"
#include "publish/new_version.h"
#include "publish/pipeline.h"
#include "publish/signer.h"
#include "publish/store.h"
#include "publish/tree.h"

struct job {
	const struct publish_options *o;
	struct store store;
	struct block_writer *writer;
	struct signer signer;
	unsigned jobs;
	struct manifest manifest;
};

/* What people gave goes into a manifest that nobody gets: better refused now than when all is stored. */
static int check_texts(const struct publish_options *o, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	struct boot_entry boot[MANIFEST_BOOT_MAX] = {0}; /* all strings are borrowed */
	struct manifest m = {.version = 1,
		.image = {.size = 1, .depth = 1, .root.bytes = {1}},
		.chunks = 1,
		.boot = boot,
		.boot_count = o->boot_count,
		.mirrors = (char **)o->mirrors,
		.mirror_count = o->mirror_count};

	for (size_t i = 0; i < o->boot_count; i++) {
		boot[i].title = (char *)(o->boot[i].title ? o->boot[i].title : o->name);
		boot[i].type = (char *)(o->boot[i].type ? o->boot[i].type : "uml");
		boot[i].cmdline = (char *)o->boot[i].cmdline;
	}
	snprintf(m.name, sizeof(m.name), "%s", o->name);
	snprintf(m.expires, sizeof(m.expires), "%s", o->expires);
	manifest_time_text(m.created, time(NULL));
	return manifest_encode(&m, &text, e);
}

static int check_options(const struct publish_options *o, struct err *e)
{
	if (!link_name_valid(o->name))
		return err_set(e, -EINVAL,
			"%s is no name for an image: use letters, digits, '.', '_' and '-', at "
			"most %d, the first a letter or digit",
			o->name, LINK_NAME_MAX);
	return check_texts(o, e);
}

static int check_before(struct job *j, struct err *e)
{
	struct versions v;
	int r = store_versions(&j->store, j->o->name, NULL, NULL, &v, e);

	if (r < 0)
		return r;
	r = version_check_signer(&j->store, &v, &j->signer, j->o->name, j->o->replace_key, e);
	versions_free(&v);
	return r;
}

static int put_file(struct job *j, const char *path, struct tree *out, struct err *e)
{
	struct input *in;
	uint64_t chunks;
	int r;

	if (!path)
		return 0;
	r = input_open_raw(&in, path, e);
	if (r < 0)
		return r;
	r = pipeline_run(in, j->writer, j->jobs, NULL, out, &chunks, e);
	input_close(in);
	return r < 0 ? err_add(e, "%s", path) : 0;
}

static bool is_elf(const char *path)
{
	_cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char magic[4];

	return fd >= 0 && !file_pread(fd, magic, sizeof(magic), 0) && !memcmp(magic, "\177ELF", 4);
}

static int put_boot_entry(
	struct job *j, const struct publish_boot *from, struct boot_entry *to, struct err *e)
{
	const char *type = from->type                              ? from->type
			   : !from->kernel || is_elf(from->kernel) ? "uml"
								   : "linux";
	int r;

	to->title = strdup(from->title ? from->title : j->o->name);
	to->type = strdup(type);
	to->cmdline = from->cmdline ? strdup(from->cmdline) : NULL;
	to->modules = calloc(from->module_count + 1, sizeof(*to->modules));
	if (!to->title || !to->type || (from->cmdline && !to->cmdline) || !to->modules)
		return err_set(e, -ENOMEM, "no memory for a boot entry");
	r = put_file(j, from->kernel, &to->kernel, e);
	if (!r)
		r = put_file(j, from->initrd, &to->initrd, e);
	for (; !r && to->module_count < from->module_count; to->module_count++)
		r = put_file(j, from->modules[to->module_count], &to->modules[to->module_count], e);
	return r;
}

static int put_boot_entries(struct job *j, struct err *e)
{
	struct manifest *m = &j->manifest;
	int r = 0;

	m->boot = calloc(j->o->boot_count + 1, sizeof(*m->boot));
	if (!m->boot)
		return err_set(e, -ENOMEM, "no memory for boot entries");
	for (; !r && m->boot_count < j->o->boot_count; m->boot_count++)
		r = put_boot_entry(j, &j->o->boot[m->boot_count], &m->boot[m->boot_count], e);
	return r;
}

static int copy_mirrors(struct job *j, struct err *e)
{
	struct manifest *m = &j->manifest;

	m->mirrors = calloc(j->o->mirror_count + 1, sizeof(*m->mirrors));
	for (size_t i = 0; m->mirrors && i < j->o->mirror_count; i++) {
		m->mirrors[i] = strdup(j->o->mirrors[i]);
		if (!m->mirrors[i])
			break;
		m->mirror_count++;
	}
	return m->mirror_count == j->o->mirror_count
		       ? 0
		       : err_set(e, -ENOMEM, "no memory for the mirrors");
}

struct reader {
	int fd;
	const struct tree *tree;
};

static int read_disk(void *context, void *buf, size_t len, uint64_t offset, struct err *e)
{
	const struct reader *reader = context;

	return tree_read(reader->fd, reader->tree, buf, len, offset, e);
}

static int put_disk(struct job *j, struct err *e)
{
	struct input_options options = {.name = j->o->name, .filesystem = j->o->filesystem};
	struct manifest *m = &j->manifest;
	struct reader reader = {.fd = j->store.fd, .tree = &m->image};
	struct progress progress;
	struct input *in;
	int r = input_open(&in, j->o->image, &options, e);

	if (r < 0)
		return r;
	progress_begin(&progress, "publishing", input_size(in));
	r = pipeline_run(in, j->writer, j->jobs, &progress, &m->image, &m->chunks, e);
	progress_end(&progress);
	input_close(in);
	if (!r && m->image.size > MANIFEST_SIZE_MAX)
		r = err_set(e, -EFBIG, "%s is larger than any disk", j->o->image);
	return r < 0 ? r : filesystem_detect(read_disk, &reader, m->image.size, m->filesystem, e);
}

/* Would m say anything new? Compares texts with what must differ made equal. */
static int same_content(const struct manifest *m, const struct manifest *old, struct err *e)
{
	_cleanup_buf_ struct buf a = BUF_INIT(MANIFEST_MAX), b = BUF_INIT(MANIFEST_MAX);
	struct manifest x = *m, y = *old; /* shallow: nothing owned is changed */
	int r;

	x.version = y.version = 1;
	x.parent_version = y.parent_version = 0;
	x.stored = y.stored =
		0; /* depends on the level at which the store's blocks were once compressed */
	memcpy(x.created, y.created, sizeof(x.created));
	r = manifest_encode(&x, &a, e);
	if (!r)
		r = manifest_encode(&y, &b, e);
	return r < 0 ? r : a.len == b.len && !memcmp(a.data, b.data, a.len);
}

/* With the image's lock held. */
static int add_version(
	struct job *j, const struct versions *v, struct publish_result *out, struct err *e)
{
	const struct version *newest = versions_newest(v);
	struct manifest *m = &j->manifest;
	int r = version_check_signer(&j->store, v, &j->signer, m->name, j->o->replace_key, e);

	if (r < 0)
		return r;
	m->version = newest ? newest->manifest.version + 1 : 1;
	if (newest) {
		m->parent_version = newest->manifest.version;
		m->parent_root = newest->manifest.image.root;
		/* Not where `manifest` lags behind: a publisher died between its two writes. */
		r = newest->newest && !j->o->replace_key ? same_content(m, &newest->manifest, e)
							 : 0;
		if (r < 0)
			return r;
	}
	out->unchanged = r;
	out->version = r ? newest->manifest.version : m->version;
	return r ? 0 : version_save(&j->store, &j->signer, m, e);
}

static int commit(struct job *j, struct publish_result *out, struct err *e)
{
	struct versions v;
	_cleanup_close_ int lock = version_begin(&j->store, j->writer, j->o->name, &j->manifest, &v, e);
	int r;

	if (lock < 0)
		return lock;
	r = add_version(j, &v, out, e);
	versions_free(&v);
	return r;
}

static int put_all(struct job *j, struct err *e)
{
	struct manifest *m = &j->manifest;
	int r;

	snprintf(m->name, sizeof(m->name), "%s", j->o->name);
	snprintf(m->expires, sizeof(m->expires), "%s", j->o->expires);
	m->chunk_min = CHUNK_MIN;
	m->chunk_avg = CHUNK_AVG;
	m->chunk_max = CHUNK_MAX;
	r = copy_mirrors(j, e);
	if (!r)
		r = put_disk(j, e);
	return r < 0 ? r : put_boot_entries(j, e);
}

static int run(struct job *j, struct publish_result *out, struct err *e)
{
	const char *base = j->o->base_url ? j->o->base_url : j->store.path;
	struct flusher *flusher;
	struct err why = ERR_INIT;
	int r = check_before(j, e);

	if (r < 0)
		return r;
	j->writer = block_writer_new(&j->store, j->o->level);
	if (!j->writer)
		return err_set(e, -ENOMEM, "no memory to publish");
	flusher = flusher_start(j->store.fd);
	r = put_all(j, e);
	flusher_stop(flusher);
	if (!r)
		r = commit(j, out, e);
	if (r < 0)
		return r;
	if (catalogue_write(&j->store, &why) < 0) /* the image is published all the same */
		log_warning("the catalogue is out of date: %s", why.text);
	out->link = link_format(base, j->o->name, 0, &j->signer.public);
	out->size = j->manifest.image.size;
	out->chunks = j->manifest.chunks;
	memcpy(out->filesystem, j->manifest.filesystem, sizeof(out->filesystem));
	block_writer_stats(j->writer, &out->blocks);
	return out->link ? 0 : err_set(e, -ENOMEM, "no memory for the link");
}

int publish_image(const struct publish_options *o, struct publish_result *out, struct err *e)
{
	struct job j = {
		.o = o, .store = STORE_INIT, .jobs = o->jobs ? o->jobs : pipeline_default_jobs()};
	int r;

	*out = (struct publish_result){0};
	r = check_options(o, e);
	if (!r)
		r = signer_load(&j.signer, o->key, e);
	if (!r)
		r = store_open_publish(&j.store, o->store, o->name, e);
	if (r < 0)
		return r;
	r = run(&j, out, e);
	block_writer_free(j.writer);
	manifest_free(&j.manifest);
	signer_wipe(&j.signer);
	store_close(&j.store);
	return r;
}
