/* Successions: see succession.h. What is remembered of a key is one signed file, which is checked like one that just came: so it does not
 * matter who wrote it there. */
#include "disk/succession.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/copies.h"

const struct public_key *succession_last(const struct succession *s)
{
	return &s->keys[s->count - 1];
}

bool succession_is_last(const struct succession *s, int place)
{
	return (size_t)place + 1 == s->count;
}

int succession_find(const struct succession *s, const uint8_t number[KEY_NUMBER_LEN])
{
	for (size_t i = 0; i < s->count; i++)
		if (!memcmp(s->keys[i].number, number, KEY_NUMBER_LEN))
			return (int)i;
	return -1;
}

/* Opens a signed manifest of this image by its last key. */
static int open_word(const struct succession *s, const void *text, size_t len, struct manifest *m, struct err *e)
{
	const char *message;
	size_t message_len;
	int r = signature_open(succession_last(s), text, len, &message, &message_len, e);

	if (!r)
		r = manifest_parse(m, message, message_len, e);
	if (r < 0 || !strcmp(m->name, s->name))
		return r;
	r = err_set(e, -EBADMSG, "the last word is about an image named %s, not %s", m->name, s->name);
	manifest_free(m);
	return r;
}

static int check_word(const struct succession *s, const struct manifest *m, struct err *e)
{
	if (!m->has_next_key)
		return err_set(e, -EBADMSG, "it names no next key");
	if (succession_find(s, m->next_key.number) >= 0)
		return err_set(e, -ELOOP, "it leads back to a key that was replaced");
	if (s->count > SUCCESSION_MAX)
		return err_set(e, -ELOOP, "the key was replaced more than %d times", SUCCESSION_MAX);
	return 0;
}

int succession_add(struct succession *s, const void *text, size_t len, struct err *e)
{
	struct buf word = BUF_INIT(LAST_WORD_MAX);
	struct manifest m;
	int r = open_word(s, text, len, &m, e);

	if (r < 0)
		return r;
	r = check_word(s, &m, e);
	if (!r && buf_append(&word, text, len) < 0)
		r = err_set(e, -EFBIG, "it has %zu bytes, more than %u", len, LAST_WORD_MAX);
	if (!r) {
		s->until[s->count - 1] = m.version;
		s->words[s->count - 1] = word;
		s->keys[s->count++] = m.next_key;
	}
	manifest_free(&m);
	return r;
}

void succession_cut(struct succession *s, size_t count)
{
	while (s->count > count) {
		s->count--;
		buf_free(&s->words[s->count - 1]);
		s->until[s->count - 1] = 0;
	}
}

/* Takes what is remembered of the last key. False: nothing. */
static bool recall(struct succession *s, const struct buf *text)
{
	struct manifest m;

	if (!succession_add(s, text->data, text->len, NULL))
		return true;
	if (open_word(s, text->data, text->len, &m, NULL) < 0)
		return false;
	s->revoked = m.revoked;
	memcpy(s->reason, m.reason, sizeof(s->reason));
	manifest_free(&m);
	return s->revoked;
}

static bool recall_next(struct succession *s, struct cache *cache)
{
	_cleanup_buf_ struct buf ours = BUF_INIT(MANIFEST_MAX), copy = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *name = copy_name_of_last_word(s->name);

	/* Ours first: who only has the cache may be somebody with a stolen key. */
	if (!last_word_load(succession_last(s), s->name, &ours) && recall(s, &ours))
		return true;
	return !copy_load(cache, succession_last(s), name, &copy) && recall(s, &copy);
}

void succession_begin(struct succession *s, const struct public_key *key, const char *name, struct cache *cache)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->keys[s->count++] = *key;
	while (!s->revoked && recall_next(s, cache))
		;
}

static int remember(const struct succession *s, size_t i, const struct buf *word, struct cache *cache, struct err *e)
{
	_cleanup_free_ char *name = copy_name_of_last_word(s->name);

	copy_keep(cache, &s->keys[i], name, word->data, word->len);
	return last_word_remember(&s->keys[i], s->name, word->data, word->len, e);
}

int succession_remember(const struct succession *s, size_t first, struct cache *cache, struct err *e)
{
	int r = 0;

	for (size_t i = first; !r && i + 1 < s->count; i++)
		r = remember(s, i, &s->words[i], cache, e);
	return r;
}

int succession_revoke(const struct succession *s, const struct buf *text, struct cache *cache, struct err *e)
{
	return remember(s, s->count - 1, text, cache, e);
}

uint64_t succession_seen(const struct succession *s)
{
	uint64_t most = 0;

	for (size_t i = 0; i < s->count; i++) {
		uint64_t seen = versions_seen(&s->keys[i], s->name);

		if (i + 1 < s->count && seen > s->until[i])
			seen = s->until[i];
		most = seen > most ? seen : most;
	}
	return most;
}

void succession_free(struct succession *s)
{
	if (s->count)
		succession_cut(s, 1);
}
