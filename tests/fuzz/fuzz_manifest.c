/* manifest_parse(): what it accepts can be written again, and then reads and writes the same. */
#include "fuzz.h"

#include "format/index.h"
#include "format/manifest.h"

static void check_bounds(const struct manifest *m)
{
	require(link_name_valid(m->name));
	require(m->version && manifest_time(m->created) >= 0);
	require(m->image.size && m->image.size <= MANIFEST_SIZE_MAX);
	require(m->image.depth && m->image.depth <= MANIFEST_DEPTH_MAX);
	require(m->chunks && m->chunks <= m->image.size && m->chunk_max <= INDEX_CHUNK_MAX);
	require(!m->has_next_key || !m->revoked);
	require(m->revoked || !m->reason[0]);
	require(strnlen(m->reason, sizeof(m->reason)) < sizeof(m->reason));
	require(m->boot_count <= MANIFEST_BOOT_MAX && m->mirror_count <= MANIFEST_MIRRORS_MAX);
	for (size_t i = 0; i < m->boot_count; i++) {
		require(m->boot[i].title && m->boot[i].type);
		require(m->boot[i].module_count <= MANIFEST_MODULES_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf first = BUF_INIT(MANIFEST_MAX), second = BUF_INIT(MANIFEST_MAX);
	struct err e = ERR_INIT;
	struct manifest m, again;
	int r;

	r = manifest_parse(&m, (const char *)data, size, &e);
	if (r < 0) {
		require(e.text[0] && !m.boot && !m.mirrors);
		return 0;
	}
	check_bounds(&m);
	if (size < MANIFEST_MAX / 16) { /* indented and escaped it is longer */
		require(manifest_encode(&m, &first, &e) == 0);
		require(manifest_parse(&again, (char *)first.data, first.len, &e) == 0);
		require(manifest_encode(&again, &second, &e) == 0);
		require(first.len == second.len && !memcmp(first.data, second.data, first.len));
		manifest_free(&again);
	}
	manifest_free(&m);
	return 0;
}
