/* Readahead: a read that begins near where a stream is continues it; anything else starts a new stream in place of the one
 * that was longest unused. From its second read on a stream gets a window, which doubles each time half of it is used up. */
#include "disk/readahead.h"

#include <stddef.h>

static struct readahead_stream *find_stream(struct readahead *r, uint64_t offset, uint64_t len)
{
	for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
		struct readahead_stream *s = &r->streams[i];

		if (s->used && offset + len > s->next && offset <= s->next + READAHEAD_SLACK &&
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
	uint64_t end = offset + len, target;

	r->clock++;
	if (!s) {
		s = oldest(r);
		*s = (struct readahead_stream){.next = end, .ahead = end, .used = r->clock};
		return 0;
	}
	s->used = r->clock;
	s->next = end;
	if (s->ahead < end)
		s->ahead = end;
	if (s->window && s->ahead - end > s->window / 2)
		return 0;
	s->window = s->window ? s->window * 2 : READAHEAD_FIRST;
	if (s->window > READAHEAD_MOST)
		s->window = READAHEAD_MOST;
	target = end + s->window;
	if (target <= s->ahead)
		return 0;
	*from = s->ahead;
	s->ahead = target;
	return target - *from;
}
