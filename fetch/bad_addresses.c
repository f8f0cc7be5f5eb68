/* Addresses that did not answer: see bad_addresses.h. */
#include "fetch/bad_addresses.h"

#include <arpa/inet.h>
#include <string.h>

static bool copy(union address *out, const struct sockaddr *from)
{
	memset(out, 0, sizeof(*out));
	if (from->sa_family == AF_INET)
		memcpy(&out->in, from, sizeof(out->in));
	else if (from->sa_family == AF_INET6)
		memcpy(&out->in6, from, sizeof(out->in6));
	return out->any.sa_family;
}

static bool same(const union address *a, const union address *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return a->in6.sin6_port == b->in6.sin6_port && !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr));
}

static bool is_called(const union address *a, const char *text)
{
	char name[INET6_ADDRSTRLEN];
	const void *bytes = a->any.sa_family == AF_INET ? (const void *)&a->in.sin_addr : &a->in6.sin6_addr;

	return inet_ntop(a->any.sa_family, bytes, name, sizeof(name)) && !strcmp(name, text);
}

bool bad_addresses_has(const struct bad_addresses *b, const struct sockaddr *a, uint64_t now_us)
{
	union address address;

	if (!copy(&address, a))
		return false;
	for (size_t i = 0; i < BAD_ADDRESSES_MAX; i++)
		if (now_us < b->list[i].until_us && same(&b->list[i].address, &address))
			return true;
	return false;
}

static void mark(struct bad_addresses *b, const union address *a, uint64_t now_us)
{
	size_t at = 0;

	for (size_t i = 0; i < BAD_ADDRESSES_MAX; i++) {
		if (same(&b->list[i].address, a)) {
			at = i;
			break;
		}
		if (b->list[i].until_us < b->list[at].until_us)
			at = i;
	}
	b->list[at].address = *a;
	b->list[at].until_us = now_us + BAD_ADDRESSES_S * 1000000ull;
}

void address_tries_add(struct address_tries *t, const struct sockaddr *a, uint64_t now_us)
{
	if (t->count < ADDRESS_TRIES_MAX && copy(&t->list[t->count].address, a))
		t->list[t->count++].begun_us = now_us;
}

void address_tries_end(struct address_tries *t, const char *text, struct bad_addresses *b, uint64_t now_us)
{
	for (unsigned i = 0; i < t->count; i++)
		if (now_us - t->list[i].begun_us >= ADDRESS_SLOW_MS * 1000 && !(text && is_called(&t->list[i].address, text)))
			mark(b, &t->list[i].address, now_us);
	t->count = 0;
}
