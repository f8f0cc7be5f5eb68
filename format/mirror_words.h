/* Mirrors on a guest's kernel command line: words of the form mirror=URL. Pure. Any thread. */
#ifndef FORMAT_MIRROR_WORDS_H
#define FORMAT_MIRROR_WORDS_H

/* Calls `add` for the URL of each, until one returns something else than 0, which is returned. `words` may be NULL. -ENOMEM. */
int mirror_words(const char *words, int (*add)(void *context, const char *url), void *context);

#endif
