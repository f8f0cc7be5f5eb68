/* A cloop file as a source. The offset table is read through the file's own source as needed, two entries a block: files on a server
 * cost one request for thousands of them, and memory stays bounded whatever the table's size. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "disk/cloop.h"
#include "disk/segments.h"
#include "format/cloop.h"

struct cloop_source {
	struct source source;
	struct source *file;
	struct segments segments;
	struct cloop_head head;
};

static int block_range(struct cloop_source *s, uint64_t number, uint64_t *offset, uint32_t *len, struct err *e)
{
	uint8_t entries[16];
	int r = source_read(s->file, entries, sizeof(entries), CLOOP_HEAD_LEN + 8 * number, e);

	return r < 0 ? r : cloop_block_range(&s->head, entries, s->file->size, offset, len, e);
}

static int load_block(void *context, const struct memory_key *key, bool background, uint8_t **data, size_t *len, struct err *e)
{
	struct cloop_source *s = context;
	_cleanup_free_ uint8_t *raw = NULL, *made = NULL;
	uint64_t offset;
	uint32_t raw_len;
	int r = block_range(s, key->span, &offset, &raw_len, e);

	if (r < 0)
		return err_add(e, "cloop block %llu", (unsigned long long)key->span);
	raw = malloc(raw_len);
	made = malloc(s->head.block_size);
	if (!raw || !made)
		return err_set(e, -ENOMEM, "no memory for a cloop block");
	r = source_read(s->file, raw, raw_len, offset, e);
	if (!r)
		r = cloop_block_decode(made, s->head.block_size, raw, raw_len, e);
	if (r < 0)
		return err_add(e, "cloop block %llu", (unsigned long long)key->span);
	*data = steal_ptr(made);
	*len = s->head.block_size;
	return 0;
}

static int cloop_read(struct source *source, void *buf, size_t len, uint64_t offset, struct err *e)
{
	return segments_read(&((struct cloop_source *)source)->segments, buf, len, offset, e);
}

static void cloop_prefetch(struct source *source, uint64_t offset, uint64_t len)
{
	segments_prefetch(&((struct cloop_source *)source)->segments, offset, len);
}

static void cloop_status(struct source *source, json_t *out)
{
	struct cloop_source *s = (struct cloop_source *)source;
	json_t *file = json_object();

	json_object_set_new(out, "block_size", json_integer(s->head.block_size));
	if (file) {
		source_status(s->file, file);
		json_object_set_new(out, "file", file);
	}
}

static void cloop_cancel(struct source *source)
{
	source_cancel(((struct cloop_source *)source)->file);
}

static void cloop_close(struct source *source)
{
	struct cloop_source *s = (struct cloop_source *)source;

	segments_close(&s->segments);
	source_close(s->file);
	free(s);
}

static const struct source_ops cloop_ops = {
	.name = "cloop",
	.read = cloop_read,
	.prefetch = cloop_prefetch,
	.status = cloop_status,
	.cancel = cloop_cancel,
	.close = cloop_close,
};

int cloop_source_probe(struct source *file, struct err *e)
{
	uint8_t head[CLOOP_HEAD_LEN];
	int r;

	if (file->size < sizeof(head))
		return 0;
	r = source_read(file, head, sizeof(head), 0, e);
	return r < 0 ? r : cloop_probe(head, sizeof(head));
}

int cloop_source_open(struct source **out, struct source *file, size_t memory_limit, struct err *e)
{
	uint8_t head[CLOOP_HEAD_LEN];
	unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	struct cloop_source *s;
	uint64_t size;
	int r = file->size < sizeof(head) ? err_set(e, -EINVAL, "too short for a cloop file")
					  : source_read(file, head, sizeof(head), 0, e);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, -ENOMEM, "no memory for a cloop file");
	r = cloop_head_parse(&s->head, head, sizeof(head), file->size, e);
	size = (uint64_t)s->head.block_size * s->head.blocks;
	if (!r && s->head.block_size > memory_limit / 2) /* as it is in the file, and unpacked */
		r = err_set(e, -EFBIG, "the cloop file has blocks of %u bytes, too large for a memory of %zu (--memory-limit)",
			s->head.block_size, memory_limit);
	if (!r)
		r = segments_open(&s->segments, size, s->head.block_size, memory_limit, cpus * 4, load_block, s, e);
	if (r < 0) {
		free(s);
		return r;
	}
	s->source = (struct source){.ops = &cloop_ops, .size = size};
	s->file = file;
	*out = &s->source;
	return 0;
}
