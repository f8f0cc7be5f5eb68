/* Names: see names.h. */
#include "network/names.h"

#include <string.h>

static char clean(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ? c : 0;
}

void name_clean(char *out, const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len && text[i] && text[i] != '.' && n < NAME_MAX_LEN; i++) {
		char c = clean(text[i]);

		if (c && (c != '-' || n))
			out[n++] = c;
	}
	while (n && out[n - 1] == '-')
		n--;
	out[n] = 0;
}

bool name_valid(const char *text)
{
	char cleaned[NAME_MAX_LEN + 1];

	name_clean(cleaned, text, strlen(text));
	return *text && !strcmp(cleaned, text);
}
