/* A boot pack as it comes: see pack_stream.h. A whole part that found no room stays until it is
 * offered again: so what was taken is never needed a second time. */
#include "disk/pack_stream.h"

#include <errno.h>
#include <string.h>

void pack_stream_init(struct pack_stream *s, const struct pack_stream_ops *ops, void *context,
	const struct profile *profile, uint64_t image_size, const struct pack *pack,
	uint32_t segment)
{
	*s = (struct pack_stream){.ops = ops,
		.context = context,
		.profile = profile,
		.image_size = image_size,
		.pack = pack,
		.segment = segment};
	s->at = pack ? pack->segments[segment].offset : 0;
	s->part = (struct buf)BUF_INIT(pack ? PACK_SEGMENT_FILE_MAX : PACK_HEAD_MAX);
}

/* How many bytes the part that is being put together has; or an error. */
static int64_t part_len(const struct pack_stream *s, struct err *e)
{
	int64_t head;

	if (s->pack)
		return s->pack->segments[s->segment].len;
	head = s->part.len < PACK_START ? PACK_START : pack_head_len(s->part.data, e);
	return head < 0 || (uint64_t)head < s->profile->size
		       ? head
		       : err_set(e, -EBADMSG, "the boot pack's head is longer than the whole");
}

static int end_head(struct pack_stream *s, struct err *e)
{
	const struct pack *kept;
	struct pack pack;
	int r = pack_open(&pack, s->part.data, s->part.len, s->profile, s->image_size, e);

	if (!r)
		r = s->ops->head(s->context, &pack, s->part.data, &kept);
	if (r < 0)
		return r;
	s->pack = kept;
	buf_free(&s->part);
	s->part = (struct buf)BUF_INIT(PACK_SEGMENT_FILE_MAX);
	return r;
}

static int end_segment(struct pack_stream *s, struct err *e)
{
	int r = pack_segment_check(&s->pack->segments[s->segment], s->part.data, e);

	if (!r)
		r = s->ops->segment(s->context, s->segment, s->part.data);
	if (r < 0)
		return r;
	s->part = (struct buf)BUF_INIT(PACK_SEGMENT_FILE_MAX);
	s->segment++;
	return r || s->segment == s->pack->segment_count;
}

/* Is the part whole? Then it is handed over. */
static int end_part(struct pack_stream *s, struct err *e)
{
	int64_t len;

	if (s->pack && s->segment == s->pack->segment_count)
		return 1;
	len = part_len(s, e);
	if (len < 0)
		return (int)len;
	if (s->part.len < (uint64_t)len)
		return 0;
	return s->pack ? end_segment(s, e) : end_head(s, e);
}

static int take(struct pack_stream *s, uint64_t at, const void *data, size_t len, struct err *e)
{
	const uint8_t *from = data;
	int r = end_part(s, e);

	if (r)
		return r;
	if (at > s->at)
		return err_set(e, -EBADMSG, "a piece of the boot pack is missing");
	if (s->at - at >= len)
		return 0;
	len -= (size_t)(s->at - at);
	from += s->at - at;
	while (!r && len) {
		int64_t whole = part_len(s, e);
		size_t some;

		if (whole < 0)
			return (int)whole;
		some = (size_t)whole - s->part.len < len ? (size_t)whole - s->part.len : len;
		if (buf_append(&s->part, from, some) < 0)
			return err_set(e, -ENOMEM, "no memory for a boot pack");
		from += some;
		len -= some;
		s->at += some;
		r = end_part(s, e);
	}
	return r;
}

int pack_stream_take(void *stream, uint64_t at, const void *data, size_t len, struct err *e)
{
	struct pack_stream *s = stream;
	int r = take(s, at, data, len, e);

	if (r < 0 && r != -EAGAIN) { /* the part comes again, from elsewhere */
		s->at -= s->part.len;
		s->part.len = 0;
	}
	return r;
}

void pack_stream_free(struct pack_stream *s)
{
	buf_free(&s->part);
}
