/* The scanner: see scanner.h.
 *
 *	slab:  [ handed out | cut ... chunk without end ... | run ... zero pages ... | scan ... part
 *of a page | fill ]
 */
#include "publish/scanner.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"

void scanner_init(struct scanner *s, const struct scanner_ops *ops, void *context)
{
	*s = (struct scanner){.ops = ops, .context = context};
}

/* A border that is not a page's lies in a page that belongs to no hole, or it would be none: so
 * what is left of that page is passed over like any that is not zero. */
void scanner_start(struct scanner *s, const struct scanner_ops *ops, void *context, uint64_t offset)
{
	scanner_init(s, ops, context);
	s->total = offset;
	s->part = (size_t)(-offset % SCANNER_PAGE);
}

int scanner_room(struct scanner *s, uint8_t **at, size_t *room, struct err *e)
{
	if (!s->slab || s->fill == SCANNER_SLAB) {
		size_t tail =
			s->fill - s->cut; /* at most SCANNER_TAIL_MAX, so the new slab has room */
		uint8_t *slab =
			s->ops->slab(s->context, s->slab ? s->slab + s->cut : NULL, tail, e);

		if (!slab)
			return e && e->code ? e->code : -ENOMEM;
		s->slab = slab;
		s->fill = tail;
		s->scan -= s->cut;
		s->run -= s->cut;
		s->cut = 0;
	}
	*at = s->slab + s->fill;
	*room = SCANNER_SLAB - s->fill;
	return 0;
}

/* Hands out chunks that start before `end`. final: no chunk reaches past end. Otherwise only those
 * whose end cannot depend on what comes behind it. */
static int cut_chunks(struct scanner *s, size_t end, bool final, struct err *e)
{
	while (s->cut < end && (final || end - s->cut >= CHUNK_MAX)) {
		size_t left = end - s->cut;
		size_t len = chunker_cut(s->slab + s->cut, left < CHUNK_MAX ? left : CHUNK_MAX);
		int r = s->ops->piece(s->context, s->slab + s->cut, len, e);

		if (r < 0)
			return r;
		s->cut += len;
	}
	return 0;
}

static int close_hole(struct scanner *s, struct err *e)
{
	uint64_t len = s->hole;

	if (!s->in_hole)
		return 0;
	s->in_hole = false;
	s->hole = 0;
	return s->ops->piece(s->context, NULL, len, e);
}

static int scan_page(struct scanner *s, size_t len, struct err *e)
{
	bool zero = file_all_zero(s->slab + s->scan, len);
	int r = 0;

	if (!zero)
		r = close_hole(s, e);
	s->scan += len;
	if (!zero) {
		s->run = s->scan;
	} else if (s->in_hole) {
		s->hole += len;
		s->cut = s->run = s->scan;
	} else if (s->scan - s->run >= CHUNK_MIN) {
		r = cut_chunks(s, s->run, true, e);
		s->in_hole = true;
		s->hole = s->scan - s->run;
		s->cut = s->run = s->scan;
	}
	return r;
}

int scanner_fed(struct scanner *s, size_t len, struct err *e)
{
	int r = 0;

	s->fill += len;
	s->total += len;
	if (s->fill < s->part)
		return 0;
	if (s->part) {
		s->scan = s->run = s->part;
		s->part = 0;
	}
	while (!r && s->fill - s->scan >= SCANNER_PAGE)
		r = scan_page(s, SCANNER_PAGE, e);
	return r < 0 ? r : cut_chunks(s, s->run, false, e);
}

static int feed_zeros(struct scanner *s, uint64_t len, struct err *e)
{
	while (len) {
		uint8_t *at;
		size_t room;
		int r = scanner_room(s, &at, &room, e);

		if (r < 0)
			return r;
		if (room > len)
			room = (size_t)len;
		memset(at, 0, room);
		len -= room;
		r = scanner_fed(s, room, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int scanner_zeros(struct scanner *s, uint64_t len, struct err *e)
{
	/* After so many zeros scan stands in a hole, with nothing read behind it. */
	uint64_t first = (SCANNER_PAGE - s->total % SCANNER_PAGE) % SCANNER_PAGE + CHUNK_MIN;
	uint64_t whole;
	int r = feed_zeros(s, len < first ? len : first, e);

	if (r < 0 || len <= first)
		return r;
	len -= first;
	whole = len - len % SCANNER_PAGE;
	s->hole += whole;
	s->total += whole;
	return feed_zeros(s, len - whole, e);
}

int scanner_end(struct scanner *s, struct err *e)
{
	int r = 0;

	if (s->fill > s->scan)
		r = scan_page(s, s->fill - s->scan, e);
	if (!r && s->fill > s->cut)
		r = cut_chunks(s, s->fill, true, e);
	return r < 0 ? r : close_hole(s, e);
}
