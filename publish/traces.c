/* Merging traces: see traces.h. All pages that occur are sorted; a page's number in that order
 * stands for it in a linked list, into which one trace after the other puts those that are not
 * there yet. */
#include "publish/traces.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define END UINT32_MAX

/* ---- reading ---- */

struct lines {
	const char *at, *end;
	unsigned number;
};

/* The next line, without its end, copied to `out`. 0: there is none; -EINVAL: it is longer, or has
 * a zero in it. */
static int next_line(struct lines *l, char out[512])
{
	const char *stop = l->at < l->end ? memchr(l->at, '\n', (size_t)(l->end - l->at)) : NULL;
	size_t len;

	if (!stop) /* a last line without an end was cut off when its writer died */
		return 0;
	len = (size_t)(stop - l->at);
	l->number++;
	if (len > 511 || memchr(l->at, 0, len))
		return -EINVAL;
	memcpy(out, l->at, len);
	out[len] = 0;
	l->at = stop + 1;
	return 1;
}

static int parse_head(struct trace_file *t, const char *line)
{
	char name[LINK_NAME_MAX + 2], version[24], root[HASH_HEX_MAX + 1], size[24], more;

	_Static_assert(LINK_NAME_MAX + 1 >= 64, "the width below");
	if (sscanf(line, "image %64s %22s %65s %22s%c", name, version, root, size, &more) != 4 ||
		!link_name_valid(name))
		return -EINVAL;
	memcpy(t->name, name, strlen(name) + 1);
	if (text_to_u64(version, &t->version) < 0 ||
		hex_decode(t->root.bytes, HASH_LEN, root, strlen(root)) < 0 ||
		text_to_u64(size, &t->size) < 0)
		return -EINVAL;
	return t->size && t->size <= MANIFEST_SIZE_MAX ? 0 : -EINVAL;
}

static int add_pages(struct trace_file *t, const char *line, size_t *room, struct err *e)
{
	uint64_t ms, page, pages, all = (t->size + PACK_PAGE - 1) / PACK_PAGE;
	char more;

	if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 "%c", &ms, &page, &pages, &more) != 3 ||
		strchr(line, '-') || !pages || page >= all || pages > all - page)
		return -EINVAL;
	if (pages > TRACE_PAGES_MAX - t->count)
		return err_set(e, -EFBIG,
			"more than %u MB are read in it: a boot pack is for what a start needs",
			TRACE_PAGES_MAX / 256);
	if (t->count + pages > *room) {
		size_t want = t->count + pages > 2 * *room ? t->count + pages : 2 * *room;
		uint64_t *grown = reallocarray(t->pages, want, sizeof(*grown));

		if (!grown)
			return err_set(e, -ENOMEM, "no memory for a trace");
		t->pages = grown;
		*room = want;
	}
	while (pages--)
		t->pages[t->count++] = page++;
	return 0;
}

static int parse_lines(struct trace_file *t, struct lines *l, struct err *e)
{
	char line[512];
	size_t room = 0;
	int r = next_line(l, line);

	if (r <= 0 || strcmp(line, "inetboot-trace 1") != 0)
		return err_set(e, -EINVAL, "not a trace of `--record`");
	r = next_line(l, line);
	if (r <= 0 || parse_head(t, line) < 0)
		return err_set(e, -EINVAL, "line 2 does not tell which image it is of");
	while ((r = next_line(l, line)) > 0) {
		r = add_pages(t, line, &room, e);
		if (r == -EFBIG || r == -ENOMEM)
			return r;
		if (r < 0)
			break;
	}
	return r < 0 ? err_set(e, r, "line %u is none of a trace", l->number) : 0;
}

int trace_parse(struct trace_file *out, const char *text, size_t len, struct err *e)
{
	struct lines l = {.at = text, .end = text + len};
	int r;

	*out = (struct trace_file){0};
	r = parse_lines(out, &l, e);
	if (r < 0)
		trace_file_free(out);
	return r;
}

void trace_file_free(struct trace_file *t)
{
	free(t->pages);
	*t = (struct trace_file){0};
}

/* ---- merging ---- */

struct item { /* a page */
	uint64_t page;
	uint32_t next;   /* in the order of use; END: none */
	uint32_t traces; /* that have it */
	uint32_t last;   /* the last of them, from 1 on */
	bool listed;
};

struct merge {
	struct item *items; /* by page */
	size_t count;
	uint32_t first;
};

static int by_page(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return x->page < y->page ? -1 : x->page > y->page;
}

static uint32_t find(const struct merge *m, uint64_t page)
{
	struct item key = {.page = page};
	const struct item *found = bsearch(&key, m->items, m->count, sizeof(key), by_page);

	return (uint32_t)(found - m->items);
}

static int collect(struct merge *m, const struct trace_file *traces, size_t count, struct err *e)
{
	size_t all = 0, kept = 0;

	for (size_t i = 0; i < count; i++)
		all += traces[i].count;
	m->items = calloc(all ? all : 1, sizeof(*m->items));
	if (!m->items)
		return err_set(e, -ENOMEM, "no memory to merge traces");
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < traces[i].count; k++)
			m->items[m->count++].page = traces[i].pages[k];
	qsort(m->items, m->count, sizeof(*m->items), by_page);
	for (size_t i = 0; i < m->count; i++)
		if (!i || m->items[i].page != m->items[kept - 1].page)
			m->items[kept++] = m->items[i];
	m->count = kept;
	return 0;
}

static void count_traces(struct merge *m, const struct trace_file *traces, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < traces[i].count; k++) {
			struct item *item = &m->items[find(m, traces[i].pages[k])];

			item->traces += item->last != i + 1;
			item->last = (uint32_t)i + 1;
		}
}

static void put_in(struct merge *m, const struct trace_file *t, size_t least)
{
	uint32_t before = END;

	for (size_t k = 0; k < t->count; k++) {
		uint32_t n = find(m, t->pages[k]),
			 *link = before == END ? &m->first : &m->items[before].next;
		struct item *item = &m->items[n];

		if (item->traces < least)
			continue;
		if (!item->listed) {
			item->next = *link;
			*link = n;
			item->listed = true;
		}
		before = n;
	}
}

static int make_extents(
	const struct merge *m, struct pack_extent **extents, uint32_t *count, struct err *e)
{
	_cleanup_free_ struct pack_extent *list = calloc(PACK_EXTENTS_MAX, sizeof(*list));
	uint32_t n = 0, place = 0;

	if (!list)
		return err_set(e, -ENOMEM, "no memory to merge traces");
	for (uint32_t i = m->first; i != END; i = m->items[i].next, place++) {
		if (place == TRACE_PAGES_MAX)
			return err_set(e, -EFBIG,
				"more than %u MB are read in them: a boot pack is for what a start "
				"needs",
				TRACE_PAGES_MAX / 256);
		if (n && m->items[i].page == list[n - 1].page + list[n - 1].pages) {
			list[n - 1].pages++;
			continue;
		}
		if (n == PACK_EXTENTS_MAX)
			return err_set(e, -EFBIG,
				"their pages lie in more than %u places: a boot pack is for what a "
				"start needs",
				PACK_EXTENTS_MAX);
		list[n++] =
			(struct pack_extent){.page = m->items[i].page, .pages = 1, .place = place};
	}
	if (!n)
		return err_set(
			e, -ENODATA, "nothing is left of the traces that a boot pack could hold");
	*extents = steal_ptr(list);
	*count = n;
	return 0;
}

int traces_merge(const struct trace_file *traces, size_t count, size_t least,
	struct pack_extent **extents, uint32_t *extent_count, struct err *e)
{
	struct merge m = {.first = END};
	int r = collect(&m, traces, count, e);

	if (!r) {
		count_traces(&m, traces, count);
		for (size_t i = 0; i < count; i++)
			put_in(&m, &traces[i], least);
		r = make_extents(&m, extents, extent_count, e);
	}
	free(m.items);
	return r;
}
