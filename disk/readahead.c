/* Readahead: a read that begins near where a stream is continues it (one that came late and lies behind changes nothing);
 * anything else starts a new stream in place of the one that was longest unused. A stream gets as much ahead as it has read
 * already (so that at most half of what is fetched for it is in vain), in steps of half of that. */
#include "disk/readahead.h"

#include <stddef.h>

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

uint64_t readahead_note(struct readahead *r, uint64_t offset, uint64_t len, uint64_t *from)
{
	struct readahead_stream *s = find_stream(r, offset, len);
	uint64_t end = offset + len, window;

	r->clock++;
	if (!s) {
		s = oldest(r);
		*s = (struct readahead_stream){.start = offset, .next = end, .ahead = end, .used = r->clock};
		return 0;
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
