/* Other files of an image: see other_files.h.
 *
 * A vmdk descriptor is text, and the programs that read it differ in where they see a name in it.
 * So nothing is parsed here: whatever stands behind any quotation mark must not lead out of the
 * folder, nor be anything there but a part of a disk. */
#include "publish/other_files.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

#define DESCRIPTOR_MAX (1u << 20) /* qemu-img reads no more of one */
#define QCOW2_EXTERNAL_DATA 4u    /* a bit of the incompatible features */

static int refuse(const char *path, const char *why, struct err *e)
{
	return err_set(e, -EPERM,
		"%s %s: publishing it could give away files of this machine. Make one file of it "
		"first: qemu-img convert -O qcow2 "
		"%s NEW.qcow2",
		path, why, path);
}

static int check_qcow2(const char *path, const uint8_t *head, struct err *e)
{
	uint64_t backing, features;
	uint32_t version;

	memcpy(&version, head + 4, sizeof(version));
	memcpy(&backing, head + 8, sizeof(backing));
	memcpy(&features, head + 72, sizeof(features));
	if (backing)
		return refuse(path, "is built on another image", e);
	if (be32toh(version) >= 3 && be64toh(features) & QCOW2_EXTERNAL_DATA)
		return refuse(path, "keeps its data in another file", e);
	return 0;
}

/* A sparse vmdk without a capacity is a descriptor in disguise. */
static bool hides_descriptor(const uint8_t *head)
{
	static const uint8_t none[8];

	return !memcmp(head, "KDMV", 4) && !memcmp(head + 12, none, sizeof(none));
}

static bool is_part(int dirfd, const char *name)
{
	_cleanup_close_ int fd =
		openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint8_t head[20] = {0};
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && text_ends(name, ".vmdk") &&
	       pread(fd, head, sizeof(head), 0) >= 0 && !hides_descriptor(head);
}

/* What stands behind a quotation mark. */
static int check_quoted(const char *path, int dirfd, const char *text, size_t len, struct err *e)
{
	_cleanup_free_ char *name = strndup(text, len);
	struct stat st;

	if (!name)
		return err_set(e, -ENOMEM, "no memory for a name");
	if (strpbrk(name, "/\\:"))
		return refuse(path, "names files outside of its folder", e);
	if (*name && !fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) && !is_part(dirfd, name))
		return refuse(path, "names files that are no parts of a vmdk image", e);
	return 0;
}

static int check_descriptor(const char *path, int fd, struct err *e)
{
	_cleanup_free_ char *text = malloc(DESCRIPTOR_MAX + 1);
	_cleanup_free_ char *folder = strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
	_cleanup_close_ int dirfd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	ssize_t len;
	int r = 0;

	if (!text || !folder)
		return err_set(e, -ENOMEM, "no memory for a descriptor");
	if (dirfd < 0)
		return err_errno(e, "cannot open %s", folder);
	len = file_read(fd, text, DESCRIPTOR_MAX);
	if (len < 0)
		return err_set(e, (int)len, "cannot read %s: %s", path, strerror((int)-len));
	text[len] = 0;
	for (const char *at = text; !r && (at = memchr(at, '"', (size_t)(text + len - at)));) {
		at++;
		r = check_quoted(path, dirfd, at, strcspn(at, "\"\r\n"), e);
	}
	return r;
}

int other_files_check(const char *path, const char *format, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t head[80] = {0};

	if (fd < 0)
		return err_errno(e, "cannot open %s", path);
	if (pread(fd, head, sizeof(head), 0) < 0)
		return err_errno(e, "cannot read %s", path);
	if (!strcmp(format, "qcow2"))
		return check_qcow2(path, head, e);
	if (strcmp(format, "vmdk") != 0)
		return 0;
	if (hides_descriptor(head))
		return refuse(path, "names other files where none belong", e);
	return memcmp(head, "#", 1) ? 0 : check_descriptor(path, fd, e);
}
