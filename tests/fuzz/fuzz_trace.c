/* trace_parse(), of the whole and of both halves of the lines; traces_merge() of what can be read. */
#include "fuzz.h"

#include <errno.h>

#include "publish/traces.h"

#define MERGED_MOST 20000 /* pages: merging more is slow, and nothing else */

static bool parse(struct trace_file *t, const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	int r = trace_parse(t, (const char *)data, size, &e);

	if (r < 0) {
		require((r == -EINVAL || r == -EFBIG) && e.text[0] && !t->pages && !t->count);
		return false;
	}
	require(link_name_valid(t->name) && t->size && t->count <= TRACE_PAGES_MAX);
	for (size_t i = 0; i < t->count; i++)
		require(t->pages[i] <= (t->size - 1) / PACK_PAGE);
	return true;
}

static void merge(const struct trace_file *traces, size_t count, size_t least)
{
	struct pack_extent *extents = NULL;
	uint32_t extent_count = 0, place = 0;
	struct err e = ERR_INIT;
	int r = traces_merge(traces, count, least, &extents, &extent_count, &e);

	require(r == 0 ? extent_count > 0 : (r == -ENODATA || r == -EFBIG) && e.text[0] && !extents);
	for (uint32_t i = 0; i < extent_count; i++) {
		require(extents[i].pages && extents[i].place == place);
		require(!i || extents[i].page != extents[i - 1].page + extents[i - 1].pages);
		place += extents[i].pages;
	}
	require(place <= traces[0].count + (count > 1 ? traces[1].count : 0));
	free(extents);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace_file t[2] = {0};

	if (parse(&t[0], data, size) && t[0].count < MERGED_MOST) {
		parse(&t[1], data, size / 2);
		merge(t, 1, 1);
		merge(t, 2, 1);
		merge(t, 2, 2);
	}
	trace_file_free(&t[0]);
	trace_file_free(&t[1]);
	return 0;
}
