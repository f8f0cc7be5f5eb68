/* Playing a boot pack: see playback.h.
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
#include "disk/playback.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "disk/memory.h"
#include "disk/pack_stream.h"

#define STREAMERS 3
#define PART_BYTES (1u << 20) /* of a run where several mirrors share the work */
#define TRIES 5		      /* without progress, one after the other; times STREAMERS where there are several mirrors */
#define PAUSE_MS 250	      /* after the first of them, then twice as long each time, up to PAUSE_DOUBLED times */
#define PAUSE_DOUBLED 3
#define SPEED_MS 250	      /* over which the speed is taken */
#define BLOCK_BYTES 32768.0   /* compressed bytes of a block, about */
#define WAIT_BLOCKS 8	      /* times what a block takes is waited for a segment */
#define WAIT_LEAST_MS 250
#define WAIT_MOST_MS 2000
#define FIRST_WAIT_MS 1000 /* for the head, and the first speed */
#define LOOK_MS 25

enum state { ABSENT, COMING, HERE, KEPT, LOST }; /* KEPT: here from before, and not shown yet */

struct packet { /* a segment in the queue */
	STAILQ_ENTRY(packet) link;
	uint32_t segment;
	uint8_t *data;
};

struct streamer {
	struct playback *playback;
	pthread_t thread;
	bool started;
	struct pack_stream stream;
	uint64_t from;	/* byte of the file at which its run begins */
	uint32_t end;	/* behind its run */
	uint64_t limit; /* byte of the file behind which no segment of its run begins */
};

struct playback {
	struct profile profile;
	uint64_t image_size;
	struct origin *origin;
	struct cache *cache;
	struct memory *memory;
	size_t queue_max;
	playback_show show;
	void *context;
	int file;	     /* the cache's, or -1 */
	bool whole;	     /* it was, from the start */
	atomic_bool broken;  /* it cannot be written to */
	atomic_bool shared;  /* by several mirrors */
	struct streamer streamers[STREAMERS];
	pthread_t keeper;
	bool keeping;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	struct pack pack; /* constant once known */
	atomic_bool known; /* the head is here */
	bool looked;	   /* at what there is from before */
	uint8_t *states;
	uint32_t here, written, next; /* how many are here; in the file; none below is absent */
	STAILQ_HEAD(, packet) queue;
	size_t queued; /* bytes */
	bool started;
	atomic_bool cancelled;
	unsigned streaming; /* streamers that are at work */
	uint64_t start_ms, window_ms, window_bytes;
	double speed; /* bytes a millisecond, before the window */
	uint64_t bytes, pages_read, waits, waited_ms, passed_by;
	char given_up[256];
};

/* ---- states ---- */

/* The lock is held. */
static void note_here(struct playback *p, uint32_t segment)
{
	if (p->states[segment] == HERE || p->states[segment] == KEPT)
		return;
	p->states[segment] = HERE;
	p->here++;
	pthread_cond_broadcast(&p->changed);
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

/* The lock is held. */
static void note_bytes(struct playback *p, size_t len)
{
	uint64_t now = clock_ms();

	p->bytes += len;
	p->window_bytes += len;
	if (now - p->window_ms < SPEED_MS)
		return;
	p->speed = (double)p->window_bytes / (double)(now - p->window_ms);
	p->window_ms = now;
	p->window_bytes = 0;
}

/* Bytes a millisecond; less and less where nothing comes. The lock is held. */
static double speed_now(const struct playback *p, uint64_t now)
{
	return ((double)p->window_bytes + p->speed * SPEED_MS) / (double)(now - p->window_ms + SPEED_MS);
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
	STAILQ_FOREACH (k, &p->queue, link)
		if (k->segment == segment)
			break;
	if (k)
		copy = malloc(p->pack.segments[segment].len);
	if (copy)
		memcpy(copy, k->data, p->pack.segments[segment].len);
	pthread_mutex_unlock(&p->lock);
	return copy;
}

static uint8_t *load_from_file(struct playback *p, const struct pack_segment *s)
{
	_cleanup_free_ uint8_t *data = p->file < 0 ? NULL : malloc(s->len);

	return data && !file_pread(p->file, data, s->len, s->offset) ? steal_ptr(data) : NULL;
}

static int load_segment(void *context, const struct memory_key *key, bool background, uint8_t **data, size_t *len, struct err *e)
{
	struct playback *p = context;
	const struct pack_segment *s = &p->pack.segments[key->kind];
	_cleanup_free_ uint8_t *compressed = load_queued(p, key->kind), *pages = malloc(key->room);
	int r;

	if (!compressed)
		compressed = load_from_file(p, s);
	if (!pages || !compressed)
		return err_set(e, -ENOENT, "not there any more");
	r = pack_segment_decode(s, compressed, pages, e);
	if (r < 0)
		return r;
	*data = steal_ptr(pages);
	*len = key->room;
	return 0;
}

static int get_segment(struct playback *p, uint32_t segment, const struct memory_block **out)
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

/* ---- the sink ---- */

/* The lock is held. */
static int take_head(struct playback *p, struct pack *pack)
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

static int on_head(void *context, struct pack *pack, const void *bytes, const struct pack **kept)
{
	struct streamer *s = context;
	struct playback *p = s->playback;
	int r;

	if (p->file >= 0 && file_pwrite(p->file, bytes, pack->head_len, 0) < 0)
		p->broken = true;
	pthread_mutex_lock(&p->lock);
	r = take_head(p, pack);
	for (; !r && s->end < p->pack.segment_count && p->pack.segments[s->end].offset + p->pack.segments[s->end].len <= s->limit; s->end++)
		p->states[s->end] = COMING;
	p->next = s->end;
	*kept = &p->pack;
	pthread_mutex_unlock(&p->lock);
	return r < 0 ? r : !s->end;
}

static int on_segment(void *context, uint32_t segment, uint8_t *data)
{
	struct streamer *s = context;
	struct playback *p = s->playback;
	struct packet *k;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (p->cancelled)
		r = -ECANCELED;
	else if (p->queued && p->queued + p->pack.segments[segment].len > p->queue_max)
		r = -EAGAIN;
	k = r ? NULL : malloc(sizeof(*k));
	if (!r && !k)
		r = -ENOMEM;
	if (!r) {
		*k = (struct packet){.segment = segment, .data = data};
		STAILQ_INSERT_TAIL(&p->queue, k, link);
		p->queued += p->pack.segments[segment].len;
		note_here(p, segment);
		r = segment + 1 == s->end;
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int sink(void *context, uint64_t at, const void *data, size_t len, struct err *e)
{
	struct streamer *s = context;
	uint64_t before = s->stream.at;
	int r = pack_stream_take(&s->stream, at, data, len, e);

	if (at < s->from) /* the server does not know ranges: each part would cost all that stands before it */
		s->playback->shared = false;
	pthread_mutex_lock(&s->playback->lock);
	note_bytes(s->playback, (size_t)(s->stream.at - before));
	pthread_mutex_unlock(&s->playback->lock);
	return r;
}

/* ---- streamers ---- */

/* The next run of absent segments: *from up to s->end. False: there is none. The lock is held. */
static bool claim(struct playback *p, struct streamer *s, uint32_t *from)
{
	while (p->next < p->pack.segment_count && p->states[p->next] != ABSENT)
		p->next++;
	*from = s->end = p->next;
	s->limit = p->shared && *from < p->pack.segment_count ? p->pack.segments[*from].offset + PART_BYTES : UINT64_MAX;
	while (s->end < p->pack.segment_count && p->states[s->end] == ABSENT && p->pack.segments[s->end].offset < s->limit)
		p->states[s->end++] = COMING;
	p->next = s->end;
	return s->end > *from;
}

/* What did not come is there for the next. The lock is held. */
static void give_back(struct playback *p, const struct streamer *s, uint32_t from)
{
	for (uint32_t i = from; p->known && i < s->end; i++) {
		if (p->states[i] != COMING)
			continue;
		p->states[i] = ABSENT;
		if (i < p->next)
			p->next = i;
	}
}

static const struct pack_stream_ops stream_ops = {.head = on_head, .segment = on_segment};

/* Waits until the keeper has caught up: what a server sends meanwhile is lost where it then cuts the connection. */
static void wait_for_room(struct playback *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->cancelled && p->queued > p->queue_max / 2)
		clock_cond_wait(&p->changed, &p->lock, clock_ms() + LOOK_MS);
	pthread_mutex_unlock(&p->lock);
}

/* The connection ended: a whole segment that found no room need not come again. */
static void hand_over_last(struct streamer *s)
{
	while (!s->playback->cancelled && pack_stream_take(&s->stream, s->stream.at, "", 0, NULL) == -EAGAIN)
		wait_for_room(s->playback);
}

/* Asks for one run. 0: it came; 1: there is nothing to ask for. *progress: something of it came that need not be asked for again. */
static int stream_run(struct streamer *s, bool *progress, struct err *e)
{
	struct playback *p = s->playback;
	char path[PACK_PATH_MAX];
	struct origin_request rq = {.path = path, .sink = sink, .context = s, .background = true, .once = true};
	struct origin_answer answer;
	uint64_t end = p->profile.size;
	uint32_t from = 0;
	bool known, some;
	int r;

	pthread_mutex_lock(&p->lock);
	known = p->known;
	some = !known || claim(p, s, &from);
	pthread_mutex_unlock(&p->lock);
	if (!some)
		return 1;
	pack_path(&p->profile.pack, path);
	pack_stream_init(&s->stream, &stream_ops, s, &p->profile, p->image_size, known ? &p->pack : NULL, from);
	rq.offset = s->from = s->stream.at;
	if (known) {
		end = p->pack.segments[s->end - 1].offset + p->pack.segments[s->end - 1].len;
	} else {
		s->end = 0;
		if (p->shared && end > PACK_HEAD_MAX + PART_BYTES)
			end = PACK_HEAD_MAX + PART_BYTES;
		s->limit = end;
	}
	rq.len = end - rq.offset;
	wait_for_room(p);
	r = origin_get(p->origin, &rq, &answer, e);
	if (r < 0 && r != -ECANCELED)
		hand_over_last(s);
	*progress = s->stream.segment > from || (!known && s->stream.pack);
	pack_stream_free(&s->stream);
	pthread_mutex_lock(&p->lock);
	give_back(p, s, from);
	pthread_mutex_unlock(&p->lock);
	return r;
}

/* Waits after a failure. False: it is over. */
static bool rest(struct playback *p, unsigned failures)
{
	uint64_t until = clock_ms() + ((uint64_t)PAUSE_MS << (failures <= PAUSE_DOUBLED ? failures - 1 : PAUSE_DOUBLED));
	bool go_on;

	pthread_mutex_lock(&p->lock);
	while (!p->cancelled && clock_ms() < until)
		clock_cond_wait(&p->changed, &p->lock, until);
	go_on = !p->cancelled;
	pthread_mutex_unlock(&p->lock);
	return go_on;
}

static void give_up(struct playback *p, const struct err *why)
{
	bool tell;

	pthread_mutex_lock(&p->lock);
	tell = !p->cancelled && !p->given_up[0];
	snprintf(p->given_up, sizeof(p->given_up), "%.*s", (int)sizeof(p->given_up) - 1, why->text);
	pthread_mutex_unlock(&p->lock);
	if (tell)
		log_info("the boot pack cannot be had, and single blocks are fetched instead: %s", why->text);
}

static void start_others(struct playback *p);

static void *stream(void *context)
{
	struct streamer *s = context;
	struct playback *p = s->playback;
	unsigned failures = 0, most = origin_count(p->origin) > 1 ? TRIES * STREAMERS : TRIES; /* one that fails late may be tried again first */
	bool progress = false;
	int r = 0;

	while (r != 1) {
		struct err e = ERR_INIT;

		r = stream_run(s, &progress, &e);
		start_others(p);
		if (r >= 0) {
			failures = 0;
			continue;
		}
		failures = progress ? 1 : r == -ECANCELED || r == -ENOENT ? most : failures + 1; /* nobody has it: that does not change soon */
		if (failures == most)
			give_up(p, &e);
		if (failures == most || !rest(p, failures))
			break;
	}
	pthread_mutex_lock(&p->lock);
	p->streaming--;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void start_streamer(struct playback *p, struct streamer *s)
{
	pthread_mutex_lock(&p->lock);
	if (!s->started && !p->cancelled) {
		s->started = !thread_start(&s->thread, stream, s);
		p->streaming += s->started;
	}
	pthread_mutex_unlock(&p->lock);
}

/* Once the head is here, others may bring parts, too. */
static void start_others(struct playback *p)
{
	for (size_t i = 1; p->shared && p->known && i < STREAMERS; i++)
		start_streamer(p, &p->streamers[i]);
}

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
		r = file_pread(p->file, head.data, PACK_START, 0);
	if (r < 0)
		return r;
	len = pack_head_len(head.data, e);
	if (len < 0)
		return (int)len;
	r = buf_reserve(&head, (size_t)len);
	if (!r)
		r = file_pread(p->file, head.data, (size_t)len, 0);
	if (!r)
		r = pack_open(&pack, head.data, (size_t)len, &p->profile, p->image_size, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&p->lock);
	r = take_head(p, &pack);
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

/* A whole file is believed until a segment is read; of one in parts, those that are there have to be found. */
static void look_at_file(struct playback *p)
{
	struct err e = ERR_INIT;
	int r = p->file < 0 ? -ENOENT : load_head(p, &e);

	if (r < 0 && p->file >= 0 && p->whole)
		replace_file(p);
	if (r < 0)
		return;
	for (uint32_t i = 0; i < p->pack.segment_count; i++) {
		_cleanup_free_ uint8_t *data = p->whole ? NULL : load_from_file(p, &p->pack.segments[i]);

		if (!p->whole && (!data || pack_segment_check(&p->pack.segments[i], data, &e) < 0))
			continue;
		pthread_mutex_lock(&p->lock);
		p->states[i] = KEPT;
		p->here++;
		p->written++;
		pthread_mutex_unlock(&p->lock);
	}
	if (!p->whole && p->written == p->pack.segment_count) /* who filled it was killed before it could say so */
		cache_finish_pack(p->cache, &p->profile.pack, p->profile.size);
}

/* ---- the keeper ---- */

/* Decompresses it first: those who are told of it read it at once. */
static void show(struct playback *p, uint32_t segment)
{
	const struct memory_block *block;
	uint32_t place = segment * PACK_SEGMENT_PAGES, end = place + p->pack.segments[segment].pages, run;

	if (!p->show || get_segment(p, segment, &block) < 0)
		return;
	memory_put(p->memory, block);
	for (; place < end; place += run) {
		uint64_t page = pack_page_at(&p->pack, place, &run);

		if (run > end - place)
			run = end - place;
		while (!p->cancelled && !p->show(p->context, page * PACK_PAGE, (uint64_t)run * PACK_PAGE))
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

static void *keep(void *context)
{
	struct playback *p = context;
	struct packet *k;

	bool more;

	look_at_file(p);
	pthread_mutex_lock(&p->lock);
	more = !p->known || p->here < p->pack.segment_count;
	pthread_mutex_unlock(&p->lock);
	if (more)
		start_streamer(p, &p->streamers[0]);
	pthread_mutex_lock(&p->lock);
	p->looked = true;
	pthread_mutex_unlock(&p->lock);
	if (more)
		start_others(p);
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
static bool worth_waiting(const struct playback *p, bool known, uint32_t segment, uint64_t start_ms, double worth)
{
	uint64_t now = clock_ms();
	double ms;

	if (p->cancelled || !p->started || (!p->streaming && p->looked))
		return false;
	if (!known || !p->bytes)
		return now - p->start_ms < FIRST_WAIT_MS;
	ms = expected_ms(p, segment, now);
	return p->states[segment] != LOST && ms >= 0 && ms <= worth && now - start_ms < 2 * WAIT_MOST_MS;
}

/* Waits for what `ready` tells of; false: not worth it. segment: of `known` packs. The lock is held. */
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

size_t playback_read(struct playback *p, void *buf, size_t len, uint64_t offset, size_t *from_blocks)
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
	if (!here || get_segment(p, segment, &block) < 0)
		return 0;
	memcpy(buf, block->data + skip, have);
	memory_put(p->memory, block);
	pthread_mutex_lock(&p->lock);
	p->pages_read += (have + PACK_PAGE - 1) / PACK_PAGE;
	pthread_mutex_unlock(&p->lock);
	return have;
}

/* ---- from beginning to end ---- */

int playback_open(struct playback **out, const struct profile *profile, uint64_t image_size, struct origin *origin, struct cache *cache,
	size_t memory, struct err *e)
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
	r = thread_start(&p->keeper, keep, p);
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
	pack = json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "segments", (int)p->pack.segment_count, "here", (int)p->here, "size",
		(json_int_t)p->profile.size, "bytes", (json_int_t)p->bytes, "pages_read", (json_int_t)p->pages_read, "waits",
		(json_int_t)p->waits, "waited_ms", (json_int_t)p->waited_ms, "passed_by", (json_int_t)p->passed_by);
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
