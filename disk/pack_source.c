/* A boot pack over its image: see pack_source.h. */
#include "disk/pack_source.h"

#include <errno.h>
#include <stdlib.h>

struct pack_source {
	struct source source;
	struct source *below;
	struct playback *playback;
};

static int pack_read(struct source *source, void *buf, size_t len, uint64_t offset, struct err *e)
{
	struct pack_source *s = (struct pack_source *)source;
	uint8_t *to = buf;
	int r = 0;

	while (!r && len) {
		size_t from_blocks, n = playback_read(s->playback, to, len, offset, &from_blocks);

		if (!n) {
			n = from_blocks;
			r = source_read(s->below, to, n, offset, e);
		}
		to += n;
		offset += n;
		len -= n;
	}
	return r;
}

/* What the pack brings need not be fetched twice. */
static void pack_prefetch(struct source *source, uint64_t offset, uint64_t len)
{
	struct pack_source *s = (struct pack_source *)source;

	if (offset >= source->size)
		return;
	if (len > source->size - offset)
		len = source->size - offset;
	while (len) {
		uint64_t without, n = playback_covers(s->playback, offset, len, &without);

		if (without)
			source_prefetch(s->below, offset, without);
		n += without;
		offset += n;
		len -= n;
	}
}

static bool pack_expects(struct source *source, uint64_t offset, uint64_t len)
{
	uint64_t without;

	return playback_covers(((struct pack_source *)source)->playback, offset, len, &without) ==
	       len;
}

static int pack_extent(
	struct source *source, uint64_t offset, uint64_t len, struct extent *out, struct err *e)
{
	return source_extent(((struct pack_source *)source)->below, offset, len, out, e);
}

static void pack_status(struct source *source, json_t *out)
{
	struct pack_source *s = (struct pack_source *)source;

	playback_status(s->playback, out);
	source_status(s->below, out);
}

static void pack_cancel(struct source *source)
{
	struct pack_source *s = (struct pack_source *)source;

	playback_cancel(s->playback);
	source_cancel(s->below);
}

static void pack_close(struct source *source)
{
	struct pack_source *s = (struct pack_source *)source;

	playback_close(s->playback);
	source_close(s->below);
	free(s);
}

static const struct source_ops pack_ops = {
	.name = "pack",
	.read = pack_read,
	.prefetch = pack_prefetch,
	.expects = pack_expects,
	.extent = pack_extent,
	.status = pack_status,
	.cancel = pack_cancel,
	.close = pack_close,
};

int pack_source_open(
	struct source **out, struct source *below, struct playback *playback, struct err *e)
{
	struct pack_source *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "no memory for a boot pack");
	s->source = (struct source){.ops = &pack_ops, .size = below->size};
	s->below = below;
	s->playback = playback;
	*out = &s->source;
	return 0;
}
