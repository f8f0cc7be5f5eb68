/* pack_open() of a head that the profile names, whatever it is, so that the checks behind the hash are reached; then every extent by page and
 * by place, the segments, and the same bytes through a stream in pieces. Input: u64le bytes of the image, then a pack. */
#include "fuzz.h"

#include <errno.h>

#include "base/bytes.h"
#include "disk/pack_stream.h"

static void check_extents(const struct pack *p, uint64_t image_size)
{
	uint32_t pages = 0;

	for (uint32_t i = 0; i < p->extent_count; i++) {
		const struct pack_extent *x = &p->extents[i];
		uint32_t place, run;
		uint64_t run_of_pages;

		require(x->pages && x->place == pages);
		require(x->page <= UINT64_MAX - x->pages && x->page + x->pages <= (image_size + PACK_PAGE - 1) / PACK_PAGE);
		require(pack_find(p, x->page, &place, &run_of_pages) && place == x->place && run_of_pages == x->pages);
		require(pack_find(p, x->page + x->pages - 1, &place, &run_of_pages) && place == x->place + x->pages - 1 && run_of_pages == 1);
		require(pack_page_at(p, x->place, &run) == x->page && run == x->pages);
		require(pack_page_at(p, x->place + x->pages - 1, &run) == x->page + x->pages - 1 && run == 1);
		if (!pack_find(p, x->page + x->pages, &place, &run_of_pages))
			require(run_of_pages > 0);
		pages += x->pages;
	}
	require(pages == p->pages);
}

static void check_segments(const struct pack *p, const uint8_t *data, size_t size)
{
	static uint8_t pages[PACK_SEGMENT];
	uint32_t count = 0;

	for (uint32_t i = 0; i < p->segment_count; i++) {
		struct pack_segment s = p->segments[i];
		struct err e = ERR_INIT;

		require(s.len && s.pages && s.pages <= PACK_SEGMENT_PAGES);
		count += s.pages;
		if (s.offset > size || s.len > size - s.offset)
			continue;
		if (pack_segment_check(&s, data + s.offset, &e) < 0)
			require(e.text[0]);
		hash_of(&s.hash, data + s.offset, s.len); /* right, for what stands there */
		if (pack_segment_decode(&s, data + s.offset, pages, &e) < 0)
			require(e.text[0]);
	}
	require(count == p->pages);
}

static int on_head(void *context, struct pack *pack, const void *bytes, const struct pack **kept)
{
	struct pack *to = context;

	*to = *pack;
	*kept = to;
	return 0;
}

static int on_segment(void *context, uint32_t segment, uint8_t *data)
{
	free(data);
	return 0;
}

static void stream(const struct profile *profile, uint64_t image_size, const uint8_t *data, size_t size)
{
	static const struct pack_stream_ops ops = {.head = on_head, .segment = on_segment};
	size_t piece = 1 + size / 7;
	struct pack pack = {0};
	struct pack_stream s;
	int r = 0;

	pack_stream_init(&s, &ops, &pack, profile, image_size, NULL, 0);
	for (size_t at = 0; !r && at < size; at += piece) {
		struct err e = ERR_INIT;

		r = pack_stream_take(&s, at, data + at, size - at < piece ? size - at : piece, &e);
		require(r >= 0 || (r == -EBADMSG && e.text[0]));
		require(s.at <= at + piece);
	}
	pack_stream_free(&s);
	pack_free(&pack);
}

/* The length that the segments' table says; the head is all there. */
static uint64_t claimed_size(const uint8_t *head, size_t len)
{
	uint64_t size = len;

	for (uint32_t i = 0, segments = load_le32(head + 4); i < segments; i++)
		size += load_le32(head + PACK_START + (size_t)i * PACK_SEGMENT_ENTRY);
	return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct profile profile = {0};
	struct err e = ERR_INIT;
	uint64_t image_size;
	struct pack pack;
	int64_t len;

	if (size < 8 + PACK_START)
		return 0;
	image_size = 1 + load_le64(data) % MANIFEST_SIZE_MAX;
	data += 8;
	size -= 8;
	len = pack_head_len(data, &e);
	require(len < 0 ? len == -EBADMSG && e.text[0] : len <= (int64_t)PACK_HEAD_MAX);
	profile.size = size;
	if (len < 0 || (uint64_t)len > size) {
		stream(&profile, image_size, data, size);
		return 0;
	}
	hash_of(&profile.pack, data, (size_t)len);
	profile.size = claimed_size(data, (size_t)len);
	if (pack_open(&pack, data, (size_t)len, &profile, image_size, &e) == 0) {
		check_extents(&pack, image_size);
		check_segments(&pack, data, size);
		pack_free(&pack);
		profile.size++;
		require(pack_open(&pack, data, (size_t)len, &profile, image_size, NULL) == -EBADMSG);
		profile.size--;
	} else {
		require(e.text[0] && !pack.segments && !pack.extents && !pack.by_page);
	}
	stream(&profile, image_size, data, size);
	profile.pack.bytes[0] ^= 1;
	require(pack_open(&pack, data, (size_t)len, &profile, image_size, NULL) == -EBADMSG);
	return 0;
}
