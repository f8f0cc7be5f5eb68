/* The words of a published command line that a guest may have: see cmdline.h. An allow list: what is not known is refused. */
#include "machine/cmdline.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

static bool allowed(const char *word)
{
	/* Whole words, or, where they end in '=' or '.', what they start with. */
	static const char *const list[] = {
		"quiet", "splash", "single", "emergency", "rescue", "ro", "rw", "debug", "noquiet", "nosplash", "text",
		"inetboot.", "systemd.", "locale.", "vconsole.", "rd.", "lang=", "hostname=", "mirror=", "loglevel=", "rootflags=",
		"keyboard=", "keyboard-layouts=", "timezone=", "utc", "username=", "user-fullname=", "desktop=", "knoppix.",
	};

	if (strchr(word, '"'))
		return false; /* it would join the words behind it */
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		bool prefix = text_ends(list[i], "=") || text_ends(list[i], ".");

		if (prefix ? text_starts(word, list[i]) : !strcmp(word, list[i]))
			return true;
	}
	return false;
}

int cmdline_filter(const char *text, struct buf *kept, struct buf *refused)
{
	_cleanup_free_ char *copy = strdup(text);
	char *next = copy;
	int r = copy ? 0 : -ENOMEM;

	for (char *word; !r && (word = strsep(&next, " \t\n\r"));) {
		struct buf *to = allowed(word) ? kept : refused;

		if (*word)
			r = buf_printf(to, "%s%s", to->len ? " " : "", word);
	}
	return r;
}

int cmdline_without_root(const char *text, struct buf *kept)
{
	static const char *const without[] = {"root=", "boot=", "console="};
	_cleanup_free_ char *copy = strdup(text);
	char *next = copy;
	int r = copy ? 0 : -ENOMEM;

	for (char *word; !r && (word = strsep(&next, " \t\n\r"));) {
		bool left_out = !*word;

		for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
			left_out |= text_starts(word, without[i]);
		if (!left_out)
			r = buf_printf(kept, " %s", word);
	}
	return r;
}
