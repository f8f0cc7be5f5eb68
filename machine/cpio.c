/* cpio "newc": a header of thirteen hexadecimal numbers, the name, the data, each padded to four bytes. */
#include "machine/cpio.h"

#include <string.h>
#include <sys/stat.h>

static int pad(struct buf *out)
{
	return buf_append(out, "\0\0\0", (4 - out->len % 4) % 4);
}

int cpio_add(struct buf *out, const char *path, mode_t mode, const void *data, size_t len)
{
	int r = buf_printf(out, "070701%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X", 0, mode, 0, 0,
		S_ISDIR(mode) ? 2 : 1, 0, len, 0, 0, 0, 0, strlen(path) + 1, 0);

	if (!r)
		r = buf_append(out, path, strlen(path) + 1);
	if (!r)
		r = pad(out);
	if (!r)
		r = buf_append(out, data, len);
	return r < 0 ? r : pad(out);
}

int cpio_end(struct buf *out)
{
	return cpio_add(out, "TRAILER!!!", 0, NULL, 0);
}
