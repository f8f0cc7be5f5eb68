/* A binary heap with the youngest file on top: a file older than the top replaces it. */
#include "cache/oldest.h"

#include <stdlib.h>

void oldest_init(struct oldest *o, size_t room)
{
	*o = (struct oldest){.room = room};
}

static void swap(struct old_file *a, struct old_file *b)
{
	struct old_file t = *a;

	*a = *b;
	*b = t;
}

static void sift_up(struct oldest *o, size_t i)
{
	while (i && o->files[i].used > o->files[(i - 1) / 2].used) {
		swap(&o->files[i], &o->files[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
}

static void sift_down(struct oldest *o, size_t i)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= o->count)
			return;
		if (child + 1 < o->count && o->files[child + 1].used > o->files[child].used)
			child++;
		if (o->files[child].used <= o->files[i].used)
			return;
		swap(&o->files[i], &o->files[child]);
		i = child;
	}
}

static int grow(struct oldest *o)
{
	size_t more = o->allocated ? o->allocated * 2 : 256;
	struct old_file *files;

	if (o->count < o->allocated)
		return 0;
	if (more > o->room)
		more = o->room;
	files = realloc(o->files, more * sizeof(*files));
	if (!files)
		return -1;
	o->files = files;
	o->allocated = more;
	return 0;
}

void oldest_add(struct oldest *o, const struct old_file *f)
{
	if (o->count < o->room && !grow(o)) {
		o->files[o->count] = *f;
		sift_up(o, o->count++);
	} else if (o->count && f->used < o->files[0].used) {
		o->files[0] = *f;
		sift_down(o, 0);
	}
}

static int by_age(const void *a, const void *b)
{
	const struct old_file *x = a, *y = b;

	return (x->used > y->used) - (x->used < y->used);
}

void oldest_sort(struct oldest *o)
{
	if (o->count)
		qsort(o->files, o->count, sizeof(*o->files), by_age);
}

void oldest_free(struct oldest *o)
{
	free(o->files);
	o->files = NULL;
	o->count = o->allocated = 0;
}
