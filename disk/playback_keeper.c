/* The keeper of a boot pack: see playback.c. It begins with what is in the cache from before. */
#include "disk/playback_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

/* ---- what is there from before ---- */

static int load_head(struct playback *p, struct err *e)
{
	_cleanup_buf_ struct buf head = BUF_INIT(PACK_HEAD_MAX);
	struct pack pack;
	int64_t len;
	struct stat st;
	int r = buf_reserve(&head, PACK_START);

	if (p->whole && (fstat(p->file, &st) < 0 || (uint64_t)st.st_size != p->profile.size))
		return -EBADMSG;
	if (!r)
		r = cache_read_pack(p->cache, p->file, head.data, PACK_START, 0);
	if (r < 0)
		return r;
	len = pack_head_len(head.data, e);
	if (len < 0)
		return (int)len;
	r = buf_reserve(&head, (size_t)len);
	if (!r)
		r = cache_read_pack(p->cache, p->file, head.data, (size_t)len, 0);
	if (!r)
		r = pack_open(&pack, head.data, (size_t)len, &p->profile, p->image_size, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&p->lock);
	r = playback_take_head(p, &pack);
	pthread_mutex_unlock(&p->lock);
	return r;
}

/* A whole file that is none makes room for another one. */
static void replace_file(struct playback *p)
{
	cache_drop_pack(p->cache, &p->profile.pack);
	close(p->file);
	p->file = cache_open_pack(p->cache, &p->profile.pack, &p->whole);
	if (p->file >= 0 && p->whole) /* it cannot be removed */
		close(steal_fd(&p->file));
}

/* A whole file is believed until a segment is read; of one in parts, those that are there have to
 * be found. */
static void look_at_file(struct playback *p)
{
	struct err e = ERR_INIT;
	int r = p->file < 0 ? -ENOENT : load_head(p, &e);

	if (r < 0 && p->file >= 0 && p->whole)
		replace_file(p);
	if (r < 0)
		return;
	for (uint32_t i = 0; i < p->pack.segment_count; i++) {
		_cleanup_free_ uint8_t *data =
			p->whole ? NULL : playback_load_from_file(p, &p->pack.segments[i]);

		if (!p->whole && (!data || pack_segment_check(&p->pack.segments[i], data, &e) < 0))
			continue;
		pthread_mutex_lock(&p->lock);
		p->states[i] = KEPT;
		p->here++;
		p->written++;
		pthread_mutex_unlock(&p->lock);
	}
	if (!p->whole &&
		p->written ==
			p->pack.segment_count) /* who filled it was killed before it could say so */
		cache_finish_pack(p->cache, &p->profile.pack, p->profile.size);
}

/* ---- the keeper ---- */

/* Decompresses it first: those who are told of it read it at once. */
static void show(struct playback *p, uint32_t segment)
{
	const struct memory_block *block;
	uint32_t place = segment * PACK_SEGMENT_PAGES,
		 end = place + p->pack.segments[segment].pages, run;

	if (!p->show || playback_get_segment(p, segment, &block) < 0)
		return;
	memory_put(p->memory, block);
	for (; place < end; place += run) {
		uint64_t page = pack_page_at(&p->pack, place, &run);

		if (run > end - place)
			run = end - place;
		while (!p->cancelled &&
			!p->show(p->context, page * PACK_PAGE, (uint64_t)run * PACK_PAGE))
			;
	}
}

static void keep_segment(struct playback *p, const struct packet *k)
{
	const struct pack_segment *s = &p->pack.segments[k->segment];
	bool all;

	if (p->file < 0 || p->broken)
		return;
	if (file_pwrite(p->file, k->data, s->len, s->offset) < 0) {
		p->broken = true;
		log_debug("the boot pack cannot be kept in %s", cache_dir(p->cache));
		return;
	}
	pthread_mutex_lock(&p->lock);
	all = ++p->written == p->pack.segment_count;
	pthread_mutex_unlock(&p->lock);
	if (all && !p->whole)
		cache_finish_pack(p->cache, &p->profile.pack, p->profile.size);
}

static void take_from_queue(struct playback *p, struct packet *k)
{
	pthread_mutex_lock(&p->lock);
	STAILQ_REMOVE(&p->queue, k, packet, link);
	p->queued -= p->pack.segments[k->segment].len;
	pthread_mutex_unlock(&p->lock);
	origin_wake(p->origin);
	free(k->data);
	free(k);
}

/* What there is from before is shown first. */
static void show_kept(struct playback *p)
{
	for (uint32_t i = 0; p->known && i < p->pack.segment_count && !p->cancelled; i++) {
		bool kept;

		pthread_mutex_lock(&p->lock);
		kept = p->states[i] == KEPT;
		if (kept)
			p->states[i] = HERE;
		pthread_mutex_unlock(&p->lock);
		if (kept)
			show(p, i);
	}
}

void *playback_keep(void *context)
{
	struct playback *p = context;
	struct packet *k;
	bool more;

	look_at_file(p);
	pthread_mutex_lock(&p->lock);
	more = !p->known || p->here < p->pack.segment_count;
	pthread_mutex_unlock(&p->lock);
	if (more)
		playback_stream(p);
	pthread_mutex_lock(&p->lock);
	p->looked = true;
	pthread_mutex_unlock(&p->lock);
	show_kept(p);
	for (;;) {
		pthread_mutex_lock(&p->lock);
		while (STAILQ_EMPTY(&p->queue) && p->streaming && !p->cancelled)
			clock_cond_wait(&p->changed, &p->lock, 0);
		k = p->cancelled ? NULL : STAILQ_FIRST(&p->queue);
		pthread_mutex_unlock(&p->lock);
		if (!k)
			return NULL;
		keep_segment(p, k);
		show(p, k->segment);
		take_from_queue(p, k);
	}
}
