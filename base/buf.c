/* Growing buffer with a cap: doubles its room, never past the cap. */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int buf_reserve(struct buf *b, size_t more)
{
	size_t need, room;
	uint8_t *data;

	if (more > b->cap || b->len > b->cap - more)
		return -EFBIG;
	need = b->len + more;
	if (need <= b->room)
		return 0;
	room = b->room ? b->room * 2 : 256;
	if (room < need)
		room = need;
	if (room > b->cap)
		room = b->cap;
	data = realloc(b->data, room + 1); /* + 1 for buf_printf's NUL */
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->room = room;
	return 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	int r;

	if (!len)
		return 0;
	r = buf_reserve(b, len);
	if (r < 0)
		return r;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int len, r;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return -EINVAL;
	r = buf_reserve(b, (size_t)len);
	if (r < 0 || !b->data)
		return r;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)len + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)len;
	return 0;
}

void buf_free(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = 0;
	b->room = 0;
}
