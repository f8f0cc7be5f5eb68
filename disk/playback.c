/* Playing a boot pack: see playback.h. Here are its segments and its readers; playback_stream.c brings them, playback_keeper.c keeps them.
 *
 *	streamers	threads, one for each mirror up to STREAMERS: each claims a run of absent segments and asks the origin for them. The first
 *			one brings the head; with one mirror its run is all there is, so that the pack is one request
 *	the sink	in the thread of the HTTP loop: checks, and puts what came into the queue. When that is full, the connection waits
 *	the keeper	a thread that takes segments out of the queue, writes them into the cache's file, decompresses and shows them
 *
 * A segment that is here is in the queue or in the file. Readers decompress it themselves, in a bounded memory that they share with the keeper. The keeper
 * goes as fast as those read whom it shows things to, so no reader waits for it for ever: how long a reader waits is bounded.
 *
 * How long a segment will take is what is still to come before it and with it, by the speed of late. It is waited for when that is a few times
 * what a block would take: a little late is better than fetching it twice over a link that is busy with it, very late is not. */
#include "disk/playback_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"

#define BLOCK_BYTES 32768.0 /* compressed bytes of a block, about */
#define WAIT_BLOCKS 8       /* times what a block takes is waited for a segment */
#define WAIT_LEAST_MS 250
#define WAIT_MOST_MS 2000
#define FIRST_WAIT_MS 1000 /* for the head, and the first speed */

/* ---- states ---- */

/* The lock is held. */
int playback_take_head(struct playback *p, struct pack *pack)
{
	p->states = calloc(pack->segment_count, 1);
	if (!p->states) {
		pack_free(pack);
		return -ENOMEM;
	}
	p->pack = *pack;
	p->known = true;
	pthread_cond_broadcast(&p->changed);
	return 0;
}

static void note_lost(struct playback *p, uint32_t segment)
{
	pthread_mutex_lock(&p->lock);
	if (p->states[segment] == HERE || p->states[segment] == KEPT) {
		p->states[segment] = LOST;
		p->here--;
	}
	pthread_mutex_unlock(&p->lock);
}

/* Bytes a millisecond; less and less where nothing comes. The lock is held. */
static double speed_now(const struct playback *p, uint64_t now)
{
	return ((double)p->window_bytes + p->speed * SPEED_MS) /
	       (double)(now - p->window_ms + SPEED_MS);
}

/* Milliseconds until a segment is here; negative: nobody knows. The lock is held. */
static double expected_ms(const struct playback *p, uint32_t segment, uint64_t now)
{
	double bytes = 0, speed = speed_now(p, now);

	for (uint32_t i = 0; i <= segment; i++)
		if (p->states[i] == ABSENT || p->states[i] == COMING)
			bytes += p->pack.segments[i].len;
	return speed > 0 ? bytes / speed : -1;
}

/* ---- segments that are here ---- */

/* The compressed bytes of one, allocated. */
static uint8_t *load_queued(struct playback *p, uint32_t segment)
{
	uint8_t *copy = NULL;
	struct packet *k;

	pthread_mutex_lock(&p->lock);
	STAILQ_FOREACH(k, &p->queue, link)
	if (k->segment == segment)
		break;
	if (k)
		copy = malloc(p->pack.segments[segment].len);
	if (copy)
		memcpy(copy, k->data, p->pack.segments[segment].len);
	pthread_mutex_unlock(&p->lock);
	return copy;
}

uint8_t *playback_load_from_file(struct playback *p, const struct pack_segment *s)
{
	_cleanup_free_ uint8_t *data = p->file < 0 ? NULL : malloc(s->len);

	return data && !cache_read_pack(p->cache, p->file, data, s->len, s->offset) ? steal_ptr(data) : NULL;
}

static int load_segment(void *context, const struct memory_key *key, bool background,
	uint8_t **data, size_t *len, struct err *e)
{
	struct playback *p = context;
	const struct pack_segment *s = &p->pack.segments[key->kind];
	_cleanup_free_ uint8_t *compressed = load_queued(p, key->kind), *pages = malloc(key->room);
	int r;

	if (!compressed)
		compressed = playback_load_from_file(p, s);
	if (!pages || !compressed)
		return err_set(e, -ENOENT, "not there any more");
	r = pack_segment_decode(s, compressed, pages, e);
	if (r < 0)
		return r;
	*data = steal_ptr(pages);
	*len = key->room;
	return 0;
}

int playback_get_segment(struct playback *p, uint32_t segment, const struct memory_block **out)
{
	const struct pack_segment *s = &p->pack.segments[segment];
	struct memory_key key = {.hash = s->hash, .kind = segment, .room = s->pages * PACK_PAGE};
	struct err e = ERR_INIT;
	int r = memory_get(p->memory, &key, out, &e);

	if (r == -EBADMSG && p->cache) {
		log_debug("a boot pack in the cache: %s", e.text);
		cache_drop_pack(p->cache, &p->profile.pack);
	}
	if (r < 0 && r != -ENOMEM)
		note_lost(p, segment);
	return r;
}

/* ---- readers ---- */

static bool is_here(const struct playback *p, uint32_t segment)
{
	return p->states[segment] == HERE || p->states[segment] == KEPT;
}

/* How long a segment is worth waiting for. */
static double worth_ms(struct playback *p)
{
	double ms = WAIT_BLOCKS * origin_expected_ms(p->origin, BLOCK_BYTES);

	return ms < WAIT_LEAST_MS ? WAIT_LEAST_MS : ms > WAIT_MOST_MS ? WAIT_MOST_MS : ms;
}

/* Will the head, or the segment, be here soon? The lock is held. */
static bool worth_waiting(
	const struct playback *p, bool known, uint32_t segment, uint64_t start_ms, double worth)
{
	uint64_t now = clock_ms();
	double ms;

	if (p->cancelled || !p->started || (!p->streaming && p->looked))
		return false;
	if (!known || !p->bytes)
		return now - p->start_ms < FIRST_WAIT_MS;
	ms = expected_ms(p, segment, now);
	return p->states[segment] != LOST && ms >= 0 && ms <= worth &&
	       now - start_ms < 2 * WAIT_MOST_MS;
}

/* Waits for what `ready` tells of; false: not worth it. segment: of `known` packs. The lock is
 * held. */
static bool wait_for_segment(struct playback *p, uint32_t segment, double worth)
{
	uint64_t start = clock_ms();

	if (is_here(p, segment))
		return true;
	while (!is_here(p, segment) && worth_waiting(p, true, segment, start, worth))
		clock_cond_wait(&p->changed, &p->lock, clock_ms() + LOOK_MS);
	p->waits++;
	p->waited_ms += clock_ms() - start;
	p->passed_by += !is_here(p, segment);
	return is_here(p, segment);
}

static bool wait_for_head(struct playback *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->known && worth_waiting(p, false, 0, 0, 0))
		clock_cond_wait(&p->changed, &p->lock, clock_ms() + LOOK_MS);
	pthread_mutex_unlock(&p->lock);
	return p->known;
}

static uint64_t covers(struct playback *p, uint64_t offset, uint64_t len, uint64_t *without)
{
	uint64_t run, bytes;
	uint32_t place;
	bool found;

	*without = len;
	if (!p->known)
		return 0;
	found = pack_find(&p->pack, offset / PACK_PAGE, &place, &run);
	bytes = run > len / PACK_PAGE + 1 ? len : run * PACK_PAGE - offset % PACK_PAGE;
	if (bytes > len)
		bytes = len;
	*without = found ? 0 : bytes;
	return found ? bytes : 0;
}

uint64_t playback_covers(struct playback *p, uint64_t offset, uint64_t len, uint64_t *without)
{
	bool given_up;

	pthread_mutex_lock(&p->lock);
	given_up = p->given_up[0];
	pthread_mutex_unlock(&p->lock);
	if (!given_up)
		return covers(p, offset, len, without);
	*without = len;
	return 0;
}

size_t playback_read(
	struct playback *p, void *buf, size_t len, uint64_t offset, size_t *from_blocks)
{
	const struct memory_block *block;
	uint64_t run, without;
	uint32_t place, segment;
	size_t skip, have;
	double worth;
	bool here;

	*from_blocks = len;
	if (!p->known && !wait_for_head(p))
		return 0;
	have = (size_t)covers(p, offset, len, &without);
	*from_blocks = (size_t)without;
	if (!have)
		return 0;
	pack_find(&p->pack, offset / PACK_PAGE, &place, &run);
	segment = place / PACK_SEGMENT_PAGES;
	skip = (place % PACK_SEGMENT_PAGES) * PACK_PAGE + offset % PACK_PAGE;
	if (have > p->pack.segments[segment].pages * PACK_PAGE - skip)
		have = p->pack.segments[segment].pages * PACK_PAGE - skip;
	*from_blocks = have;
	worth = worth_ms(p);
	pthread_mutex_lock(&p->lock);
	here = wait_for_segment(p, segment, worth);
	pthread_mutex_unlock(&p->lock);
	if (!here || playback_get_segment(p, segment, &block) < 0)
		return 0;
	memcpy(buf, block->data + skip, have);
	memory_put(p->memory, block);
	pthread_mutex_lock(&p->lock);
	p->pages_read += (have + PACK_PAGE - 1) / PACK_PAGE;
	pthread_mutex_unlock(&p->lock);
	return have;
}

/* ---- from beginning to end ---- */

int playback_open(struct playback **out, const struct profile *profile, uint64_t image_size,
	struct origin *origin, struct cache *cache, size_t memory, struct err *e)
{
	struct playback *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(e, -ENOMEM, "no memory for a boot pack");
	p->profile = *profile;
	p->image_size = image_size;
	p->origin = origin;
	p->cache = cache;
	p->queue_max = memory / 4;
	p->file = -1;
	for (size_t i = 0; i < STREAMERS; i++)
		p->streamers[i].playback = p;
	STAILQ_INIT(&p->queue);
	pthread_mutex_init(&p->lock, NULL);
	clock_cond_init(&p->changed);
	r = memory_open(&p->memory, memory - p->queue_max, 0, load_segment, p, e);
	if (r < 0) {
		playback_close(p);
		return r;
	}
	*out = p;
	return 0;
}

int playback_start(struct playback *p, playback_show on_page, void *context, struct err *e)
{
	int r;

	p->show = on_page;
	p->context = context;
	p->shared = origin_count(p->origin) > 1;
	p->start_ms = p->window_ms = clock_ms();
	p->file = p->cache ? cache_open_pack(p->cache, &p->profile.pack, &p->whole) : -1;
	p->started = true;
	r = thread_start(&p->keeper, playback_keep, p);
	p->keeping = !r;
	return r < 0 ? err_set(e, r, "cannot start a thread: %s", strerror(-r)) : 0;
}

bool playback_is_busy(struct playback *p)
{
	bool busy;

	pthread_mutex_lock(&p->lock);
	busy = p->streaming;
	pthread_mutex_unlock(&p->lock);
	return busy;
}

void playback_status(struct playback *p, json_t *out)
{
	json_t *pack;

	pthread_mutex_lock(&p->lock);
	pack = json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "segments",
		(int)p->pack.segment_count, "here", (int)p->here, "size",
		(json_int_t)p->profile.size, "bytes", (json_int_t)p->bytes, "pages_read",
		(json_int_t)p->pages_read, "waits", (json_int_t)p->waits, "waited_ms",
		(json_int_t)p->waited_ms, "passed_by", (json_int_t)p->passed_by);
	if (pack && p->given_up[0])
		json_object_set_new(pack, "given_up", json_string(p->given_up));
	pthread_mutex_unlock(&p->lock);
	json_object_set_new(out, "pack", pack);
}

void playback_cancel(struct playback *p)
{
	pthread_mutex_lock(&p->lock);
	p->cancelled = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

void playback_stop(struct playback *p)
{
	playback_cancel(p);
	if (p->keeping)
		pthread_join(p->keeper, NULL);
	p->keeping = false;
	for (size_t i = 0; i < STREAMERS; i++) {
		if (p->streamers[i].started)
			pthread_join(p->streamers[i].thread, NULL);
		p->streamers[i].started = false;
	}
}

void playback_close(struct playback *p)
{
	struct packet *k;

	if (!p)
		return;
	playback_stop(p);
	while ((k = STAILQ_FIRST(&p->queue))) {
		STAILQ_REMOVE_HEAD(&p->queue, link);
		free(k->data);
		free(k);
	}
	if (p->memory)
		memory_close(p->memory);
	if (p->file >= 0)
		close(p->file);
	pack_free(&p->pack);
	free(p->states);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
