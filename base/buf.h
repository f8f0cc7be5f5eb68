/* A growing byte buffer with a cap. Zero-initialise with BUF_INIT(cap); release with buf_free(). Not thread safe. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf {
	uint8_t *data; /* owned; NULL when empty */
	size_t len;    /* bytes used */
	size_t room;   /* bytes allocated */
	size_t cap;    /* never grows past this many bytes */
};

#define BUF_INIT(most)                                                                             \
	{                                                                                          \
		.data = NULL, .len = 0, .room = 0, .cap = (most)                                   \
	}
#define _cleanup_buf_ __attribute__((cleanup(buf_free)))

/* Makes room for `more` bytes behind len without changing len. -EFBIG past the cap, -ENOMEM. */
int buf_reserve(struct buf *b, size_t more);

/* Appends len bytes. Same errors. */
int buf_append(struct buf *b, const void *data, size_t len);

/* Appends formatted text (no NUL is counted in len, but one always stands behind data[len]). Same errors. */
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Releases the memory; the buffer is empty again, with the same cap. */
void buf_free(struct buf *b);

#endif
