/* Looking for programs: see program.h. */
#include "base/program.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

char *program_path(const char *name)
{
	_cleanup_free_ char *dirs = strdup(getenv("PATH") ? getenv("PATH") : "/usr/local/bin:/usr/bin:/bin");
	char *next = dirs;

	for (char *dir; dirs && (dir = strsep(&next, ":"));) {
		char *path = file_path("%s/%s", *dir ? dir : ".", name);

		if (path && !access(path, X_OK))
			return path;
		free(path);
	}
	return NULL;
}
