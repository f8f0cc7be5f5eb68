/* Where the bytes of a disk come from, in order: a file with its holes, a pipe, a cloop file; other
 * images and file trees are first made into a sparse temporary file (convert.h). One thread at a
 * time. */
#ifndef PUBLISH_INPUT_H
#define PUBLISH_INPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "publish/scanner.h"

struct input;

struct input_options {
	const char *name;       /* of the image: a made file system's UUID comes from it */
	const char *filesystem; /* "ext4" (also NULL) or "erofs": what trees are made into */
};

/* Opens a disk by what it is: a raw image, file or block device; "-" or a pipe with a raw image; a
 * cloop, qcow2, vmdk, vdi, vhd or vhdx file; a folder or a tar file with a root file system.
 * Conversions happen here and may take long. */
int input_open(struct input **out, const char *path, const struct input_options *o, struct err *e);

/* Opens a file for its bytes alone: a kernel, an initrd. */
int input_open_raw(struct input **out, const char *path, struct err *e);

/* Bytes of the disk; 0 where that shows only at the end (a pipe). */
uint64_t input_size(const struct input *in);

/* Feeds the scanner with what comes next: some MiB, a hole of any length, or nothing where a pipe is
 * silent for a while. 1: there may be more; 0: that was all; -errno. A file that changes while it is read is an error. */
int input_feed(struct input *in, struct scanner *s, struct err *e);

void input_close(struct input *in); /* NULL is fine; removes temporary files */

#endif
