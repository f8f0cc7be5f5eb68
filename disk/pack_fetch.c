/* A pack's head: see pack_fetch.h. How long it is stands in it, and a server may not know ranges: so it is taken from a stream that is ended
 * when it is whole. */
#include "disk/pack_fetch.h"

#include "disk/pack_stream.h"

#define TRIES 5 /* that bring something, but not all */

static int on_head(void *context, struct pack *pack, const void *bytes, const struct pack **kept)
{
	struct pack *out = context;

	*out = *pack;
	*kept = out;
	return 1;
}

int pack_fetch_head(struct pack *out, const struct profile *profile, uint64_t image_size, struct origin *origin, struct err *e)
{
	static const struct pack_stream_ops ops = {.head = on_head};
	struct pack_stream stream;
	char path[PACK_PATH_MAX];
	struct origin_request rq = {.path = path, .len = profile->size, .sink = pack_stream_take, .context = &stream};
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
