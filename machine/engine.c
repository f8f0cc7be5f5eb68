/* Engines: see engine.h. */
#include "machine/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

const struct engine *engine_find(const char *name)
{
	static const struct engine *const all[] = {&engine_uml, &engine_qemu};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(name, all[i]->name))
			return all[i];
	return NULL;
}

char *guest_own_name(const struct guest *g, const char *path, const char *name, struct err *e)
{
	_cleanup_free_ char *target = file_absolute(path);
	char *own = file_path("%s/%s", g->dir, name);

	if (target && own && !symlink(target, own))
		return own;
	err_errno(e, "cannot pass %s on", path);
	free(own);
	return NULL;
}
