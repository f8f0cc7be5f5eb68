/* QEMU's copy-on-write files, qcow2 version 3, as we make them for overlays (facts from QEMU's docs/interop/qcow2.txt): empty, of clusters of 64 KiB, and without the
 * name of a file that they lie over, which could be any of this host. All numbers are big-endian, but for those of the binding.
 *
 *	cluster 0	the header (104 bytes), and behind it extensions, each u32 type · u32 length · data · up to 7 zeros; type 0 is the end
 *	cluster 1	the table of blocks of reference counts
 *	cluster 2	the first of these blocks: u16 for each cluster
 *	clusters 3...	the first table of where the guest's clusters are: nothing but zeros
 *
 * An extension of ours, which QEMU keeps, says what the file lies over: type "IBO1" · u64 mtime of the disk · and for an image in a store the binding
 * of format/cow.h. Pure: no I/O. */
#ifndef FORMAT_QCOW2_H
#define FORMAT_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "format/cow.h"

#define QCOW2_CLUSTER 65536u
#define QCOW2_START_MAX (3 * QCOW2_CLUSTER) /* bytes of qcow2_encode() */

struct qcow2 {
	uint64_t size;  /* bytes of the disk, 1 to MANIFEST_SIZE_MAX; in the file whole sectors */
	uint64_t mtime; /* of the disk; seconds since 1970 */
	bool bound;
	struct cow_binding image; /* where it is */
};

/* Bytes that a new one has at least. Behind those of qcow2_encode() all are zeros. */
uint64_t qcow2_file_len(uint64_t size);

/* Appends the first bytes of a new one. */
int qcow2_encode(const struct qcow2 *q, struct buf *out, struct err *e);

/* Reads the first QCOW2_CLUSTER bytes (or all, of a shorter one). -EINVAL with a sentence: none that we made. Such a file names no other files. */
int qcow2_parse(struct qcow2 *out, const void *data, size_t len, struct err *e);

#endif
