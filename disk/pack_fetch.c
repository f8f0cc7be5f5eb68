/* Fetching packs: see pack_fetch.h. How long a head is stands in it, and a server may not know
 * ranges: so it is taken from a stream that is ended when it is whole. */
#include "disk/pack_fetch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/file.h"
#include "disk/pack_stream.h"

#define TRIES 5 /* one after the other, that do not bring all */

static int on_head(void *context, struct pack *pack, const void *bytes, const struct pack **kept)
{
	struct pack *out = context;

	*out = *pack;
	*kept = out;
	return 1;
}

int pack_fetch_head(struct pack *out, const struct profile *profile, uint64_t image_size,
	struct origin *origin, struct err *e)
{
	static const struct pack_stream_ops ops = {.head = on_head};
	struct pack_stream stream;
	char path[PACK_PATH_MAX];
	struct origin_request rq = {
		.path = path, .len = profile->size, .sink = pack_stream_take, .context = &stream};
	struct origin_answer answer;
	int r = -1;

	*out = (struct pack){0};
	pack_path(&profile->pack, path);
	for (unsigned tries = 0; r < 0 && tries < TRIES; tries++) {
		pack_stream_init(&stream, &ops, out, profile, image_size, NULL, 0);
		r = origin_get(origin, &rq, &answer, e);
		tries = stream.at ? tries : TRIES;
		pack_stream_free(&stream);
	}
	return r < 0 ? err_add(e, "the boot pack") : 0;
}

struct file {
	int fd;
	struct pack pack;
};

static int keep_head(void *context, struct pack *pack, const void *bytes, const struct pack **kept)
{
	struct file *f = context;

	f->pack = *pack;
	*kept = &f->pack;
	return file_pwrite(f->fd, bytes, pack->head_len, 0);
}

static int keep_segment(void *context, uint32_t segment, uint8_t *data)
{
	struct file *f = context;
	int r = file_pwrite(
		f->fd, data, f->pack.segments[segment].len, f->pack.segments[segment].offset);

	free(data);
	return r == -EAGAIN ? -EIO : r;
}

int pack_fetch_all(int fd, const struct profile *profile, uint64_t image_size,
	struct origin *origin, struct err *e)
{
	static const struct pack_stream_ops ops = {.head = keep_head, .segment = keep_segment};
	struct file file = {.fd = fd};
	struct pack_stream stream;
	char path[PACK_PATH_MAX];
	struct origin_request rq = {.path = path,
		.sink = pack_stream_take,
		.context = &stream,
		.background = true,
		.once = true};
	struct origin_answer answer;
	uint32_t next = 0;
	int r = -1;

	pack_path(&profile->pack, path);
	for (unsigned tries = 0; r < 0 && r != -ECANCELED && tries < TRIES; tries++) {
		bool known = file.pack.segments;

		pack_stream_init(
			&stream, &ops, &file, profile, image_size, known ? &file.pack : NULL, next);
		rq.offset = stream.at;
		rq.len = profile->size - stream.at;
		r = origin_get(origin, &rq, &answer, e);
		next = stream.segment;
		pack_stream_free(&stream);
	}
	pack_free(&file.pack);
	return r < 0 ? err_add(e, "the boot pack") : 0;
}
