/* Finds the program's own files: see resources.h. */
#include "machine/resources.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static char *program_dir(void)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	if (len <= 0)
		return NULL;
	path[len] = 0;
	slash = strrchr(path, '/');
	return slash ? strndup(path, (size_t)(slash - path)) : NULL;
}

static char *if_there(char *path)
{
	if (path && !access(path, R_OK))
		return path;
	free(path);
	return NULL;
}

char *resource_path(const char *name, struct err *e)
{
	static const char *const built[] = {"guest", "machine", "export/nbdkit", "recipes", "medium"};
	_cleanup_free_ char *dir = program_dir();
	const char *data = getenv("INETBOOT_DATA");
	char *path = data ? if_there(file_path("%s/%s", data, name)) : NULL;

	for (size_t i = 0; !path && dir && i < sizeof(built) / sizeof(built[0]); i++)
		path = if_there(file_path("%s/../%s/%s", dir, built[i], name));
	if (!path)
		path = if_there(file_path("%s/%s", INETBOOT_DATADIR, name));
	if (!path)
		err_set(e, -ENOENT, "%s, which belongs to the program, is neither beside it nor in %s; name the folder with INETBOOT_DATA",
			name, INETBOOT_DATADIR);
	return path;
}
