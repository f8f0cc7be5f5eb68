/* Boot packs for tests: see made_pack.h. */
#include "made_pack.h"

#include "base/cleanup.h"
#include "format/block.h"

static void make_image(struct made_pack *m, struct random *r)
{
	m->image = calloc(m->image_pages, PACK_PAGE);
	assert_non_null(m->image);
	for (uint32_t i = 0; i < m->image_pages; i++) {
		uint8_t *page = m->image + (size_t)i * PACK_PAGE;

		if (i % 3 == 0)
			memset(page, (int)i, PACK_PAGE);
		else
			random_fill(r, page, PACK_PAGE);
	}
	memset(m->image + m->size, 0, (size_t)m->image_pages * PACK_PAGE - m->size);
}

/* Cuts the image into runs, takes some of them, the last one always, and shuffles those. */
static void choose_extents(struct made_pack *m, struct random *r, unsigned share)
{
	m->extents = calloc(m->image_pages, sizeof(*m->extents));
	assert_non_null(m->extents);
	for (uint32_t page = 0; page < m->image_pages;) {
		uint32_t most = m->image_pages - page,
			 run = 1 + (uint32_t)random_below(r, random_below(r, 8) ? 9 : 150);

		run = run < most ? run : most;
		if (run == most || random_below(r, 16) < share)
			m->extents[m->extent_count++] =
				(struct pack_extent){.page = page, .pages = run};
		page += run;
	}
	for (uint32_t i = m->extent_count - 1; i > 0; i--) {
		uint32_t k = (uint32_t)random_below(r, i + 1);
		struct pack_extent x = m->extents[i];

		m->extents[i] = m->extents[k];
		m->extents[k] = x;
	}
}

static void set_places(struct made_pack *m)
{
	m->place = malloc(m->image_pages * sizeof(*m->place));
	assert_non_null(m->place);
	memset(m->place, 0xff, m->image_pages * sizeof(*m->place));
	for (uint32_t i = 0; i < m->extent_count; i++) {
		m->extents[i].place = m->pages;
		for (uint32_t k = 0; k < m->extents[i].pages; k++)
			m->place[m->extents[i].page + k] = m->pages++;
	}
}

static void make_segments(struct made_pack *m, struct buf *segments)
{
	_cleanup_buf_ struct buf frame = BUF_INIT(BLOCK_FILE_MAX);
	_cleanup_free_ uint8_t *pages = malloc((size_t)m->pages * PACK_PAGE);

	assert_non_null(pages);
	for (uint32_t i = 0; i < m->image_pages; i++)
		if (m->place[i] != UINT32_MAX)
			memcpy(pages + (size_t)m->place[i] * PACK_PAGE,
				m->image + (size_t)i * PACK_PAGE, PACK_PAGE);
	m->segment_count = (m->pages + PACK_SEGMENT_PAGES - 1) / PACK_SEGMENT_PAGES;
	m->segments = calloc(m->segment_count, sizeof(*m->segments));
	for (uint32_t i = 0; i < m->segment_count; i++) {
		uint32_t first = i * PACK_SEGMENT_PAGES, count = m->pages - first;

		count = count < PACK_SEGMENT_PAGES ? count : PACK_SEGMENT_PAGES;
		assert_int_equal(block_encode(&frame, pages + (size_t)first * PACK_PAGE,
					 (size_t)count * PACK_PAGE, 1, NULL),
			0);
		m->segments[i].len = (uint32_t)frame.len;
		hash_of(&m->segments[i].hash, frame.data, frame.len);
		assert_int_equal(buf_append(segments, frame.data, frame.len), 0);
	}
}

static void name_it(struct made_pack *m)
{
	hash_of(&m->profile.pack, m->file.data, m->head_len);
	m->profile.size = m->file.len;
	m->profile.pages = m->pages;
}

void made_pack_again(struct made_pack *m)
{
	_cleanup_buf_ struct buf before = m->file;

	m->file = (struct buf)BUF_INIT(1u << 30);
	assert_int_equal(pack_head_encode(m->segments, m->segment_count, m->extents,
				 m->extent_count, &m->file, NULL),
		0);
	assert_int_equal(
		buf_append(&m->file, before.data + m->head_len, before.len - m->head_len), 0);
	m->head_len = m->file.len - (before.len - m->head_len);
	name_it(m);
}

void made_pack(struct made_pack *m, struct random *r, uint64_t size, unsigned share)
{
	_cleanup_buf_ struct buf segments = BUF_INIT(1u << 30);

	*m = (struct made_pack){.size = size,
		.image_pages = (uint32_t)((size + PACK_PAGE - 1) / PACK_PAGE),
		.file = BUF_INIT(1u << 30)};
	make_image(m, r);
	choose_extents(m, r, share);
	set_places(m);
	make_segments(m, &segments);
	assert_int_equal(pack_head_encode(m->segments, m->segment_count, m->extents,
				 m->extent_count, &m->file, NULL),
		0);
	m->head_len = m->file.len;
	assert_int_equal(buf_append(&m->file, segments.data, segments.len), 0);
	name_it(m);
}

void made_pack_free(struct made_pack *m)
{
	free(m->image);
	free(m->place);
	free(m->extents);
	free(m->segments);
	buf_free(&m->file);
}
