/* Words that name mirrors: see mirror_words.h. */
#include "format/mirror_words.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define WORD "mirror="

int mirror_words(const char *words, int (*add)(void *context, const char *url), void *context)
{
	_cleanup_free_ char *copy = strdup(words ? words : "");
	char *next = copy;
	int r = copy ? 0 : -ENOMEM;

	for (char *word; !r && (word = strsep(&next, " \t\n\r"));)
		if (text_starts(word, WORD) && word[strlen(WORD)])
			r = add(context, word + strlen(WORD));
	return r;
}
