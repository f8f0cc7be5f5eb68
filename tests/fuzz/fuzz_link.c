/* link_parse(): what it accepts has a meaning that link_format() writes and that reads back the
 * same. */
#include "fuzz.h"

#include "base/cleanup.h"
#include "format/link.h"

static void check_round_trip(const struct link *l)
{
	_cleanup_free_ char *text =
		link_format(l->store, l->name, l->version, l->has_key ? &l->key : NULL);
	struct link again;

	require(text);
	if (strlen(text) > LINK_LEN_MAX)
		return;
	require(link_parse(&again, text, NULL) == 0);
	require(!strcmp(again.store, l->store) && !strcmp(again.name, l->name));
	require(again.remote == l->remote && again.loopback == l->loopback &&
		again.version == l->version);
	require(again.has_key == l->has_key &&
		(!l->has_key || public_key_equal(&again.key, &l->key)));
	link_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1);
	struct err e = ERR_INIT;
	struct link l;
	int r;

	memcpy(text, data, size);
	text[size] = 0;
	r = link_parse(&l, text, &e);
	require(r == 0 || (r < 0 && e.text[0] && !l.store && !l.file));
	if (r < 0)
		return 0;
	require(l.store[0] && l.file[0]);
	require(!strchr(l.store, '#') &&
		!strchr(l.file, '#')); /* the key never leaves the machine */
	require(!l.name[0] || link_name_valid(l.name));
	require(!l.loopback || l.remote);
	if (l.name[0])
		check_round_trip(&l);
	link_free(&l);
	return 0;
}
