/* Boot packs from traces: see profile.h. */
#include "publish/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "publish/catalogue.h"
#include "publish/new_version.h"
#include "publish/pack_maker.h"
#include "publish/traces.h"

static int load_trace(struct trace_file *out, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(TRACE_FILE_MAX);
	int r = file_load(AT_FDCWD, path, &text, e);

	if (!r)
		r = trace_parse(out, (const char *)text.data, text.len, e);
	return r < 0 ? err_add(e, "%s", path) : 0;
}

static int check_trace(
	const struct trace_file *t, const char *path, const struct manifest *m, struct err *e)
{
	if (hash_equal(&t->root, &m->image.root) && t->size == m->image.size)
		return 0;
	return err_set(e, -EINVAL,
		"%s was recorded from %s version %" PRIu64
		", whose disk is not that of %s version %" PRIu64 ": record a boot of that",
		path, t->name, t->version, m->name, m->version);
}

static int load_traces(struct trace_file *traces, const struct profile_options *o,
	const struct manifest *m, struct err *e)
{
	int r = 0;

	for (size_t i = 0; !r && i < o->trace_count; i++) {
		r = load_trace(&traces[i], o->traces[i], e);
		if (!r)
			r = check_trace(&traces[i], o->traces[i], m, e);
	}
	return r;
}

static int make_pack(struct store *s, const struct profile_options *o, const struct manifest *m,
	struct profile *out, struct err *e)
{
	_cleanup_free_ struct trace_file *traces = calloc(o->trace_count, sizeof(*traces));
	_cleanup_free_ struct pack_extent *extents = NULL;
	uint32_t count = 0;
	int r = traces ? load_traces(traces, o, m, e) : err_set(e, -ENOMEM, "no memory for traces");

	if (!r)
		r = traces_merge(traces, o->trace_count, o->least, &extents, &count, e);
	for (size_t i = 0; traces && i < o->trace_count; i++)
		trace_file_free(&traces[i]);
	return r < 0 ? r : pack_make(s, &m->image, extents, count, o->level, out, e);
}

static bool same_profile(const struct profile *a, const struct profile *b)
{
	return a->size == b->size && hash_equal(&a->pack, &b->pack);
}

/* With the image's lock held. */
static int add_version(struct store *s, const struct profile_options *o,
	const struct signer *signer, struct profile_result *out, struct err *e)
{
	const struct version *newest;
	struct versions v;
	struct manifest m; /* shallow: of the newest version */
	int r = store_versions(s, o->name, NULL, NULL, &v, e);

	if (r < 0)
		return r;
	newest = versions_newest(&v);
	r = newest ? version_check_signer(s, &v, signer, o->name, false, e)
		   : err_set(e, -ENOENT, "there is no image %s in %s", o->name, o->store);
	if (!r) {
		m = newest->manifest;
		r = make_pack(s, o, &m, &out->profile, e);
	}
	if (!r && !same_profile(&m.profile, &out->profile)) {
		m.profile = out->profile;
		m.parent_version = m.version++;
		m.parent_root = m.image.root;
		/* `created` stays: it is the disk's time, by which a copy-on-write overlay
		 * recognises it. */
		r = version_save(s, signer, &m, e);
	}
	out->version = r < 0 ? 0 : m.version;
	versions_free(&v);
	return r;
}

static int add_to_store(struct store *s, const struct profile_options *o,
	const struct signer *signer, struct profile_result *out, struct err *e)
{
	_cleanup_close_ int lock = store_lock_name(s, o->name, e);
	struct err why = ERR_INIT;
	int r = lock < 0 ? lock : add_version(s, o, signer, out, e);

	if (!r && catalogue_write(s, &why) < 0)
		log_warning("the catalogue is out of date: %s", why.text);
	return r;
}

int profile_image(const struct profile_options *o, struct profile_result *out, struct err *e)
{
	struct store s = STORE_INIT;
	struct signer signer;
	int r = signer_load(&signer, o->key, e);

	*out = (struct profile_result){0};
	if (r < 0)
		return r;
	r = store_open_publish(&s, o->store, o->name, e);
	if (!r) {
		r = add_to_store(&s, o, &signer, out, e);
		store_close(&s);
	}
	signer_wipe(&signer);
	return r;
}
