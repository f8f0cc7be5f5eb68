/* Puts the guest's initramfs together: see initramfs.h. */
#include "machine/initramfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "machine/cpio.h"
#include "machine/resources.h"

#define INITRAMFS_MAX (64u << 20) /* bytes; it has to fit into a small guest's memory twice */

static int load_resource(const char *name, struct buf *out, struct err *e)
{
	_cleanup_free_ char *path = resource_path(name, e);

	return path ? file_load(AT_FDCWD, path, out, e) : -ENOENT;
}

/* Adds the folders of a path, from the top down. The kernel does not mind those that are there already. */
static int add_folders(struct buf *out, char *path)
{
	int r = 0;

	for (char *slash = strchr(path, '/'); slash && !r; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		r = cpio_add(out, path, S_IFDIR | 0755, NULL, 0);
		*slash = '/';
	}
	return r;
}

static int add_module(struct buf *out, const char *modules, const char *version, const char *name, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(INITRAMFS_MAX);
	_cleanup_free_ char *from = file_path("%s/kernel/%s", modules, name);
	_cleanup_free_ char *to = file_path("lib/modules/%s/kernel/%s", version, name);
	int r = from && to ? file_load(AT_FDCWD, from, &data, e) : -ENOMEM;

	if (r == -ENOENT)
		return 0; /* built in, or not needed by this kernel */
	if (!r)
		r = add_folders(out, to);
	return r < 0 ? r : cpio_add(out, to, S_IFREG | 0644, data.data, data.len);
}

static int add_modules(struct buf *out, const char *modules, struct err *e)
{
	_cleanup_buf_ struct buf list = BUF_INIT(65536);
	const char *slash = strrchr(modules, '/');
	char *next;
	int r = load_resource("modules.list", &list, e);

	if (!r)
		r = buf_append(&list, "", 1);
	next = (char *)list.data;
	for (char *line; !r && (line = strsep(&next, "\n"));)
		if (*line && *line != '#')
			r = add_module(out, modules, slash ? slash + 1 : modules, line, e);
	return r < 0 ? r : cpio_end(out);
}

static int add_authority(struct buf *out, const struct buf *authority)
{
	int r = cpio_add(out, INITRAMFS_AUTHORITY, S_IFREG | 0600, authority->data, authority->len);

	return r < 0 ? r : cpio_end(out);
}

int initramfs_write(const char *path, const char *modules, const struct buf *authority, struct err *e)
{
	_cleanup_buf_ struct buf all = BUF_INIT(INITRAMFS_MAX);
	int r = load_resource("initramfs.cpio.gz", &all, e);

	if (!r && modules)
		r = add_modules(&all, modules, e);
	if (!r && authority)
		r = add_authority(&all, authority);
	if (r < 0)
		return err_add(e, "cannot make the guest's initramfs");
	return file_save(AT_FDCWD, path, all.data, all.len, FILE_PRIVATE, e);
}
