/* Caches on media: see medium.h. */
#include "cache/medium.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mounts.h"
#include "base/text.h"

/* fuseblk: any driver by FUSE that has a block device below it. Not msdos: it cuts names off after eight characters, so blocks there would neither
 * be counted nor evicted. */
static const char *const types[] = {
	"vfat", "exfat", "fuseblk", "fuse.fusefat", "fuse.exfat", "ext2", "ext3", "ext4"};

struct medium {
	char *dir; /* owned */
	bool root;
	uint64_t free; /* bytes; 0 also where the driver does not tell */
};

static void medium_free(struct medium *m)
{
	free(m->dir);
}

static bool known_type(const char *type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

/* The number shows that nothing else is mounted on top: on the file system, or on the folder. */
static bool has_folder(const struct mount_entry *entry, const char *dir)
{
	struct stat st;

	return !lstat(dir, &st) && S_ISDIR(st.st_mode) &&
	       st.st_dev == makedev(entry->major, entry->minor);
}

static bool usable(const char *dir)
{
	if (!faccessat(AT_FDCWD, dir, R_OK | W_OK | X_OK, AT_EACCESS))
		return true;
	log_info("%s is not used for the cache: %s", dir, strerror(errno));
	return false;
}

static void measure(struct medium *m)
{
	struct statvfs fs;
	struct stat here, root;

	if (!statvfs(m->dir, &fs))
		m->free = (uint64_t)fs.f_bavail * fs.f_frsize;
	m->root = !stat(m->dir, &here) && !stat("/", &root) && here.st_dev == root.st_dev;
}

static bool is_better(const struct medium *m, const struct medium *than)
{
	if (!than->dir || m->root != than->root)
		return !than->dir || !m->root;
	return m->free > than->free;
}

static void consider(const struct mount_entry *entry, struct medium *best)
{
	_cleanup_(medium_free) struct medium m = {
		.dir = file_path("%s/" MEDIUM_FOLDER, strcmp(entry->dir, "/") ? entry->dir : "")};
	struct medium other;

	if (!m.dir || !has_folder(entry, m.dir) || !usable(m.dir))
		return;
	measure(&m);
	if (!is_better(&m, best))
		return;
	other = *best;
	*best = m;
	m = other;
}

int medium_find(char **out, struct err *e)
{
	_cleanup_fclose_ FILE *list = mounts_open();
	_cleanup_(mounts_free) struct mount_entry entry = {0};
	_cleanup_(medium_free) struct medium best = {0};
	char size[TEXT_SIZE_MAX];

	if (!list)
		return err_set(e, -ENOENT,
			"what is attached here cannot be told without /proc: name the folder with "
			"--cache");
	while (mounts_next(list, &entry))
		if (known_type(entry.type))
			consider(&entry, &best);
	if (!best.dir)
		return err_set(e, -ENOENT,
			"no stick or disk (FAT, ext2/3/4) that is mounted here has a "
			"folder " MEDIUM_FOLDER
			" at its top that can be written to: make one there");
	text_size(size, best.free);
	log_info("the cache is in %s%s%s%s", best.dir, best.free ? ", where " : "",
		best.free ? size : "", best.free ? " are free" : "");
	*out = steal_ptr(best.dir);
	return 0;
}
