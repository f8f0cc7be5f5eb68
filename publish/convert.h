/* Images of other programs, and trees of files, made into raw disk images in an unnamed temporary
 * file below $TMPDIR. */
#ifndef PUBLISH_CONVERT_H
#define PUBLISH_CONVERT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* The format's name as qemu-img knows it ("qcow2", "vmdk", "vdi", "vpc", "vhdx"), from a file's
 * first 512 bytes; NULL: none of these. */
const char *convert_probe(const void *head, size_t len);

/* Has qemu-img write the disk of path, in that format. Returns a descriptor of the sparse raw
 * image, already without a name, or -errno. An image that is built from other files than its own is
 * refused (other_files.h). */
int convert_image(const char *path, const char *format, struct err *e);

/* Makes a file system ("ext4" or "erofs") of a folder or (is_tar) of a tar file. The same tree and
 * name give the same bytes. Owners: as they are (root), or, for an ordinary user, as the tar file
 * says, and root instead of that user for a folder. Returns a descriptor as above. */
int convert_tree(
	const char *path, bool is_tar, const char *filesystem, const char *name, struct err *e);

#endif
