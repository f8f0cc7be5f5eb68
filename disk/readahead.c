/* Readahead: a read that begins near where a stream is continues it (one that came late and lies behind changes nothing);
 * anything else starts a new stream in place of the one that was longest unused. A stream gets as much ahead as it has read
 * already (so that at most half of what is fetched for it is in vain), in steps of half of that.
 *
 * A read that continues no stream may be the next of a stepper; or the third of three reads in equal steps, which make one. It gets one read
 * ahead for each, some steps before it is there. */
#include "disk/readahead.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

static struct readahead_stream *find_stream(struct readahead *r, uint64_t offset, uint64_t len)
{
	for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
		struct readahead_stream *s = &r->streams[i];

		if (s->used && offset + len + READAHEAD_SLACK > s->next && offset <= s->next + READAHEAD_SLACK &&
			offset + READAHEAD_SLACK >= s->next)
			return s;
	}
	return NULL;
}

static struct readahead_stream *oldest(struct readahead *r)
{
	struct readahead_stream *old = &r->streams[0];

	for (unsigned i = 1; i < READAHEAD_STREAMS; i++)
		if (r->streams[i].used < old->used)
			old = &r->streams[i];
	return old;
}

static struct readahead_stepper *find_stepper(struct readahead *r, uint64_t offset)
{
	for (unsigned i = 0; i < READAHEAD_STEPPERS; i++) {
		struct readahead_stepper *s = &r->steppers[i];

		if (s->used && offset == s->last + (uint64_t)s->step)
			return s;
	}
	return NULL;
}

static void add_stepper(struct readahead *r, uint64_t offset, int64_t step)
{
	struct readahead_stepper *old = &r->steppers[0];

	for (unsigned i = 1; i < READAHEAD_STEPPERS; i++)
		if (r->steppers[i].used < old->used)
			old = &r->steppers[i];
	*old = (struct readahead_stepper){.last = offset, .step = step, .used = r->clock};
}

static bool is_single(const struct readahead *r, uint64_t offset)
{
	for (unsigned i = 0; i < READAHEAD_SINGLES && i < r->single_count; i++)
		if (r->singles[i] == offset)
			return true;
	return false;
}

/* Is it the third of three in equal steps? */
static void look_for_stepper(struct readahead *r, uint64_t offset)
{
	for (unsigned i = 0; i < READAHEAD_SINGLES && i < r->single_count; i++) {
		int64_t step = (int64_t)(offset - r->singles[i]);

		if (step && llabs(step) <= READAHEAD_STEP_MOST && is_single(r, r->singles[i] - (uint64_t)step)) {
			add_stepper(r, offset, step);
			return;
		}
	}
	r->singles[r->single_count++ % READAHEAD_SINGLES] = offset;
}

/* A read that continues no stream. */
static uint64_t note_step(struct readahead *r, uint64_t offset, uint64_t len, uint64_t *from)
{
	struct readahead_stepper *s = find_stepper(r, offset);
	int64_t ahead;

	if (!s) {
		look_for_stepper(r, offset);
		return 0;
	}
	s->last = offset;
	s->used = r->clock;
	ahead = s->step * READAHEAD_STEPS_AHEAD;
	if (ahead < 0 && (uint64_t)-ahead > offset)
		return 0;
	*from = offset + (uint64_t)ahead;
	return len;
}

uint64_t readahead_note(struct readahead *r, uint64_t offset, uint64_t len, uint64_t *from)
{
	struct readahead_stream *s = find_stream(r, offset, len);
	uint64_t end = offset + len, window;

	r->clock++;
	if (!s) {
		s = oldest(r);
		*s = (struct readahead_stream){.start = offset, .next = end, .ahead = end, .used = r->clock};
		return note_step(r, offset, len, from);
	}
	s->used = r->clock;
	if (end <= s->next)
		return 0;
	s->next = end;
	if (s->ahead < end)
		s->ahead = end;
	window = end > s->start ? end - s->start : 0;
	if (window > READAHEAD_MOST)
		window = READAHEAD_MOST;
	if (window < READAHEAD_AFTER || s->ahead - end > window / 2)
		return 0;
	*from = s->ahead;
	s->ahead = end + window;
	return s->ahead - *from;
}
