/* Comparing indexes: see difference.h. Both are listed, chunk by chunk, and the lists, which are in disk order, are walked together: a
 * chunk is the same where the other image has one with the same hash at the same place. Whatever else one of the two has is a
 * difference, also against a hole. */
#include "disk/difference.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash_set.h"
#include "disk/store.h"

struct chunk {
	uint64_t offset;
	uint32_t len;
	struct hash hash;
};

struct list {
	struct chunk *chunks; /* owned */
	size_t count, room;
};

static int add_chunk(
	void *context, uint64_t offset, const struct hash *hash, uint32_t len, struct err *e)
{
	struct list *l = context;

	if (l->count == DIFFERENCE_CHUNKS_MAX)
		return err_set(e, -EFBIG,
			"it has more than %u chunks: that is more than this can compare",
			DIFFERENCE_CHUNKS_MAX);
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 4096;
		struct chunk *chunks = reallocarray(l->chunks, room, sizeof(*chunks));

		if (!chunks)
			return err_set(e, -ENOMEM, "no memory for a list of chunks");
		l->chunks = chunks;
		l->room = room;
	}
	l->chunks[l->count++] = (struct chunk){offset, len, *hash};
	return 0;
}

static int list_chunks(struct image *image, struct list *l, struct err *e)
{
	const struct tree *tree = &image->manifest.image;

	if (!image->in_store)
		return err_set(e, -EINVAL,
			"%s is no image in a store: only those have an index to compare",
			image->text);
	return store_visit_range(image->blocks, tree, 0, tree->size, add_chunk, l, e);
}

static int add_range(struct difference *d, size_t *room, const struct chunk *c, struct err *e)
{
	struct difference_range *last = d->range_count ? &d->ranges[d->range_count - 1] : NULL;
	uint64_t end = c->offset + c->len;

	if (last && c->offset <= last->end) {
		if (end > last->end) {
			d->range_bytes += end - last->end;
			last->end = end;
		}
		return 0;
	}
	if (d->range_count == *room) {
		size_t more = *room ? 2 * *room : 64;
		struct difference_range *ranges = reallocarray(d->ranges, more, sizeof(*ranges));

		if (!ranges)
			return err_set(e, -ENOMEM, "no memory for a list of ranges");
		d->ranges = ranges;
		*room = more;
	}
	d->ranges[d->range_count++] = (struct difference_range){c->offset, end};
	d->range_bytes += c->len;
	return 0;
}

static bool same(const struct chunk *a, const struct chunk *b)
{
	return a->offset == b->offset && a->len == b->len && hash_equal(&a->hash, &b->hash);
}

static int find_ranges(
	struct difference *d, const struct list *a, const struct list *b, struct err *e)
{
	size_t i = 0, k = 0, room = 0;
	int r = 0;

	while (!r && (i < a->count || k < b->count)) {
		if (i < a->count && k < b->count && same(&a->chunks[i], &b->chunks[k])) {
			i++;
			k++;
		} else if (k == b->count ||
			   (i < a->count && a->chunks[i].offset <= b->chunks[k].offset)) {
			r = add_range(d, &room, &a->chunks[i++], e);
		} else {
			r = add_range(d, &room, &b->chunks[k++], e);
		}
	}
	return r;
}

static uint64_t file_size(struct image *image, const struct hash *hash)
{
	uint64_t size = 0;
	int fd = image->store ? cache_open_entry(image->store, hash, &size) : -1;

	if (fd >= 0)
		close(fd);
	return size;
}

/* A number of 1 says that b has it, and that it was counted. */
static int count_new(struct difference *d, struct image *image, const struct list *a,
	const struct list *b, struct hash_set *met, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < a->count; i++)
		r = hash_set_add(met, &a->chunks[i].hash, 0);
	for (size_t i = 0; r >= 0 && i < b->count; i++) {
		const struct chunk *c = &b->chunks[i];
		uint32_t *counted;

		r = hash_set_add(met, &c->hash, 0);
		if (r < 0)
			break;
		counted = hash_set_find(met, &c->hash);
		if (*counted)
			continue;
		*counted = 1;
		d->chunks++;
		d->bytes += c->len;
		if (r > 0) {
			d->new_chunks++;
			d->new_bytes += c->len;
			d->file_bytes += file_size(image, &c->hash);
		}
	}
	return r < 0 ? err_set(e, r, "no memory for a list of chunks") : 0;
}

int image_difference(struct image *a, struct image *b, struct difference *out, struct err *e)
{
	struct list of_a = {0}, of_b = {0};
	struct hash_set met = {0};
	int r;

	*out = (struct difference){0};
	r = list_chunks(a, &of_a, e);
	if (!r)
		r = list_chunks(b, &of_b, e);
	if (!r)
		r = find_ranges(out, &of_a, &of_b, e);
	if (!r)
		r = count_new(out, b, &of_a, &of_b, &met, e);
	hash_set_free(&met);
	free(of_a.chunks);
	free(of_b.chunks);
	if (r < 0)
		difference_free(out);
	return r;
}

void difference_free(struct difference *d)
{
	free(d->ranges);
	*d = (struct difference){0};
}
