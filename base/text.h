/* Hexadecimal, base64, numbers and sizes, as text. No allocation, no locks, any thread. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lower-case hexadecimal; out needs 2 * len + 1 bytes. */
void hex_encode(char *out, const void *data, size_t len);
/* Exactly 2 * len hexadecimal digits (lower case only: names have one spelling); -EINVAL otherwise. */
int hex_decode(void *out, size_t len, const char *text, size_t text_len);

/* Standard base64 with padding. out needs base64_size(len) bytes, NUL included. */
#define base64_size(len) (((len) + 2) / 3 * 4 + 1)
void base64_encode(char *out, const void *data, size_t len);
/* Strict: padding required, no white space, no bits behind the end. Returns the number of bytes, or -EINVAL;
 * out needs room for text_len / 4 * 3 bytes, which must be at most `room`. */
int base64_decode(void *out, size_t room, const char *text, size_t text_len);

/* "1.5 GB", powers of 1000. */
#define TEXT_SIZE_MAX 24
void text_size(char out[TEXT_SIZE_MAX], uint64_t bytes);

/* A decimal number without sign, nothing behind it; -EINVAL, -ERANGE. */
int text_to_u64(const char *text, uint64_t *out);
/* The same with an optional suffix K, M, G, T (powers of 1024). */
int text_to_size(const char *text, uint64_t *out);

/* Makes text fit for a terminal, a log and JSON: control characters, C1 among them, and bytes that are no UTF-8 become '?'. */
void text_clean(char *text);

bool text_starts(const char *text, const char *start);
bool text_ends(const char *text, const char *end);

#endif
