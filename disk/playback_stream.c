/* The stream of a boot pack: see playback.c. Streamers, and the sink that takes what comes. */
#include "disk/playback_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"

#define PART_BYTES (1u << 20) /* of a run where several mirrors share the work */
#define TRIES                                                                                      \
	5 /* without progress, one after the other; times STREAMERS where there are several        \
	     mirrors */
#define PAUSE_MS                                                                                   \
	250 /* after the first of them, then twice as long each time, up to PAUSE_DOUBLED times */
#define PAUSE_DOUBLED 3

/* The lock is held. */
static void note_here(struct playback *p, uint32_t segment)
{
	if (p->states[segment] == HERE || p->states[segment] == KEPT)
		return;
	p->states[segment] = HERE;
	p->here++;
	pthread_cond_broadcast(&p->changed);
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

/* ---- the sink ---- */

static int on_head(void *context, struct pack *pack, const void *bytes, const struct pack **kept)
{
	struct streamer *s = context;
	struct playback *p = s->playback;
	int r;

	if (p->file >= 0 && file_pwrite(p->file, bytes, pack->head_len, 0) < 0)
		p->broken = true;
	pthread_mutex_lock(&p->lock);
	r = playback_take_head(p, pack);
	for (; !r && s->end < p->pack.segment_count &&
		p->pack.segments[s->end].offset + p->pack.segments[s->end].len <= s->limit;
		s->end++)
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

	if (at < s->from) /* the server does not know ranges: each part would cost all that stands
			     before it */
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
	s->limit = p->shared && *from < p->pack.segment_count
			   ? p->pack.segments[*from].offset + PART_BYTES
			   : UINT64_MAX;
	while (s->end < p->pack.segment_count && p->states[s->end] == ABSENT &&
		p->pack.segments[s->end].offset < s->limit)
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

/* Waits until the keeper has caught up: what a server sends meanwhile is lost where it then cuts
 * the connection. */
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
	while (!s->playback->cancelled &&
		pack_stream_take(&s->stream, s->stream.at, "", 0, NULL) == -EAGAIN)
		wait_for_room(s->playback);
}

/* Asks for one run. 0: it came; 1: there is nothing to ask for. *progress: something of it came
 * that need not be asked for again. */
static int stream_run(struct streamer *s, bool *progress, struct err *e)
{
	struct playback *p = s->playback;
	char path[PACK_PATH_MAX];
	struct origin_request rq = {
		.path = path, .sink = sink, .context = s, .background = true, .once = true};
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
	pack_stream_init(&s->stream, &stream_ops, s, &p->profile, p->image_size,
		known ? &p->pack : NULL, from);
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
	uint64_t until =
		clock_ms() +
		((uint64_t)PAUSE_MS << (failures <= PAUSE_DOUBLED ? failures - 1 : PAUSE_DOUBLED));
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
		log_info("the boot pack cannot be had, and single blocks are fetched instead: %s",
			why->text);
}

static void start_others(struct playback *p);

static void *stream(void *context)
{
	struct streamer *s = context;
	struct playback *p = s->playback;
	unsigned failures = 0,
		 most = origin_count(p->origin) > 1
				? TRIES * STREAMERS
				: TRIES; /* one that fails late may be tried again first */
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
		failures = progress ? 1
			   : r == -ECANCELED || r == -ENOENT
				   ? most
				   : failures + 1; /* nobody has it: that does not change soon */
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

void playback_stream(struct playback *p)
{
	start_streamer(p, &p->streamers[0]);
	start_others(p);
}
