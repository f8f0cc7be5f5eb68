/* Calls through a source's operations, with the checks that all sources need. */
#include "disk/source.h"

#include <errno.h>

int source_read(struct source *s, void *buf, size_t len, uint64_t offset, struct err *e)
{
	if (offset > s->size || len > s->size - offset)
		return err_set(e, -EINVAL, "read of %zu bytes at %llu is outside the disk of %llu bytes", len,
			(unsigned long long)offset, (unsigned long long)s->size);
	return len ? s->ops->read(s, buf, len, offset, e) : 0;
}

bool source_expects(struct source *s, uint64_t offset, uint64_t len)
{
	return s->ops->expects && s->ops->expects(s, offset, len);
}

void source_prefetch(struct source *s, uint64_t offset, uint64_t len)
{
	if (!s->ops->prefetch || offset >= s->size)
		return;
	if (len > s->size - offset)
		len = s->size - offset;
	if (len)
		s->ops->prefetch(s, offset, len);
}

int source_extent(struct source *s, uint64_t offset, uint64_t len, struct extent *out, struct err *e)
{
	if (!len || offset > s->size || len > s->size - offset)
		return err_set(e, -EINVAL, "%llu bytes at %llu are no part of the disk of %llu bytes", (unsigned long long)len,
			(unsigned long long)offset, (unsigned long long)s->size);
	*out = (struct extent){.len = len};
	return s->ops->extent ? s->ops->extent(s, offset, len, out, e) : 0;
}

void source_status(struct source *s, json_t *out)
{
	json_object_set_new(out, "source", json_string(s->ops->name));
	json_object_set_new(out, "size", json_integer((json_int_t)s->size));
	if (s->ops->status)
		s->ops->status(s, out);
}

void source_cancel(struct source *s)
{
	if (s->ops->cancel)
		s->ops->cancel(s);
}

void source_close(struct source *s)
{
	if (s)
		s->ops->close(s);
}
