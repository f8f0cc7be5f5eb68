/* JSON that comes from outside. Values take far more memory than text: three bytes ("[],") become 130. So they are counted before they
 * are parsed. Pure: no I/O. */
#ifndef FORMAT_JSON_BOUNDED_H
#define FORMAT_JSON_BOUNDED_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

/* Parses text into *out (a new reference; keys that stand twice are refused). most: values that it may have. -EINVAL with a sentence
 * that says where the text is wrong; -EFBIG. */
int json_bounded(json_t **out, const char *text, size_t len, size_t most, struct err *e);

#endif
