/* The list of mounts: see mounts.h. */
#include "base/mounts.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Names in it have spaces and their like as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
			*to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = 0;
}

FILE *mounts_open(void)
{
	return fopen("/proc/self/mountinfo", "re");
}

void mounts_free(struct mount_entry *m)
{
	free(m->dir);
	free(m->type);
	free(m->source);
	*m = (struct mount_entry){0};
}

/* "36 35 98:0 /root /where options [more ...] - type source options" */
static int parse(const char *line, struct mount_entry *m)
{
	const char *behind = strstr(line, " - ");

	if (!behind || sscanf(line, "%*u %*u %u:%u %*s %ms", &m->major, &m->minor, &m->dir) != 3 ||
		sscanf(behind, " - %ms %ms", &m->type, &m->source) != 2)
		return 0;
	unescape(m->dir);
	unescape(m->source);
	return 1;
}

int mounts_next(FILE *list, struct mount_entry *m)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0;

	do {
		mounts_free(m);
		if (getline(&line, &room, list) < 0)
			return 0;
	} while (!parse(line, m));
	return 1;
}
