/* Boot packs: see pack.h. */
#include "format/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "format/block.h"

static const uint8_t magic[4] = {'I', 'B', 'P', '1'};

void pack_path(const struct hash *name, char out[PACK_PATH_MAX])
{
	static const char folder[] = "packs/";

	memcpy(out, folder, sizeof(folder) - 1);
	hex_encode(out + sizeof(folder) - 1, name->bytes, HASH_LEN);
}

static uint32_t segments_for(uint32_t pages)
{
	return (pages + PACK_SEGMENT_PAGES - 1) / PACK_SEGMENT_PAGES;
}

int64_t pack_head_len(const void *start, struct err *e)
{
	const uint8_t *p = start;
	uint32_t segments, extents;

	if (memcmp(p, magic, sizeof(magic)) != 0)
		return err_set(e, -EBADMSG, "not a boot pack of version 1");
	segments = load_le32(p + 4);
	extents = load_le32(p + 8);
	if (!segments || segments > PACK_SEGMENTS_MAX || !extents || extents > PACK_EXTENTS_MAX)
		return err_set(e, -EBADMSG,
			"a boot pack of %u segments and %u extents: 1 to %u and 1 to %u are "
			"possible",
			segments, extents, PACK_SEGMENTS_MAX, PACK_EXTENTS_MAX);
	return PACK_START + (int64_t)segments * PACK_SEGMENT_ENTRY +
	       (int64_t)extents * PACK_EXTENT_ENTRY;
}

static int read_extents(struct pack *p, const uint8_t *at, uint64_t image_pages, struct err *e)
{
	const uint32_t most = p->segment_count * PACK_SEGMENT_PAGES;

	for (uint32_t i = 0; i < p->extent_count; i++, at += PACK_EXTENT_ENTRY) {
		struct pack_extent *x = &p->extents[i];

		*x = (struct pack_extent){
			.page = load_le64(at), .pages = load_le32(at + 8), .place = p->pages};
		if (!x->pages || x->page >= image_pages || x->pages > image_pages - x->page)
			return err_set(
				e, -EBADMSG, "extent %u of the boot pack is not in the image", i);
		if (x->pages > most - p->pages)
			return err_set(e, -EBADMSG,
				"the boot pack has more pages than fit into %u segments",
				p->segment_count);
		p->pages += x->pages;
	}
	if (segments_for(p->pages) != p->segment_count)
		return err_set(e, -EBADMSG, "the boot pack has %u pages in %u segments", p->pages,
			p->segment_count);
	return 0;
}

static int read_segments(struct pack *p, const uint8_t *at, struct err *e)
{
	uint64_t offset = p->head_len;

	for (uint32_t i = 0; i < p->segment_count; i++, at += PACK_SEGMENT_ENTRY) {
		struct pack_segment *s = &p->segments[i];
		uint32_t before = i * PACK_SEGMENT_PAGES, left = p->pages - before;

		s->offset = offset;
		s->len = load_le32(at);
		s->pages = left < PACK_SEGMENT_PAGES ? left : PACK_SEGMENT_PAGES;
		memcpy(s->hash.bytes, at + 4, HASH_LEN);
		if (!s->len || s->len > PACK_SEGMENT_FILE_MAX)
			return err_set(e, -EBADMSG,
				"segment %u of the boot pack has %u bytes: 1 to %u are possible", i,
				s->len, PACK_SEGMENT_FILE_MAX);
		offset += s->len;
	}
	if (offset != p->size)
		return err_set(e, -EBADMSG,
			"the boot pack's segments end at byte %llu, and the file at %llu",
			(unsigned long long)offset, (unsigned long long)p->size);
	return 0;
}

static int compare_pages(const void *a, const void *b, void *extents)
{
	const struct pack_extent *x = (const struct pack_extent *)extents + *(const uint32_t *)a,
				 *y = (const struct pack_extent *)extents + *(const uint32_t *)b;

	return x->page < y->page ? -1 : x->page > y->page;
}

static int sort_extents(struct pack *p, struct err *e)
{
	for (uint32_t i = 0; i < p->extent_count; i++)
		p->by_page[i] = i;
	qsort_r(p->by_page, p->extent_count, sizeof(*p->by_page), compare_pages, p->extents);
	for (uint32_t i = 1; i < p->extent_count; i++) {
		const struct pack_extent *before = &p->extents[p->by_page[i - 1]];

		if (p->extents[p->by_page[i]].page - before->page < before->pages)
			return err_set(e, -EBADMSG, "two extents of the boot pack overlap");
	}
	return 0;
}

static int read_tables(struct pack *p, const uint8_t *head, uint64_t image_size, struct err *e)
{
	const uint8_t *segments = head + PACK_START,
		      *extents = segments + (size_t)p->segment_count * PACK_SEGMENT_ENTRY;
	int r;

	p->segments = calloc(p->segment_count, sizeof(*p->segments));
	p->extents = calloc(p->extent_count, sizeof(*p->extents));
	p->by_page = calloc(p->extent_count, sizeof(*p->by_page));
	if (!p->segments || !p->extents || !p->by_page)
		return err_set(e, -ENOMEM, "no memory for a boot pack");
	r = read_extents(p, extents, (image_size + PACK_PAGE - 1) / PACK_PAGE, e);
	if (!r)
		r = read_segments(p, segments, e);
	return r < 0 ? r : sort_extents(p, e);
}

int pack_open(struct pack *out, const void *head, size_t len, const struct profile *profile,
	uint64_t image_size, struct err *e)
{
	const uint8_t *bytes = head;
	struct hash found;
	int64_t head_len;
	int r;

	*out = (struct pack){0};
	head_len = len < PACK_START ? err_set(e, -EBADMSG, "the boot pack is cut off")
				    : pack_head_len(head, e);
	if (head_len < 0)
		return (int)head_len;
	if ((uint64_t)head_len != len)
		return err_set(e, -EBADMSG, "the boot pack's head has %zu bytes instead of %lld",
			len, (long long)head_len);
	hash_of(&found, head, len);
	if (!hash_equal(&found, &profile->pack))
		return err_set(e, -EBADMSG,
			"the boot pack's head has another hash than the manifest says");
	*out = (struct pack){.segment_count = load_le32(bytes + 4),
		.extent_count = load_le32(bytes + 8),
		.head_len = len,
		.size = profile->size};
	r = read_tables(out, head, image_size, e);
	if (r < 0)
		pack_free(out);
	return r;
}

/* How many extents, by page, begin at or before a page. */
static uint32_t extents_up_to(const struct pack *p, uint64_t page)
{
	uint32_t low = 0, high = p->extent_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (p->extents[p->by_page[middle]].page <= page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool pack_find(const struct pack *p, uint64_t page, uint32_t *place, uint64_t *run)
{
	uint32_t n = extents_up_to(p, page);
	const struct pack_extent *x = n ? &p->extents[p->by_page[n - 1]] : NULL;

	if (x && page - x->page < x->pages) {
		*place = x->place + (uint32_t)(page - x->page);
		*run = x->pages - (page - x->page);
		return true;
	}
	*run = n < p->extent_count ? p->extents[p->by_page[n]].page - page : UINT64_MAX - page;
	return false;
}

uint32_t pack_extent_at(const struct pack_extent *extents, uint32_t count, uint32_t place)
{
	uint32_t low = 0, high = count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (extents[middle].place <= place)
			low = middle;
		else
			high = middle;
	}
	return low;
}

uint64_t pack_page_at(const struct pack *p, uint32_t place, uint32_t *run)
{
	const struct pack_extent *x =
		&p->extents[pack_extent_at(p->extents, p->extent_count, place)];

	*run = x->pages - (place - x->place);
	return x->page + (place - x->place);
}

int pack_segment_check(const struct pack_segment *s, const void *data, struct err *e)
{
	struct hash found;

	hash_of(&found, data, s->len);
	return hash_equal(&found, &s->hash)
		       ? 0
		       : err_set(e, -EBADMSG,
				 "a segment of the boot pack has another hash than its head says");
}

int pack_segment_decode(const struct pack_segment *s, const void *data, void *out, struct err *e)
{
	int r = pack_segment_check(s, data, e);

	return r < 0 ? r : block_unpack(out, (size_t)s->pages * PACK_PAGE, data, s->len, e);
}

int pack_head_encode(const struct pack_segment *segments, uint32_t segment_count,
	const struct pack_extent *extents, uint32_t extent_count, struct buf *out, struct err *e)
{
	uint8_t entry[PACK_SEGMENT_ENTRY];
	int r;

	memcpy(entry, magic, sizeof(magic));
	store_le32(entry + 4, segment_count);
	store_le32(entry + 8, extent_count);
	r = buf_append(out, entry, PACK_START);
	for (uint32_t i = 0; !r && i < segment_count; i++) {
		store_le32(entry, segments[i].len);
		memcpy(entry + 4, segments[i].hash.bytes, HASH_LEN);
		r = buf_append(out, entry, PACK_SEGMENT_ENTRY);
	}
	for (uint32_t i = 0; !r && i < extent_count; i++) {
		store_le64(entry, extents[i].page);
		store_le32(entry + 8, extents[i].pages);
		r = buf_append(out, entry, PACK_EXTENT_ENTRY);
	}
	return r < 0 ? err_set(e, r, "no room for the head of a boot pack") : 0;
}

void pack_free(struct pack *p)
{
	free(p->segments);
	free(p->extents);
	free(p->by_page);
	*p = (struct pack){0};
}
