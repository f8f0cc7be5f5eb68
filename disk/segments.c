/* Numbered segments in memory: see segments.h. */
#include "disk/segments.h"

#include <string.h>

static struct memory_key key_of(const struct segments *s, uint64_t number)
{
	uint64_t left = s->size - number * s->segment;
	struct memory_key key = {.span = number, .room = left < s->segment ? (uint32_t)left : s->segment};

	memcpy(key.hash.bytes, &number, sizeof(number));
	return key;
}

int segments_open(struct segments *s, uint64_t size, uint32_t segment, size_t memory_limit, unsigned threads,
	memory_loader load, void *context, struct err *e)
{
	s->size = size;
	s->segment = segment;
	return memory_open(&s->memory, memory_limit, threads, load, context, e);
}

static void want(struct segments *s, uint64_t from, uint64_t end, bool background)
{
	for (uint64_t n = from; n * s->segment < end; n++) {
		struct memory_key key = key_of(s, n);

		if (!memory_want(s->memory, &key, background))
			return; /* no room for it now */
	}
}

int segments_read(struct segments *s, void *buf, size_t len, uint64_t offset, struct err *e)
{
	uint8_t *to = buf;

	want(s, offset / s->segment + 1, offset + len, false);
	while (len) {
		struct memory_key key = key_of(s, offset / s->segment);
		uint32_t skip = (uint32_t)(offset % s->segment);
		size_t part = key.room - skip < len ? key.room - skip : len;
		const struct memory_block *block;
		int r = memory_get(s->memory, &key, &block, e);

		if (r < 0)
			return r;
		memcpy(to, block->data + skip, part);
		memory_put(s->memory, block);
		to += part;
		offset += part;
		len -= part;
	}
	return 0;
}

void segments_prefetch(struct segments *s, uint64_t offset, uint64_t len)
{
	want(s, offset / s->segment, offset + len, true);
}

void segments_close(struct segments *s)
{
	if (s->memory)
		memory_close(s->memory);
	s->memory = NULL;
}
