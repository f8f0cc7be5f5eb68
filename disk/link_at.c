/* A link to another version: see link_at.h. */
#include "disk/link_at.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "format/link.h"

static char *absolute(const char *path, struct err *e)
{
	char *real = realpath(path, NULL);

	if (!real)
		err_errno(e, "cannot find %s", path);
	return real;
}

char *link_at(const char *link, bool in_store, uint64_t version, struct err *e)
{
	_cleanup_free_ char *store = NULL;
	struct link l;
	char *out;

	if (link_parse(&l, link, e) < 0)
		return NULL;
	if (in_store) {
		store = l.remote ? strdup(l.store) : absolute(l.store, e);
		out = store ? link_format(store, l.name, version, l.has_key ? &l.key : NULL) : NULL;
	} else {
		out = l.remote ? strdup(link) : absolute(l.file, e);
	}
	link_free(&l);
	return out;
}
