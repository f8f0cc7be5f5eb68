/* Traces (disk/trace.h) of one image, merged into the order in which boots need its pages. Traces
 * come from other people's machines: they are hostile input. One thread. */
#ifndef PUBLISH_TRACES_H
#define PUBLISH_TRACES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "format/pack.h"

#define TRACE_FILE_MAX (64u << 20) /* bytes */
#define TRACES_MAX 256
#define TRACE_PAGES_MAX (PACK_SEGMENTS_MAX * PACK_SEGMENT_PAGES)

struct trace_file { /* one that was read */
	char name[LINK_NAME_MAX + 1];
	uint64_t version;
	struct hash root;
	uint64_t size;   /* bytes of the image */
	uint64_t *pages; /* owned; each once, in order of first use */
	size_t count;
};

/* Reads the text of a trace. -EINVAL with a sentence that names the line. */
int trace_parse(struct trace_file *out, const char *text, size_t len, struct err *e);
void trace_file_free(struct trace_file *t);

/* Merges traces of the same image: the first one gives the order, and what only others have stands
 * where they have it, behind the page before it. Pages that fewer than `least` traces have are left
 * out. *extents (allocated): pages in order of use, neighbours put together. -EFBIG where that is
 * more than a pack may hold; -ENODATA where nothing is left. */
int traces_merge(const struct trace_file *traces, size_t count, size_t least,
	struct pack_extent **extents, uint32_t *extent_count, struct err *e);

#endif
