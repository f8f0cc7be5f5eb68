/* An unpacked image as a source, over the source of its blocks: see unpacked.h. A medium that fails
 * once is not asked again: it might make each read wait for its own time limit. */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "disk/raw.h"
#include "disk/unpacked.h"

struct unpacked_source {
	struct source source;
	struct source *file, *blocks;
	char *path;
	atomic_bool failed;
};

static struct unpacked_source *of(struct source *s)
{
	return (struct unpacked_source *)s;
}

static struct source *present(struct unpacked_source *u)
{
	return atomic_load(&u->failed) ? u->blocks : u->file;
}

static int unpacked_read(struct source *s, void *buf, size_t len, uint64_t offset, struct err *e)
{
	struct unpacked_source *u = of(s);
	struct err here = ERR_INIT;

	if (!atomic_load(&u->failed)) {
		if (!source_read(u->file, buf, len, offset, &here))
			return 0;
		if (!atomic_exchange(&u->failed, true))
			log_warning("the unpacked image %s is not used any more: %s; going on with "
				    "the image's blocks",
				u->path, here.text);
	}
	return source_read(u->blocks, buf, len, offset, e);
}

static void unpacked_prefetch(struct source *s, uint64_t offset, uint64_t len)
{
	source_prefetch(present(of(s)), offset, len);
}

/* Holes are the file's: a local system call in place of a walk through the index. */
static int unpacked_extent(
	struct source *s, uint64_t offset, uint64_t len, struct extent *out, struct err *e)
{
	return source_extent(present(of(s)), offset, len, out, e);
}

static void unpacked_status(struct source *s, json_t *out)
{
	struct unpacked_source *u = of(s);

	source_status(u->blocks, out);
	if (atomic_load(&u->failed)) {
		json_object_set_new(out, "unpacked_failed", json_string(u->path));
		return;
	}
	json_object_set_new(out, "source", json_string(s->ops->name));
	json_object_set_new(out, "unpacked", json_string(u->path));
}

static void unpacked_cancel(struct source *s)
{
	source_cancel(of(s)->blocks);
}

static void unpacked_close(struct source *s)
{
	struct unpacked_source *u = of(s);

	source_close(u->file);
	source_close(u->blocks);
	free(u->path);
	free(u);
}

static const struct source_ops unpacked_ops = {
	.name = "unpacked",
	.read = unpacked_read,
	.prefetch = unpacked_prefetch,
	.extent = unpacked_extent,
	.status = unpacked_status,
	.cancel = unpacked_cancel,
	.close = unpacked_close,
};

int unpacked_source_open(
	struct source **out, int fd, const char *path, struct source *blocks, struct err *e)
{
	struct unpacked_source *u = calloc(1, sizeof(*u));
	char *copy = strdup(path);
	int r = u && copy ? file_source_take(&u->file, fd, blocks->size, e)
			  : err_set(e, -ENOMEM, "no memory for %s", path);

	if (r < 0) {
		free(copy);
		free(u);
		return r;
	}
	u->source = (struct source){.ops = &unpacked_ops, .size = blocks->size};
	u->blocks = blocks;
	u->path = copy;
	*out = &u->source;
	return 0;
}
