/* Our own namespaces: see namespaces.h. */
#include "machine/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static int write_text(const char *path, const char *text, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || file_write(fd, text, strlen(text)) < 0)
		return err_errno(e, "cannot write %s", path);
	return 0;
}

static int map_self(uid_t uid, gid_t gid, struct err *e)
{
	char text[64];
	int r;

	snprintf(text, sizeof(text), "%u %u 1", uid, uid);
	r = write_text("/proc/self/uid_map", text, e);
	if (!r)
		r = write_text("/proc/self/setgroups", "deny", e);
	snprintf(text, sizeof(text), "%u %u 1", gid, gid);
	return r < 0 ? r : write_text("/proc/self/gid_map", text, e);
}

int namespaces_enter(struct err *e)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int r;

	if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0)) < 0)
		return err_errno(e, "no mount namespace");
	r = uid ? map_self(uid, gid, e) : 0;
	if (!r && mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		r = err_errno(e, "the mount namespace stays shared");
	return r;
}

char *namespaces_folder(const char *base, bool isolated, struct err *e)
{
	bool own = isolated && !mount("inetboot", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700");
	char *dir = own ? strdup(base) : file_path("%s/XXXXXX", base);

	if (dir && (own || mkdtemp(dir)))
		return dir;
	err_errno(e, "cannot make a folder in %s", base);
	free(dir);
	return NULL;
}
