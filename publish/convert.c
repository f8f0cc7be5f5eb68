/* Conversions: see convert.h. Work is done by qemu-img, tar, mke2fs and mkfs.erofs, in a private
 * folder; the result is opened and the folder removed.
 *
 * An ordinary user's tools run under fakeroot, whose memory of owners and devices is kept in a file
 * from unpacking to making the file system. To give equal bytes for equal trees, mkfs gets a UUID
 * made from the name, a time from the tree, and no settings from /etc. */
#include "publish/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/text.h"
#include "publish/ext4_times.h"
#include "publish/other_files.h"
#include "publish/tool.h"

#define EXT4_BLOCK 4096u
#define EXT4_INODE 256u

const char *convert_probe(const void *head, size_t len)
{
	const char *text = head;

	if (len < 68)
		return NULL;
	if (!memcmp(text, "QFI\xfb", 4))
		return "qcow2";
	if (!memcmp(text, "KDMV", 4) || !memcmp(text, "COWD", 4) ||
		!memcmp(text, "# Disk DescriptorFile", 21))
		return "vmdk";
	if (!memcmp(text + 64, "\x7f\x10\xda\xbe", 4))
		return "vdi";
	if (!memcmp(text, "vhdxfile", 8))
		return "vhdx";
	return memcmp(text, "conectix", 8) ? NULL : "vpc";
}

/* Runs qemu-img and reads the JSON object that it prints. NULL and e set. */
static json_t *ask_qemu_img(
	const char *command, const char *format, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(1u << 20);
	struct tool t = {.package = "qemu-utils", .output = &text};
	const char *args[] = {"qemu-img", command, "--output=json", NULL, NULL, NULL, NULL, NULL};
	json_t *answer;

	if (!strcmp(command, "measure")) {
		args[3] = "-O";
		args[4] = "raw";
		args[5] = "-f";
		args[6] = format;
	} else {
		args[3] = "-f";
		args[4] = format;
	}
	tool_args(&t, args);
	tool_args(&t, (const char *[]){"--", path, NULL});
	if (tool_run(&t, e) < 0)
		return NULL;
	answer = json_loadb((const char *)text.data, text.len, 0, NULL);
	if (!answer)
		err_set(e, -EIO, "qemu-img %s gave an answer that is no JSON", command);
	return answer;
}

static int check_image(
	const char *path, const char *format, const struct workspace *w, struct err *e)
{
	json_t *info = ask_qemu_img("info", format, path, e), *measure;
	const char *backing;
	int64_t required;

	if (!info)
		return -EIO;
	backing = json_string_value(json_object_get(info, "backing-filename"));
	if (backing)
		err_set(e, -EPERM,
			"%s is built on %s: make one file of both first, with qemu-img convert",
			path, backing);
	json_decref(info);
	if (backing)
		return -EPERM;
	measure = ask_qemu_img("measure", format, path, e);
	if (!measure)
		return -EIO;
	required = json_integer_value(json_object_get(measure, "required"));
	json_decref(measure);
	return workspace_needs(w, required > 0 ? (uint64_t)required : 0, e);
}

static int open_result(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_errno(e, "cannot open %s", path) : fd;
}

static int convert_in(
	const struct workspace *w, const char *path, const char *format, struct err *e)
{
	_cleanup_free_ char *image = file_path("%s/image", w->path);
	struct tool t = {.package = "qemu-utils",
		.argv = {"qemu-img", "convert", "-f", format, "-O", "raw", "-S", "4k", "--", path,
			image}};
	int r = image ? check_image(path, format, w, e)
		      : err_set(e, -ENOMEM, "no memory for a path");

	if (r < 0)
		return r;
	log_info("converting the %s image", format);
	r = tool_run(&t, e);
	return r < 0 ? r : open_result(image, e);
}

int convert_image(const char *path, const char *format, struct err *e)
{
	struct workspace w;
	/* qemu-img reads "nbd:..." and "json:..." as something else than a file. */
	_cleanup_free_ char *real = realpath(path, NULL);
	int r = real ? other_files_check(real, format, e)
		     : err_errno(e, "cannot find %s", path);

	if (!r)
		r = workspace_open(&w, e);
	if (r < 0)
		return r;
	r = convert_in(&w, real, format, e);
	workspace_close(&w);
	return r;
}

/* What a tree holds. nftw() has no context: one walk at a time, under the tool's rule of one
 * thread. */
static struct {
	uint64_t blocks, inodes; /* blocks of EXT4_BLOCK */
	time_t newest;
	dev_t device;
	char mounted[4096]; /* a folder of another file system, or "" */
} found;

static int measure_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	uint64_t bytes = (uint64_t)st->st_size, allocated = (uint64_t)st->st_blocks * 512;

	if (!ftw->level)
		found.device = st->st_dev;
	/* The mkfs tools would take it in. Only folders tell: overlayfs has files of several
	 * devices. */
	if (S_ISDIR(st->st_mode) && st->st_dev != found.device) {
		snprintf(found.mounted, sizeof(found.mounted), "%s", path);
		return -1;
	}
	found.inodes++;
	if (S_ISDIR(st->st_mode))
		found.blocks += bytes / EXT4_BLOCK + 2;
	else if (S_ISREG(st->st_mode)) /* sparse files stay so; compressed ones do not */
		found.blocks += bytes / EXT4_BLOCK + 1 + (allocated < bytes) * (bytes >> 20);
	else
		found.blocks++;
	if (st->st_mtime > found.newest)
		found.newest = st->st_mtime;
	return kind == FTW_NS ? -1 : 0;
}

static int measure_tree(const char *tree, struct err *e)
{
	memset(&found, 0, sizeof(found));
	if (!nftw(tree, measure_one, 64, FTW_PHYS))
		return 0;
	if (!*found.mounted)
		return err_errno(e, "cannot read all of %s", tree);
	return err_set(e, -EXDEV,
		"%s is another file system than %s: unmount it, or publish a tar file made with tar "
		"--one-file-system",
		found.mounted, tree);
}

struct maker { /* one tree that becomes a file system */
	const struct workspace *w;
	const char *tree;
	const char *filesystem;
	bool fake;        /* under fakeroot */
	char state[4096]; /* fakeroot's file, "" for none yet */
	char image[4096];
	char uuid[HASH_UUID_MAX];
	char time[40];  /* E2FSPROGS_FAKE_TIME=... */
	char epoch[40]; /* SOURCE_DATE_EPOCH=... */
};

static void make_uuid(char out[HASH_UUID_MAX], const char *name)
{
	static const char salt[] = "inetboot file system of ";
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	_cleanup_free_ char *text = file_path("%s%s %s", salt, name, epoch ? epoch : "");
	struct hash h;

	hash_of(&h, text ? text : salt, text ? strlen(text) : 0);
	hash_uuid(&h, out);
}

static void under_fakeroot(const struct maker *m, struct tool *t, bool load)
{
	if (!m->fake)
		return;
	t->package = "fakeroot";
	tool_args(t, (const char *[]){"fakeroot", NULL});
	if (*m->state)
		tool_args(t, (const char *[]){load ? "-i" : "-s", m->state, NULL});
	tool_args(t, (const char *[]){"--", NULL});
}

static int unpack(struct maker *m, const char *tar, struct err *e)
{
	struct tool t = {.package = "tar"};

	snprintf(m->state, sizeof(m->state), "%s/owners", m->w->path);
	under_fakeroot(m, &t, false);
	tool_args(&t, (const char *[]){"tar", "--extract", "--numeric-owner",
			      "--preserve-permissions", NULL});
	if (!m->fake)
		tool_args(&t, (const char *[]){"--xattrs", "--xattrs-include=*", NULL});
	tool_args(&t, (const char *[]){"--directory", m->tree, "--file", tar, NULL});
	log_info("unpacking %s", tar);
	return tool_run(&t, e);
}

static int make_ext4(struct maker *m, struct err *e)
{
	/* Room for the tables beside the contents, and a little to spare. Free space is a hole: it
	 * costs nothing. */
	uint64_t inodes = found.inodes + found.inodes / 50 + 64;
	uint64_t kib =
		found.blocks * (EXT4_BLOCK / 1024) * 105 / 100 + inodes * EXT4_INODE / 1024 + 16384;
	struct tool t = {
		.package = "e2fsprogs", .env = {m->time, m->epoch, "MKE2FS_CONFIG=/dev/null"}};
	char count[24], size[24], extended[96];
	int r = workspace_needs(m->w, found.blocks * EXT4_BLOCK, e);

	if (r < 0)
		return r;
	snprintf(count, sizeof(count), "%" PRIu64, inodes);
	snprintf(size, sizeof(size), "%" PRIu64 "k", (kib + 1023) / 1024 * 1024);
	snprintf(extended, sizeof(extended), "hash_seed=%s,lazy_itable_init=1,nodiscard", m->uuid);
	under_fakeroot(m, &t, true);
	/* No journal and no checksums: it is only ever read, and every block is hashed anyway. */
	tool_args(&t, (const char *[]){"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I",
			      "256", "-m", "0", "-N", count, "-O",
			      "none,dir_index,ext_attr,extent,extra_isize,filetype,flex_bg,huge_"
			      "file,large_file,"
			      "dir_nlink,sparse_super",
			      "-U", m->uuid, "-E", extended, "-d", m->tree, m->image, size, NULL});
	r = tool_run(&t, e);
	return r < 0 ? r : ext4_times_settle(m->image, e);
}

static int make_erofs(struct maker *m, struct err *e)
{
	struct tool t = {.package = "erofs-utils", .env = {m->epoch}};
	int r = workspace_needs(m->w, found.blocks * EXT4_BLOCK, e);

	if (r < 0)
		return r;
	under_fakeroot(m, &t, true);
	/* Not compressed: blocks are, and chunks of plain files are found again in the next
	 * version. */
	tool_args(&t,
		(const char *[]){"mkfs.erofs", "--quiet", "-U", m->uuid, m->image, m->tree, NULL});
	return tool_run(&t, e);
}

static int make_in(const struct workspace *w, const char *path, bool is_tar, const char *filesystem,
	const char *name, struct err *e)
{
	_cleanup_free_ char *tree = is_tar ? file_path("%s/tree", w->path) : realpath(path, NULL);
	_cleanup_free_ char *tar = is_tar ? realpath(path, NULL) : NULL;
	struct maker m = {.w = w, .tree = tree, .fake = geteuid() != 0};
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	bool erofs = filesystem && !strcmp(filesystem, "erofs");
	int r;

	if (!tree || (is_tar && !tar))
		return err_errno(e, "cannot find %s", path);
	make_uuid(m.uuid, name);
	snprintf(m.image, sizeof(m.image), "%s/image", w->path);
	if (is_tar && mkdir(tree, 0755) < 0)
		return err_errno(e, "cannot make %s", tree);
	r = is_tar ? unpack(&m, tar, e) : 0;
	if (!r)
		r = measure_tree(tree, e);
	if (r < 0)
		return r;
	/* 0 means "now" to mke2fs. */
	snprintf(m.time, sizeof(m.time), "E2FSPROGS_FAKE_TIME=%lld",
		found.newest > 0 ? (long long)found.newest : 1);
	snprintf(m.epoch, sizeof(m.epoch), "SOURCE_DATE_EPOCH=%.16s", epoch ? epoch : m.time + 20);
	log_info("making an %s file system", erofs ? "erofs" : "ext4");
	r = erofs ? make_erofs(&m, e) : make_ext4(&m, e);
	return r < 0 ? r : open_result(m.image, e);
}

int convert_tree(
	const char *path, bool is_tar, const char *filesystem, const char *name, struct err *e)
{
	struct workspace w;
	int r = workspace_open(&w, e);

	if (r < 0)
		return r;
	r = make_in(&w, path, is_tar, filesystem, name, e);
	workspace_close(&w);
	return r;
}
