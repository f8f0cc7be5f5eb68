/* The beginning of a copy-on-write file: header and binding. What was read is made again. */
#include "fuzz.h"

#include <errno.h>

#include "format/cow.h"
#include "format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t start[COW_START];
	struct cow_binding b, again;
	struct err e = ERR_INIT;
	struct cow_head h;
	int r = cow_head_parse(&h, data, size, &e);

	require(r == 0 || (r == -EINVAL && e.text[0]));
	if (r < 0)
		return 0;
	require(size >= COW_HEAD_LEN && h.size && h.size <= MANIFEST_SIZE_MAX);
	require(h.bitmap >= COW_HEAD_LEN && h.bitmap_len * 8 * COW_SECTOR >= h.size &&
		h.data >= h.bitmap + h.bitmap_len);
	require(h.bitmap % h.alignment == 0 && h.data % h.alignment == 0 &&
		cow_file_len(&h) > h.data);
	r = cow_binding_parse(&b, &h, data, size, &e);
	require(r == 0 || r == 1 || (r == -EINVAL && e.text[0]));
	if (r <= 0)
		return 0;
	require(link_name_valid(b.name) && b.version && strlen(b.link) <= COW_LINK_MAX);
	require(cow_start_encode(start, h.size, h.mtime, "/disk", &b, &e) == 0);
	require(cow_head_parse(&h, start, sizeof(start), &e) == 0);
	require(cow_binding_parse(&again, &h, start, sizeof(start), &e) == 1);
	require(!strcmp(again.name, b.name) && !strcmp(again.link, b.link) &&
		again.version == b.version && hash_equal(&again.root, &b.root));
	return 0;
}
