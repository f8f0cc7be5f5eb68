/* Hash sets: see hash_set.h. */
#include "base/hash_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct hash_slot *find_slot(struct hash_slot *slots, size_t room, const uint8_t *key)
{
	uint64_t start;

	memcpy(&start, key, sizeof(start));
	for (size_t i = start & (room - 1);; i = (i + 1) & (room - 1))
		if (!slots[i].used || !memcmp(slots[i].key, key, sizeof(slots[i].key)))
			return &slots[i];
}

static int grow(struct hash_set *s)
{
	size_t room = s->room ? s->room * 2 : 1024;
	struct hash_slot *slots = calloc(room, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->room; i++)
		if (s->slots[i].used)
			*find_slot(slots, room, s->slots[i].key) = s->slots[i];
	free(s->slots);
	s->slots = slots;
	s->room = room;
	return 0;
}

uint32_t *hash_set_find(const struct hash_set *s, const struct hash *hash)
{
	struct hash_slot *slot = s->room ? find_slot(s->slots, s->room, hash->bytes) : NULL;

	return slot && slot->used ? &slot->value : NULL;
}

int hash_set_add(struct hash_set *s, const struct hash *hash, uint32_t value)
{
	struct hash_slot *slot;

	if (s->count * 2 >= s->room && grow(s) < 0)
		return -ENOMEM;
	slot = find_slot(s->slots, s->room, hash->bytes);
	if (slot->used)
		return 0;
	memcpy(slot->key, hash->bytes, sizeof(slot->key));
	slot->value = value;
	slot->used = 1;
	s->count++;
	return 1;
}

void hash_set_free(struct hash_set *s)
{
	free(s->slots);
	*s = (struct hash_set){0};
}
