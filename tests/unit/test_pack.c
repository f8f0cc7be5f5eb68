/* Boot packs: what was put in is found again, by page and by place; a head that is wrong in any way
 * is refused with a sentence; so is a damaged segment. And packs as they come in pieces
 * (disk/pack_stream.h): any pieces give the same segments, refused ones harm nobody. */
#include "made_pack.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/pack_stream.h"
#include "format/block.h"

/* ---- the format ---- */

static int open_made(const struct made_pack *m, struct pack *p, struct err *e)
{
	return pack_open(p, m->file.data, m->head_len, &m->profile, m->size, e);
}

static void check_found(const struct made_pack *m, const struct pack *p, uint64_t page)
{
	uint32_t place = UINT32_MAX, wanted = m->place[page];
	uint64_t run, most = m->image_pages - page;
	bool found = pack_find(p, page, &place, &run);

	assert_int_equal(found, wanted != UINT32_MAX);
	assert_true(run > 0);
	if (found)
		assert_int_equal(place, wanted);
	for (uint64_t k = 0; k < run && k < most; k++)
		assert_int_equal(m->place[page + k], found ? wanted + k : UINT32_MAX);
	if (found)
		assert_true(run <= most);
	else if (run < most)
		assert_int_not_equal(m->place[page + run], UINT32_MAX);
}

static void check_place(const struct made_pack *m, const struct pack *p, uint32_t place)
{
	uint32_t run;
	uint64_t page = pack_page_at(p, place, &run);

	assert_true(run > 0 && page + run <= m->image_pages);
	for (uint32_t k = 0; k < run; k++)
		assert_int_equal(m->place[page + k], place + k);
}

static void check_segments(const struct made_pack *m, const struct pack *p)
{
	_cleanup_free_ uint8_t *pages = malloc(PACK_SEGMENT);
	uint64_t offset = m->head_len;

	for (uint32_t i = 0; i < p->segment_count; i++) {
		const struct pack_segment *s = &p->segments[i];

		assert_int_equal(s->offset, offset);
		assert_int_equal(pack_segment_decode(s, m->file.data + s->offset, pages, NULL), 0);
		for (uint32_t k = 0, run; k < s->pages; k++) {
			uint64_t page = pack_page_at(p, i * PACK_SEGMENT_PAGES + k, &run);

			assert_memory_equal(pages + (size_t)k * PACK_PAGE,
				m->image + page * PACK_PAGE, PACK_PAGE);
		}
		offset += s->len;
	}
	assert_int_equal(offset, m->file.len);
}

static void round_trips(void **state)
{
	struct random r = random_start(1);

	for (unsigned n = 0; n < 40; n++) {
		uint64_t size =
			n < 4 ? n * PACK_PAGE + 1 : 1 + random_below(&r, n % 8 ? 500000 : 6000000);
		struct made_pack m;
		struct pack p;

		made_pack(&m, &r, size, (unsigned)random_below(&r, 17));
		assert_int_equal(open_made(&m, &p, NULL), 0);
		assert_int_equal(p.pages, m.pages);
		assert_int_equal(p.size, m.file.len);
		assert_int_equal(p.head_len, m.head_len);
		assert_int_equal(pack_head_len(m.file.data, NULL), m.head_len);
		for (uint64_t page = 0; page < m.image_pages; page++)
			check_found(&m, &p, page);
		for (uint32_t place = 0; place < m.pages; place++)
			check_place(&m, &p, place);
		check_segments(&m, &p);
		pack_free(&p);
		made_pack_free(&m);
	}
}

/* Refused, with a sentence that has `why` in it; nothing is left to be freed. */
static void refused(const struct made_pack *m, size_t len, const char *why)
{
	struct pack p;
	struct err e = ERR_INIT;
	_cleanup_free_ uint8_t *exact =
		malloc(len ? len : 1); /* so that a read behind it is seen */

	memcpy(exact, m->file.data, len);
	assert_int_equal(pack_open(&p, exact, len, &m->profile, m->size, &e), -EBADMSG);
	if (!strstr(e.text, why))
		fail_msg("'%s' does not say '%s'", e.text, why);
	assert_null(p.segments);
	assert_null(p.extents);
	assert_null(p.by_page);
}

/* Wrong numbers under the right hash: whoever signs an image may be hostile, too. */
static void rename_it(struct made_pack *m)
{
	hash_of(&m->profile.pack, m->file.data, m->head_len);
}

static void set_counts(struct made_pack *m, uint32_t segments, uint32_t extents)
{
	store_le32(m->file.data + 4, segments);
	store_le32(m->file.data + 8, extents);
	rename_it(m);
}

static void wrong_heads(void **state)
{
	struct random r = {2}; /* extents that suit the cases below */
	struct made_pack m;
	struct pack_extent kept;
	struct pack_segment segment;
	struct pack p;
	uint32_t last, one;
	uint64_t page;

	made_pack(&m, &r, 3000001, 10);
	assert_true(m.segment_count > 2 && m.extent_count > 3);
	last = m.extent_count - 1;
	/* hash, length */
	for (size_t at = 0; at < m.head_len; at += 1 + random_below(&r, 40)) {
		m.file.data[at] ^= 1;
		refused(&m, m.head_len, "");
		m.file.data[at] ^= 1;
	}
	m.file.data[m.head_len - 1] ^= 1;
	refused(&m, m.head_len, "another hash");
	m.file.data[m.head_len - 1] ^= 1;
	refused(&m, 0, "cut off");
	refused(&m, PACK_START - 1, "cut off");
	refused(&m, m.head_len - 1, "instead of");
	refused(&m, m.head_len + 1, "instead of");
	m.file.data[3] = '2';
	rename_it(&m);
	refused(&m, m.head_len, "not a boot pack of version 1");
	m.file.data[3] = '1';
	/* counts */
	set_counts(&m, 0, m.extent_count);
	refused(&m, m.head_len, "0 segments");
	set_counts(&m, m.segment_count, 0);
	refused(&m, m.head_len, "0 extents");
	set_counts(&m, PACK_SEGMENTS_MAX + 1, m.extent_count);
	refused(&m, m.head_len, "are possible");
	set_counts(&m, m.segment_count, PACK_EXTENTS_MAX + 1);
	refused(&m, m.head_len, "are possible");
	set_counts(&m, UINT32_MAX, UINT32_MAX);
	refused(&m, m.head_len, "are possible");
	set_counts(&m, m.segment_count, m.extent_count);
	/* extents */
	for (one = 1; m.extents[one].pages != 1; one++)
		assert_true(one < last);
	page = m.extents[one].page;
	kept = m.extents[last];
	m.extents[one].page = m.extents[0].page + m.extents[0].pages - 1;
	made_pack_again(&m);
	refused(&m, m.head_len, "overlap");
	m.extents[one].page = m.extents[0].page;
	made_pack_again(&m);
	refused(&m, m.head_len, "overlap");
	m.extents[one].page = page;
	m.extents[last] = (struct pack_extent){.page = m.image_pages, .pages = 1};
	made_pack_again(&m);
	refused(&m, m.head_len, "not in the image");
	m.extents[last] = (struct pack_extent){.page = m.image_pages - 1, .pages = 2};
	made_pack_again(&m);
	refused(&m, m.head_len, "not in the image");
	m.extents[last] = (struct pack_extent){.page = UINT64_MAX, .pages = UINT32_MAX};
	made_pack_again(&m);
	refused(&m, m.head_len, "not in the image");
	m.extents[last] = (struct pack_extent){.page = kept.page, .pages = 0};
	made_pack_again(&m);
	refused(&m, m.head_len, "not in the image");
	m.extents[last] = kept;
	/* the fill: more pages than segments, or segments without pages */
	m.extent_count -= m.extents[last].pages <= PACK_SEGMENT_PAGES;
	m.segments = realloc(m.segments, (m.segment_count + 2) * sizeof(*m.segments));
	m.segments[m.segment_count] = m.segments[m.segment_count + 1] = m.segments[0];
	m.segment_count += 2;
	made_pack_again(&m);
	refused(&m, m.head_len, "segments");
	m.segment_count -= 4;
	made_pack_again(&m);
	refused(&m, m.head_len, "more pages than fit");
	m.segment_count += 2;
	m.extent_count = last + 1;
	/* lengths */
	segment = m.segments[1];
	m.segments[1].len = 0;
	made_pack_again(&m);
	refused(&m, m.head_len, "segment 1");
	m.segments[1].len = PACK_SEGMENT_FILE_MAX + 1;
	made_pack_again(&m);
	refused(&m, m.head_len, "segment 1");
	m.segments[1].len = UINT32_MAX;
	made_pack_again(&m);
	refused(&m, m.head_len, "segment 1");
	m.segments[1].len = segment.len == 1 ? 2 : segment.len - 1;
	made_pack_again(&m);
	refused(&m, m.head_len, "segments end at");
	m.segments[1] = segment;
	made_pack_again(&m);
	m.profile.size++;
	refused(&m, m.head_len, "segments end at");
	m.profile.size -= 2;
	refused(&m, m.head_len, "segments end at");
	m.profile.size++;
	m.profile.pack.bytes[7] ^= 1;
	refused(&m, m.head_len, "another hash");
	m.profile.pack.bytes[7] ^= 1;
	/* an image that is smaller: the last page is always in the pack */
	m.size = (uint64_t)(m.image_pages - 1) * PACK_PAGE;
	refused(&m, m.head_len, "not in the image");
	m.size++;
	assert_int_equal(open_made(&m, &p, NULL), 0);
	pack_free(&p);
	made_pack_free(&m);
}

static void damaged_segments(void **state)
{
	struct random r = random_start(3);
	_cleanup_free_ uint8_t *pages = malloc(PACK_SEGMENT), *data = malloc(PACK_SEGMENT_FILE_MAX);
	struct pack_segment s;
	struct made_pack m;
	struct pack p;
	struct err e = ERR_INIT;

	made_pack(&m, &r, 2000000, 16);
	assert_int_equal(open_made(&m, &p, NULL), 0);
	s = p.segments[p.segment_count - 1];
	memcpy(data, m.file.data + s.offset, s.len);
	assert_int_equal(pack_segment_check(&s, data, &e), 0);
	for (unsigned i = 0; i < 200; i++) {
		size_t at = random_below(&r, s.len);

		data[at] ^= (uint8_t)(1 + random_below(&r, 255));
		e = (struct err)ERR_INIT;
		assert_int_equal(pack_segment_check(&s, data, &e), -EBADMSG);
		assert_int_not_equal(e.text[0], 0);
		assert_int_equal(pack_segment_decode(&s, data, pages, NULL), -EBADMSG);
		hash_of(&s.hash, data, s.len); /* a publisher who has lied: no crash, and never more
						  than the room */
		pack_segment_decode(&s, data, pages, NULL);
		s.hash = p.segments[p.segment_count - 1].hash;
		data[at] = m.file.data[s.offset + at];
	}
	s.pages--; /* another length than the frame's */
	assert_int_equal(pack_segment_decode(&s, data, pages, NULL), -EBADMSG);
	s.pages += 2;
	assert_int_equal(pack_segment_decode(&s, data, pages, NULL), -EBADMSG);
	pack_free(&p);
	made_pack_free(&m);
}

/* ---- as it comes ---- */

struct sunk { /* what a stream has given */
	const struct made_pack *made;
	struct random random;
	struct pack pack;
	bool has_head, refuses; /* now and then -EAGAIN */
	uint32_t next, end;     /* segments */
};

static int on_head(void *context, struct pack *pack, const void *bytes, const struct pack **kept)
{
	struct sunk *s = context;

	assert_false(s->has_head);
	assert_memory_equal(bytes, s->made->file.data, s->made->head_len);
	s->has_head = true;
	s->pack = *pack;
	*kept = &s->pack;
	return !s->end;
}

static int on_segment(void *context, uint32_t segment, uint8_t *data)
{
	struct sunk *s = context;

	assert_true(segment == s->next && segment < s->end);
	assert_memory_equal(data, s->made->file.data + s->pack.segments[segment].offset,
		s->pack.segments[segment].len);
	if (s->refuses && random_below(&s->random, 3))
		return -EAGAIN;
	s->next++;
	free(data);
	return s->next == s->end;
}

static const struct pack_stream_ops sunk_ops = {.head = on_head, .segment = on_segment};

/* Gives the file from byte `at` on in pieces of at most `most` bytes; what is not taken is given
 * again, and so is (again times) what was. Returns what the last call did. */
static int give(struct pack_stream *s, struct sunk *k, uint64_t at, size_t most, unsigned again)
{
	const struct buf *file = &k->made->file;
	int r = 0;

	while (!r && at < file->len) {
		size_t len =
			1 + random_below(&k->random, file->len - at < most ? file->len - at : most);
		_cleanup_free_ uint8_t *piece = malloc(len);
		struct err e = ERR_INIT;

		memcpy(piece, file->data + at, len);
		do
			r = pack_stream_take(s, at, piece, len, &e);
		while (r == -EAGAIN);
		if (r < 0)
			fail_msg("%s", e.text);
		at += len;
		if (again && !r &&
			!random_below(&k->random, 4)) { /* the transfer was begun again */
			at = random_below(&k->random, at);
			again--;
		}
	}
	return r;
}

static void any_pieces(void **state)
{
	static const size_t most[] = {1, 7, 100, 4096, 100000, 1000000};
	struct random r = random_start(4);

	for (unsigned n = 0; n < 60; n++) {
		struct made_pack m;
		struct pack_stream s;
		struct sunk k = {.made = &m, .random = {random_u64(&r)}, .refuses = n % 2};
		size_t piece = most[n % 6];
		uint32_t from;

		made_pack(&m, &r, 1 + random_below(&r, piece < 100 ? 300000 : 3000000), 12);
		k.end = random_below(&r, 4) ? m.segment_count
					    : (uint32_t)random_below(&r, m.segment_count + 1);
		pack_stream_init(&s, &sunk_ops, &k, &m.profile, m.size, NULL, 0);
		assert_int_equal(give(&s, &k, 0, piece, n % 3 ? 6 : 0), 1);
		pack_stream_free(&s);
		assert_true(k.has_head && k.next == k.end);
		/* The rest, in a stream of its own; also from a server that gives the whole. */
		from = k.end;
		if (from < m.segment_count) {
			k.end = m.segment_count;
			pack_stream_init(&s, &sunk_ops, &k, &m.profile, m.size, &k.pack, from);
			assert_int_equal(
				give(&s, &k, n % 5 ? k.pack.segments[from].offset : 0, piece, 0),
				1);
			pack_stream_free(&s);
			assert_int_equal(k.next, k.end);
		}
		pack_free(&k.pack);
		made_pack_free(&m);
	}
}

/* A piece of wrong bytes, at `bad`: the call that gets the byte says so. */
static int give_damaged(struct pack_stream *s, const struct made_pack *m, uint64_t from,
	uint64_t bad, size_t piece, struct err *e)
{
	_cleanup_free_ uint8_t *file = malloc(m->file.len);
	int r = 0;

	memcpy(file, m->file.data, m->file.len);
	file[bad] ^= 0x40;
	for (uint64_t at = from; !r && at < m->file.len; at += piece)
		r = pack_stream_take(s, at, file + at,
			m->file.len - at < piece ? (size_t)(m->file.len - at) : piece, e);
	return r;
}

/* What one mirror brings that is wrong is refused, and then another one can bring it right, into
 * the same stream. */
static void damage(void **state)
{
	struct random r = random_start(5);

	for (unsigned n = 0; n < 100; n++) {
		struct made_pack m;
		struct pack_stream s;
		struct sunk k = {.made = &m, .random = {random_u64(&r)}};
		struct err e = ERR_INIT;
		uint64_t bad;
		int got;

		made_pack(&m, &r, 1 + random_below(&r, 1500000), 12);
		k.end = m.segment_count;
		bad = random_below(&r, n % 2 ? m.head_len : m.file.len);
		pack_stream_init(&s, &sunk_ops, &k, &m.profile, m.size, NULL, 0);
		got = give_damaged(&s, &m, 0, bad, 1 + random_below(&r, 70000), &e);
		assert_int_equal(got, -EBADMSG);
		assert_int_not_equal(e.text[0], 0);
		assert_int_equal(give(&s, &k, 0, 50000, 0), 1);
		assert_int_equal(k.next, k.end);
		pack_stream_free(&s);
		pack_free(&k.pack);
		made_pack_free(&m);
	}
}

static void gaps(void **state)
{
	struct random r = random_start(6);
	struct made_pack m;
	struct pack_stream s;
	struct sunk k = {.made = &m, .random = r};
	struct err e = ERR_INIT;

	made_pack(&m, &r, 1000000, 16);
	k.end = m.segment_count;
	pack_stream_init(&s, &sunk_ops, &k, &m.profile, m.size, NULL, 0);
	assert_int_equal(pack_stream_take(&s, 1, m.file.data + 1, 100, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "missing"));
	assert_int_equal(pack_stream_take(&s, 0, m.file.data, 100, NULL), 0);
	assert_int_equal(pack_stream_take(&s, 101, m.file.data + 101, 100, NULL), -EBADMSG);
	assert_int_equal(give(&s, &k, 0, 50000, 0), 1);
	pack_stream_free(&s);
	pack_free(&k.pack);
	made_pack_free(&m);
}

static int out_of_memory(
	void *context, struct pack *pack, const void *bytes, const struct pack **kept)
{
	pack_free(pack);
	*kept = pack; /* must not be looked at */
	return -ENOMEM;
}

static void head_without_room(void **state)
{
	static const struct pack_stream_ops ops = {.head = out_of_memory};
	struct random r = random_start(7);
	struct made_pack m;
	struct pack_stream s;

	made_pack(&m, &r, 1000000, 16);
	pack_stream_init(&s, &ops, NULL, &m.profile, m.size, NULL, 0);
	assert_int_equal(pack_stream_take(&s, 0, m.file.data, m.file.len, NULL), -ENOMEM);
	assert_int_equal(pack_stream_take(&s, 0, m.file.data, m.file.len, NULL), -ENOMEM);
	pack_stream_free(&s);
	made_pack_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(wrong_heads),
		cmocka_unit_test(damaged_segments),
		cmocka_unit_test(any_pieces),
		cmocka_unit_test(damage),
		cmocka_unit_test(gaps),
		cmocka_unit_test(head_without_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
