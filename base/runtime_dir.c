/* The runtime folder: see runtime_dir.h. */
#include "base/runtime_dir.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

char *runtime_dir(struct err *e)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	bool use = runtime && *runtime == '/' &&
		   strlen(runtime) <= RUNTIME_DIR_MAX - strlen("/inetboot") &&
		   !runtime[strcspn(runtime, " \t\n,:=\"'\\")] && !access(runtime, W_OK);
	char *dir =
		use ? file_path("%s/inetboot", runtime) : file_path("/tmp/inetboot-%u", geteuid());
	struct stat st;

	if (dir && (mkdir(dir, 0700) == 0 || errno == EEXIST) && !lstat(dir, &st) &&
		S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022))
		return dir;
	err_set(e, -EACCES,
		"cannot use the folder %s: it must be a folder that belongs to this user alone; "
		"remove it, or set XDG_RUNTIME_DIR "
		"to such a folder",
		dir ? dir : "");
	free(dir);
	return NULL;
}
