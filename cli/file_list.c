/* Listing files: see file_list.h. ext4 is listed level by level: one run of debugfs lists all folders of a level, by their inodes' numbers, so that
 * no name is ever part of a command. */
#include "cli/file_list.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "publish/tool.h"

#define OUTPUT_MAX (512u << 20) /* bytes that a tool may print */
#define DEPTH_MAX 64            /* levels of folders */

static int add(struct file_list *l, char *path, char *what, bool folder, struct err *e)
{
	_cleanup_free_ char *own_path = path, *own_what = what;

	if (!path || !what)
		return err_set(e, -ENOMEM, "no memory for a list of files");
	if (l->count == FILE_LIST_MAX)
		return err_set(e, -EFBIG, "more than %u files", FILE_LIST_MAX);
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 1024;
		struct file_entry *list = reallocarray(l->list, room, sizeof(*list));

		if (!list)
			return err_set(e, -ENOMEM, "no memory for a list of files");
		l->list = list;
		l->room = room;
	}
	l->list[l->count++] = (struct file_entry){steal_ptr(own_path), steal_ptr(own_what), folder};
	return 0;
}

/* ---- ext4 ---- */

struct folder {
	uint64_t inode;
	const char *path; /* of an entry of the list, or "" for the root */
};

struct level {
	struct folder *list; /* owned */
	size_t count;
};

/* Of debugfs's `ls -l`:   inode  mode (type)  uid  gid  size  day-month-year hour:minute name */
static int take_ext4_line(struct file_list *l, const char *folder, const char *line,
	struct level *next, struct err *e)
{
	unsigned mode, type, uid, gid;
	uint64_t inode, size;
	char day[16], minute[8], *path;
	int end = 0, r;

	if (sscanf(line, "%" SCNu64 " %o (%u) %u %u %" SCNu64 " %15s %7s %n", &inode, &mode, &type,
		    &uid, &gid, &size, day, minute, &end) != 8 ||
		!end)
		return 0; /* an empty line, or that of a name without an inode */
	if (!strcmp(line + end, ".") || !strcmp(line + end, ".."))
		return 0;
	path = file_path("%s/%s", folder, line + end);
	r = add(l, path,
		file_path("%o %u:%u %" PRIu64 " %s %s, inode %" PRIu64, mode, uid, gid, size, day,
			minute, inode),
		S_ISDIR(mode), e);
	if (r < 0 || !S_ISDIR(mode))
		return r;
	if (next->count % 256 == 0) {
		struct folder *list = reallocarray(next->list, next->count + 256, sizeof(*list));

		if (!list)
			return err_set(e, -ENOMEM, "no memory for a list of folders");
		next->list = list;
	}
	next->list[next->count++] = (struct folder){inode, path};
	return 0;
}

/* What debugfs prints is, for each command, a line that repeats it, and then the list. */
static int take_ext4(
	struct file_list *l, const struct level *now, char *text, struct level *next, struct err *e)
{
	size_t folder = 0;
	int r = 0;

	for (char *line; !r && (line = strsep(&text, "\n"));) {
		if (!strncmp(line, "debugfs: ls -l <", 16))
			folder++;
		else if (folder && folder <= now->count)
			r = take_ext4_line(l, now->list[folder - 1].path, line, next, e);
	}
	return r;
}

static int list_ext4_level(struct file_list *l, const struct level *now, const char *disk,
	const char *script, struct level *next, struct err *e)
{
	_cleanup_buf_ struct buf commands = BUF_INIT(OUTPUT_MAX), output = BUF_INIT(OUTPUT_MAX);
	struct tool tool = {.package = "e2fsprogs",
		.argv = {"debugfs", "-f", script, disk},
		.env = {"DEBUGFS_PAGER=cat"},
		.output = &output};
	int r = 0;

	for (size_t i = 0; !r && i < now->count; i++)
		r = buf_printf(&commands, "ls -l <%" PRIu64 ">\n", now->list[i].inode);
	if (r < 0)
		return err_set(e, r, "no memory for a list of folders");
	r = file_save(AT_FDCWD, script, commands.data, commands.len, 0, e);
	if (!r)
		r = tool_run(&tool, e);
	if (!r && buf_append(&output, "", 1) < 0)
		r = err_set(e, -ENOMEM, "no memory for a list of files");
	return r < 0 ? r : take_ext4(l, now, (char *)output.data, next, e);
}

static int list_ext4(struct file_list *l, const char *disk, const char *scratch, struct err *e)
{
	_cleanup_free_ char *script = file_path("%s/commands", scratch);
	struct level now = {.list = calloc(1, sizeof(*now.list)), .count = 1};
	int r = script && now.list ? 0 : err_set(e, -ENOMEM, "no memory for a list of files");

	if (!r)
		now.list[0] = (struct folder){2, ""};
	for (unsigned depth = 0; !r && now.count && depth < DEPTH_MAX; depth++) {
		struct level next = {0};

		r = list_ext4_level(l, &now, disk, script, &next, e);
		free(now.list);
		now = next;
	}
	free(now.list);
	return r;
}

/* ---- squashfs ---- */

/* Of `unsquashfs -lln`: mode  uid/gid  size  date  time  path [-> target] */
static int take_squashfs_line(struct file_list *l, const char *line, struct err *e)
{
	char mode[16], owner[32], size[32], day[16], minute[8];
	int end = 0;

	if (sscanf(line, "%15s %31s %31s %15s %7s %n", mode, owner, size, day, minute, &end) != 5 ||
		!end || line[end] != '/')
		return 0;
	return add(l, strdup(line + end),
		file_path("%s %s %s %s %s", mode, owner, size, day, minute), *mode == 'd', e);
}

static int list_squashfs(struct file_list *l, const char *disk, struct err *e)
{
	_cleanup_buf_ struct buf output = BUF_INIT(OUTPUT_MAX);
	struct tool tool = {.package = "squashfs-tools",
		.argv = {"unsquashfs", "-lln", "-d", "", disk},
		.output = &output};
	int r = tool_run(&tool, e);
	char *text;

	if (!r && buf_append(&output, "", 1) < 0)
		r = err_set(e, -ENOMEM, "no memory for a list of files");
	text = (char *)output.data;
	for (char *line; !r && (line = strsep(&text, "\n"));)
		r = take_squashfs_line(l, line, e);
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file_entry *)a)->path, ((const struct file_entry *)b)->path);
}

int file_list_load(struct file_list *out, const char *disk, const char *filesystem,
	const char *scratch, struct err *e)
{
	int r;

	*out = (struct file_list){0};
	if (!strcmp(filesystem, "ext4"))
		r = list_ext4(out, disk, scratch, e);
	else if (!strcmp(filesystem, "squashfs"))
		r = list_squashfs(out, disk, e);
	else
		return err_set(e, -EOPNOTSUPP,
			"files can be listed on ext4 and squashfs, and this is %s",
			*filesystem ? filesystem : "not known");
	if (!r && !out->count)
		r = err_set(e, -EIO, "no file was found in its %s", filesystem);
	if (r < 0)
		file_list_free(out);
	else
		qsort(out->list, out->count, sizeof(*out->list), by_path);
	return r;
}

void file_list_free(struct file_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		free(l->list[i].path);
		free(l->list[i].what);
	}
	free(l->list);
	*l = (struct file_list){0};
}
