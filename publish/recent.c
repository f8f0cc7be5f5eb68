/* Names that were missing lately: see recent.h. */
#include "publish/recent.h"

#include <string.h>

#include "base/clock.h"

static size_t place(struct hash *name, const char *path)
{
	uint32_t n;

	hash_of(name, path, strlen(path));
	memcpy(&n, name->bytes, sizeof(n));
	return n % RECENT_ROOM;
}

void recent_init(struct recent *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
}

void recent_add(struct recent *r, const char *path)
{
	struct hash name;
	size_t i = place(&name, path);

	pthread_mutex_lock(&r->lock);
	r->entries[i].name = name;
	r->entries[i].until_ms = clock_ms() + RECENT_MS;
	pthread_mutex_unlock(&r->lock);
}

bool recent_has(struct recent *r, const char *path)
{
	struct hash name;
	size_t i = place(&name, path);
	bool has;

	pthread_mutex_lock(&r->lock);
	has = clock_ms() < r->entries[i].until_ms && hash_equal(&r->entries[i].name, &name);
	pthread_mutex_unlock(&r->lock);
	return has;
}
