/* Languages, as people name them for a machine: by KNOPPIX's short codes, or as a locale. */
#ifndef CLI_LANGUAGE_H
#define CLI_LANGUAGE_H

#define LANGUAGE_MAX 16 /* bytes of each name, its NUL included */

struct language {
	char locale[LANGUAGE_MAX];   /* "de_DE.UTF-8" */
	char keyboard[LANGUAGE_MAX]; /* XKB's name of the layout: "de" */
};

/* "de", "us", "ja"; or "de_AT", "de_AT.UTF-8": the keyboard is then the country's. 0, or -EINVAL
 * for what is neither. Whether Debian knows a locale of that form shows when it is made. */
int language_find(const char *text, struct language *out);

#endif
