/* The error idiom. Functions return 0 or a negative errno; those whose failure a person may have to read also
 * take a `struct err *` (NULL is fine) that holds one sentence. The function that meets the problem sets it, callers
 * add what they were doing in front of it:
 *
 *	inetboot: cannot boot http://host/debian: block 3fa9...: 404 Not Found
 *
 * An err belongs to one thread. It needs no release. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define ERR_TEXT_MAX 1024 /* a longer sentence is cut: it is for a person */

struct err {
	int code; /* 0 or negative errno */
	char text[ERR_TEXT_MAX];
};

#define ERR_INIT                                                                                   \
	{                                                                                          \
		.code = 0, .text = ""                                                              \
	}

/* Replaces what e holds. code is a negative errno. Returns code, so that `return err_set(e, -EINVAL, ...)` works.
 * Control characters in the result, and bytes that are no UTF-8, are shown as '?': the text may hold what a hostile server sent. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like err_set() with code -errno as it is now, and ": " strerror(errno) behind the text. */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "text: " in front of what e holds. Returns e->code (-EIO where e is NULL or empty). */
int err_add(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
