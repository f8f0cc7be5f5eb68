/* Arguments of programs: see arguments.h. */
#include "machine/arguments.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void take(struct arguments *a, char *word)
{
	if (word && a->count < ARGUMENTS_MAX) {
		a->words[a->count++] = word;
		return;
	}
	free(word);
	a->full = true;
}

void arguments_add(struct arguments *a, const char *word)
{
	take(a, strdup(word));
}

void arguments_printf(struct arguments *a, const char *fmt, ...)
{
	va_list values;
	char *word;

	va_start(values, fmt);
	take(a, vasprintf(&word, fmt, values) < 0 ? NULL : word);
	va_end(values);
}

void arguments_split(struct arguments *a, const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	char *next = copy;

	a->full |= !copy;
	for (char *word; copy && (word = strsep(&next, " \t\n"));)
		if (*word)
			arguments_add(a, word);
}

void arguments_free(struct arguments *a)
{
	for (int i = 0; i < a->count; i++)
		free(a->words[i]);
}
