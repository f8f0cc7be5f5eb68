/* Scanning what changed: see rescan.h. A queue holds the old entries from the last border that the new scan has made up to where it
 * has been fed: when the two meet, those behind the meeting place are looked at again, now as ones to be kept. */
#include "publish/rescan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct scan {
	const struct rescan_source *from;
	const struct rescan_sink *to;
	struct rescan_stats *stats;
	struct index_entry *queue; /* owned */
	size_t first, count, room; /* entries queue[first] and behind it */
	uint64_t queue_start;      /* where the first of them begins on the disk */
	struct rescan_range
		change;  /* the one that is fed, or the next one; start UINT64_MAX: there is none */
	uint64_t last;   /* end of the last change of which something was fed */
	size_t fed;      /* entries of the queue that were fed */
	uint64_t at;     /* bytes fed */
	uint64_t border; /* the new scan's last */
	bool met;        /* that is an old one as well, from which on nothing differs */
	struct scanner scanner;
};

static int next_change(struct scan *s, uint64_t from, struct err *e)
{
	int r = s->from->change(s->from->context, from, &s->change, e);

	if (!r)
		s->change = (struct rescan_range){.start = UINT64_MAX, .end = UINT64_MAX};
	return r < 0 ? r : 0;
}

/* Makes sure that the queue has more than `n` entries. 1; 0: there are no more. */
static int fill_queue(struct scan *s, size_t n, struct err *e)
{
	int r;

	if (n < s->count)
		return 1;
	if (s->first + s->count == s->room && s->first) {
		memmove(s->queue, s->queue + s->first, s->count * sizeof(*s->queue));
		s->first = 0;
	}
	if (s->first + s->count == s->room) {
		size_t room = s->room ? s->room * 2 : 64;
		struct index_entry *queue = reallocarray(s->queue, room, sizeof(*queue));

		if (!queue)
			return err_set(e, -ENOMEM, "no memory for a list of chunks");
		s->queue = queue;
		s->room = room;
	}
	r = s->from->entry(s->from->context, &s->queue[s->first + s->count], e);
	s->count += r > 0;
	return r;
}

static void drop_first(struct scan *s)
{
	s->queue_start += s->queue[s->first].length;
	s->first++;
	s->count--;
	if (s->fed)
		s->fed--;
}

static bool before_change(const struct scan *s, uint64_t end)
{
	return end <= s->change.start && s->change.start - end >= RESCAN_MARGIN;
}

/* The new scan's pieces. */
static int on_piece(void *context, const uint8_t *data, uint64_t len, struct err *e)
{
	struct scan *s = context;
	int r;

	if (s->met) /* what was fed ahead: it is kept, or scanned again */
		return 0;
	r = s->to->ops->piece(s->to->context, data, len, e);
	s->border += len;
	while (s->count && s->queue_start + s->queue[s->first].length <= s->border)
		drop_first(s);
	s->met = s->border == s->queue_start && s->border >= s->last && before_change(s, s->border);
	return r;
}

static uint8_t *on_slab(void *context, const uint8_t *tail, size_t len, struct err *e)
{
	struct scan *s = context;

	return s->to->ops->slab(s->to->context, tail, len, e);
}

/* Feeds len bytes, changed ones or (skip bytes behind its beginning) ones of an old entry. */
static int feed(struct scan *s, const struct index_entry *entry, bool changed, uint64_t skip,
	uint64_t len, struct err *e)
{
	int r = 0;

	if (changed ? s->change.zeros : hash_is_hole(&entry->hash))
		return scanner_zeros(&s->scanner, len, e);
	for (uint64_t done = 0, n; !r && done < len && !s->met; done += n) {
		uint8_t *to;
		size_t room;

		r = scanner_room(&s->scanner, &to, &room, e);
		if (r < 0)
			return r;
		n = room < len - done ? room : len - done;
		r = changed ? s->from->read_new(s->from->context, to, n, s->at + done, e)
			    : s->from->read_old(s->from->context, entry, skip + done, to, n, e);
		if (!r)
			r = scanner_fed(&s->scanner, n, e);
		s->stats->scanned += n;
		s->stats->changed += changed ? n : 0;
	}
	return r;
}

static int feed_entry(struct scan *s, const struct index_entry *entry, struct err *e)
{
	uint64_t start = s->at, end = start + entry->length;
	int r = 0;

	while (!r && s->at < end && !s->met) {
		bool changed = s->change.start <= s->at;
		uint64_t stop = changed ? s->change.end : s->change.start;

		if (stop > end)
			stop = end;
		if (changed)
			s->last = s->change.end;
		r = feed(s, entry, changed, s->at - start, stop - s->at, e);
		s->at = stop;
		if (!r && s->at >= s->change.end)
			r = next_change(s, s->at, e);
	}
	return r;
}

/* Scans from the queue's beginning until old and new meet. 1; 0: the disk ended before. */
static int scan_change(struct scan *s, struct err *e)
{
	static const struct scanner_ops ops = {.piece = on_piece, .slab = on_slab};
	int r = 0;

	scanner_start(&s->scanner, &ops, s, s->queue_start);
	s->at = s->border = s->queue_start;
	s->last = s->fed = 0;
	s->met = false;
	while (!s->met) {
		struct index_entry entry;

		r = fill_queue(s, s->fed, e);
		if (!r)
			r = scanner_end(&s->scanner, e); /* in its last pieces they may meet, too */
		if (s->fed == s->count)
			break;
		entry = s->queue[s->first + s->fed++];
		r = feed_entry(s, &entry, e);
		if (r < 0)
			break;
	}
	return r < 0 ? r : s->met;
}

static int run(struct scan *s, struct err *e)
{
	int r = next_change(s, 0, e);

	while (!r) {
		r = fill_queue(s, 0, e);
		if (r <= 0)
			return r;
		if (before_change(s, s->queue_start + s->queue[s->first].length)) {
			struct index_entry entry = s->queue[s->first];

			drop_first(s);
			r = s->to->keep(s->to->context, &entry, e);
		} else {
			r = scan_change(s, e);
			if (!r)
				return 0;
			r = r < 0 ? r : 0;
		}
	}
	return r;
}

int rescan(const struct rescan_source *from, const struct rescan_sink *to,
	struct rescan_stats *stats, struct err *e)
{
	struct scan s = {.from = from, .to = to, .stats = stats};
	int r;

	*stats = (struct rescan_stats){0};
	r = run(&s, e);
	free(s.queue);
	return r;
}
