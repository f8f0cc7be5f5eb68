/* Making boot packs: see pack_maker.h. Threads take one segment after the other: read its pages,
 * compress, hash. All segments stay in memory until the head, which has their hashes, can be
 * written in front of them. */
#include "publish/pack_maker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "format/block.h"
#include "publish/block_files.h"
#include "publish/pipeline.h"
#include "publish/tree.h"

struct making {
	struct store *store;
	const struct tree *image;
	const struct pack_extent *extents;
	uint32_t extent_count, segment_count, pages;
	int level;
	const struct pack *old; /* the same extents of another image, or NULL */
	int old_fd;
	const bool *kept;              /* with old: segments of it that are taken over */
	struct pack_segment *segments; /* owned */
	uint8_t **data;                /* owned; of each segment */
	pthread_mutex_t lock;          /* for what follows */
	uint32_t next, done;
	int failed;
	struct err why;
	struct progress progress;
};

/* Reads pages of the image; what the last one lacks are zeros. */
static int read_pages(
	const struct making *m, uint64_t page, uint32_t pages, uint8_t *to, struct err *e)
{
	uint64_t offset = page * PACK_PAGE;
	size_t len = (size_t)pages * PACK_PAGE;

	memset(to, 0, len);
	if (len > m->image->size - offset)
		len = (size_t)(m->image->size - offset);
	return tree_read(m->store->fd, m->image, to, len, offset, e);
}

static int make_segment(
	struct making *m, uint32_t segment, uint8_t *pages, struct buf *out, struct err *e)
{
	uint32_t place = segment * PACK_SEGMENT_PAGES, end = place + PACK_SEGMENT_PAGES,
		 start = place;
	struct pack_segment *s = &m->segments[segment];
	int r = 0;

	if (end > m->pages)
		end = m->pages;
	for (uint32_t i = pack_extent_at(m->extents, m->extent_count, place); !r && place < end;
		i++) {
		const struct pack_extent *x = &m->extents[i];
		uint32_t skip = place - x->place,
			 run = x->pages - skip < end - place ? x->pages - skip : end - place;

		r = read_pages(
			m, x->page + skip, run, pages + (size_t)(place - start) * PACK_PAGE, e);
		place += run;
	}
	if (!r)
		r = block_encode(out, pages, (size_t)(end - start) * PACK_PAGE, m->level, e);
	if (r < 0)
		return r;
	m->data[segment] = malloc(out->len);
	if (!m->data[segment])
		return err_set(e, -ENOMEM, "no memory for a boot pack");
	memcpy(m->data[segment], out->data, out->len);
	s->len = (uint32_t)out->len;
	hash_of(&s->hash, out->data, out->len);
	return 0;
}

/* Takes a segment of the old pack over. */
static int take_segment(struct making *m, uint32_t segment, struct err *e)
{
	const struct pack_segment *s = &m->old->segments[segment];
	int r;

	m->data[segment] = malloc(s->len);
	if (!m->data[segment])
		return err_set(e, -ENOMEM, "no memory for a boot pack");
	r = file_pread(m->old_fd, m->data[segment], s->len, s->offset);
	if (r < 0)
		return err_set(e, r, "cannot read the boot pack before: %s", strerror(-r));
	m->segments[segment] = *s;
	return pack_segment_check(s, m->data[segment], e);
}

static void *work(void *context)
{
	_cleanup_buf_ struct buf out = BUF_INIT(BLOCK_FILE_MAX);
	_cleanup_free_ uint8_t *pages = malloc(PACK_SEGMENT);
	struct making *m = context;

	pthread_mutex_lock(&m->lock);
	while (!m->failed && m->next < m->segment_count) {
		struct err e = ERR_INIT;
		uint32_t segment = m->next++;
		int r;

		pthread_mutex_unlock(&m->lock);
		r = cancel_requested() ? err_set(&e, -EINTR, "interrupted")
		    : !pages           ? err_set(&e, -ENOMEM, "no memory for a boot pack")
				       : 0;
		if (!r)
			r = m->old && m->kept[segment] ? take_segment(m, segment, &e)
						       : make_segment(m, segment, pages, &out, &e);
		pthread_mutex_lock(&m->lock);
		if (r < 0 && !m->failed) {
			m->failed = r;
			m->why = e;
		}
		m->done++;
		progress_show(&m->progress, (uint64_t)m->done * PACK_SEGMENT, "");
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static int make_segments(struct making *m, struct err *e)
{
	unsigned jobs = pipeline_default_jobs(), started = 0;
	pthread_t threads[PIPELINE_JOBS_MAX];

	progress_begin(&m->progress, "packing", (uint64_t)m->segment_count * PACK_SEGMENT);
	while (started + 1 < jobs && !thread_start(&threads[started], work, m))
		started++;
	work(m);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	progress_end(&m->progress);
	if (m->failed)
		*e = m->why;
	return m->failed;
}

static int save(const struct making *m, struct profile *out, struct err *e)
{
	_cleanup_buf_ struct buf file = BUF_INIT(MANIFEST_PACK_MAX);
	char path[PACK_PATH_MAX];
	int r = pack_head_encode(
		m->segments, m->segment_count, m->extents, m->extent_count, &file, e);

	if (r < 0)
		return r;
	hash_of(&out->pack, file.data, file.len);
	for (uint32_t i = 0; !r && i < m->segment_count; i++)
		r = buf_append(&file, m->data[i], m->segments[i].len);
	if (r < 0)
		return err_set(e, r, "no memory for a boot pack");
	out->size = file.len;
	out->pages = m->pages;
	pack_path(&out->pack, path);
	if (!pack_file_verify(m->store->fd, out, m->image->size, NULL))
		return 0;
	if (mkdirat(m->store->fd, "packs", 0777) < 0 && errno != EEXIST)
		return err_errno(e, "cannot make %s/packs", m->store->path);
	r = file_save(m->store->fd, path, file.data, file.len, FILE_SYNC, e);
	return r < 0 ? err_add(e, "cannot write a boot pack into %s", m->store->path) : 0;
}

static int make(struct making *m, struct profile *out, struct err *e)
{
	const struct pack_extent *last = &m->extents[m->extent_count - 1];
	int r;

	m->pages = last->place + last->pages;
	m->segment_count = (m->pages + PACK_SEGMENT_PAGES - 1) / PACK_SEGMENT_PAGES;
	m->segments = calloc(m->segment_count, sizeof(*m->segments));
	m->data = calloc(m->segment_count, sizeof(*m->data));
	r = m->segments && m->data ? make_segments(m, e)
				   : err_set(e, -ENOMEM, "no memory for a boot pack");
	if (!r)
		r = save(m, out, e);
	for (uint32_t i = 0; m->data && i < m->segment_count; i++)
		free(m->data[i]);
	free(m->data);
	free(m->segments);
	return r;
}

int pack_make(struct store *s, const struct tree *image, const struct pack_extent *extents,
	uint32_t extent_count, int level, struct profile *out, struct err *e)
{
	struct making m = {.store = s,
		.image = image,
		.extents = extents,
		.extent_count = extent_count,
		.level = level,
		.lock = PTHREAD_MUTEX_INITIALIZER};

	return make(&m, out, e);
}

static int find_kept(bool *kept, const struct pack *old, pack_changed changed, void *context,
	struct err *e)
{
	int r = 0;

	memset(kept, true, old->segment_count);
	for (uint32_t i = 0; r >= 0 && i < old->extent_count; i++) {
		const struct pack_extent *x = &old->extents[i];

		for (uint32_t k = 0; r >= 0 && k < x->pages; k++) {
			r = changed(context, x->page + k, e);
			if (r > 0)
				kept[(x->place + k) / PACK_SEGMENT_PAGES] = false;
		}
	}
	return r < 0 ? r : 0;
}

int pack_remake(struct store *s, const struct profile *old, const struct tree *image,
	pack_changed changed, void *context, int level, struct profile *out, struct err *e)
{
	_cleanup_free_ bool *kept = NULL;
	struct pack pack;
	_cleanup_close_ int fd = pack_file_open(s->fd, old, image->size, &pack, e);
	struct making m = {.store = s,
		.image = image,
		.level = level,
		.old = &pack,
		.old_fd = fd,
		.lock = PTHREAD_MUTEX_INITIALIZER};
	int r;

	if (fd < 0)
		return fd;
	kept = malloc(pack.segment_count);
	r = kept ? find_kept(kept, &pack, changed, context, e)
		 : err_set(e, -ENOMEM, "no memory for a boot pack");
	m.kept = kept;
	m.extents = pack.extents;
	m.extent_count = pack.extent_count;
	if (!r)
		r = make(&m, out, e);
	pack_free(&pack);
	return r;
}
