/* cloop-fuse FILE DIR: shows the disk inside a cloop file as DIR/disk. A static program for the guest's initramfs, where no kernel has
 * the cloop driver any more. Goes into the background when the mount is there, with its own argv[0] kept ("@..." tells systemd to let it
 * live across the change of root and until the very end). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk/cloop.h"
#include "disk/raw.h"
#include "export/fuse.h"
#include "export/mountpoint.h"

#define BUFFERS (2u << 20) /* bytes of reads */
#define MEMORY_LIMIT (8u << 20) /* bytes: a guest may have little, and its kernel keeps pages as well */

static int serve(const char *path, const char *dir, int ready, struct err *e)
{
	struct source *file = NULL, *cloop = NULL;
	struct fuse_export_options o = {.buffers = BUFFERS};
	struct mountpoint mount = MOUNTPOINT_NONE;
	struct fuse_export *export;
	int r = file_source_open(&file, path, NULL, e);

	if (!r)
		r = cloop_source_open(&cloop, file, MEMORY_LIMIT, e);
	if (!r)
		r = disk_open(&o.disk, cloop, e);
	if (!r)
		r = slots_create(&o.slots, e);
	if (!r)
		r = mountpoint_open(&mount, dir, false, e);
	o.device = mount.device;
	if (!r)
		r = fuse_export_open(&export, &o, e);
	if (r < 0)
		return r;
	if (write(ready, "", 1) != 1)
		return -EPIPE;
	return fuse_export_run(export, e);
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	char byte;
	int fds[2];

	if (argc != 3) {
		fprintf(stderr, "usage: cloop-fuse FILE DIR\n");
		return 2;
	}
	if (pipe(fds) < 0) {
		perror("cloop-fuse");
		return 1;
	}
	switch (fork()) {
	case -1:
		perror("cloop-fuse");
		return 1;
	case 0:
		break;
	default:
		close(fds[1]);
		return read(fds[0], &byte, 1) == 1 ? 0 : 1;
	}
	close(fds[0]);
	setsid();
	if (serve(argv[1], argv[2], fds[1], &e) < 0) {
		fprintf(stderr, "cloop-fuse: %s: %s\n", argv[1], e.text);
		return 1;
	}
	return 0;
}
