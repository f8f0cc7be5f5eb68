/* Hexadecimal, base64, numbers, sizes: see text.h. */
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void hex_encode(char *out, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(void *out, size_t len, const char *text, size_t text_len)
{
	uint8_t *p = out;

	if (text_len != len * 2)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		p[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

void base64_encode(char *out, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len; p += 3) {
		size_t n = len < 3 ? len : 3;
		uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? p[2] : 0);

		*out++ = b64[v >> 18];
		*out++ = b64[v >> 12 & 63];
		*out++ = n > 1 ? b64[v >> 6 & 63] : '=';
		*out++ = n > 2 ? b64[v & 63] : '=';
		len -= n;
	}
	*out = 0;
}

int base64_decode(void *out, size_t room, const char *text, size_t text_len)
{
	uint8_t *p = out;
	size_t made = 0;

	if (text_len % 4 || text_len / 4 * 3 > room)
		return -EINVAL;
	for (size_t i = 0; i < text_len; i += 4) {
		size_t pad = 0;
		uint32_t v = 0;

		if (i + 4 == text_len)
			pad = text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
		for (size_t k = 0; k < 4 - pad; k++) {
			const char *at = text[i + k] ? strchr(b64, text[i + k]) : NULL;

			if (!at)
				return -EINVAL;
			v |= (uint32_t)(at - b64) << (18 - 6 * k);
		}
		if ((pad == 1 && v & 0xff) || (pad == 2 && v & 0xffff))
			return -EINVAL;
		p[made++] = (uint8_t)(v >> 16);
		if (pad < 2)
			p[made++] = (uint8_t)(v >> 8);
		if (pad < 1)
			p[made++] = (uint8_t)v;
	}
	return (int)made;
}

void text_size(char out[TEXT_SIZE_MAX], uint64_t bytes)
{
	static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 999.5 && unit < 6; unit++)
		value /= 1000;
	snprintf(out, TEXT_SIZE_MAX, unit && value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

int text_to_u64(const char *text, uint64_t *out)
{
	uint64_t value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (*text < '0' || *text > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, digit, &value))
			return -ERANGE;
	}
	*out = value;
	return 0;
}

int text_to_size(const char *text, uint64_t *out)
{
	static const char suffixes[] = "KMGT";
	size_t len = strlen(text);
	const char *suffix = len && len < 32 ? strchr(suffixes, text[len - 1]) : NULL;
	char digits[32];
	int r;

	if (!suffix)
		return text_to_u64(text, out);
	memcpy(digits, text, len - 1);
	digits[len - 1] = 0;
	r = text_to_u64(digits, out);
	if (r < 0)
		return r;
	return __builtin_mul_overflow(*out, 1ULL << (10 * (suffix - suffixes + 1)), out) ? -ERANGE : 0;
}

/* Bytes of the UTF-8 sequence that starts here, or 0. The shortest form only, no surrogates, up to U+10FFFF. */
static size_t utf8_len(const unsigned char *p)
{
	static const struct {
		unsigned char first_least, first_most, second_least, second_most;
		size_t len;
	} forms[] = {
		{0x00, 0x7f, 0, 0, 1},		{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3},	{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},	{0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	size_t i = 0, at = 2;

	while (i < sizeof(forms) / sizeof(forms[0]) && (p[0] < forms[i].first_least || p[0] > forms[i].first_most))
		i++;
	if (i == sizeof(forms) / sizeof(forms[0]))
		return 0;
	if (forms[i].len > 1 && (p[1] < forms[i].second_least || p[1] > forms[i].second_most))
		return 0;
	while (at < forms[i].len && (p[at] & 0xc0) == 0x80) /* a NUL ends it, too */
		at++;
	return at < forms[i].len ? 0 : forms[i].len;
}

void text_clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p;) {
		size_t len = utf8_len(p);

		if (!len || *p < 0x20 || *p == 0x7f)
			*p = '?';
		else if (*p == 0xc2 && p[1] < 0xa0)
			p[0] = p[1] = '?';
		p += len ? len : 1;
	}
}

bool text_starts(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

bool text_ends(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && !strcmp(text + len - end_len, end);
}
