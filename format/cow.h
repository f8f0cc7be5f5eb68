/* User-Mode Linux's copy-on-write files, format version 3 (facts from the kernel's arch/um/drivers/cow_user.c). All numbers are big-endian:
 *
 *	0	u32 magic 0x4f4f4f4d · u32 version 3 · u32 mtime of the backing file · u64 its size · u32 sector size · u32 alignment ·
 *		u32 format (0: a bitmap) · 4096 bytes path of the backing file
 *	4128	nothing up to the next multiple of the alignment: User-Mode Linux neither reads nor writes it
 *	B	bitmap, one bit for each sector, the lowest first: 1 where the sector is in this file
 *	D	at the next multiple of the alignment: the sectors, each at D + its place on the disk; the rest is a hole
 *
 * Into the 4064 free bytes behind the header of those that we make goes a record which binds the file to an image (all its numbers
 * little-endian). So it survives copying the file, and User-Mode Linux's own changes to the header:
 *
 *	4128	"IBO1" · u32 bytes of the link · u64 version · 32 bytes root hash of the image's index · 68 bytes name, padded with zeros ·
 *		the link, STORE/NAME@VERSION[#KEY]
 *
 * Pure: no I/O. */
#ifndef FORMAT_COW_H
#define FORMAT_COW_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "format/link.h"

#define COW_HEAD_LEN 4128
#define COW_SECTOR 512u
#define COW_ALIGNMENT 4096u /* of those that we make, and that User-Mode Linux makes */
#define COW_START 8192	    /* bytes in front of the bitmap of such a file: the header and the binding */
#define COW_BINDING_HEAD 116
#define COW_LINK_MAX (COW_START - COW_HEAD_LEN - COW_BINDING_HEAD) /* bytes of the link */

struct cow_head {
	uint32_t mtime;	    /* seconds since 1970, the low 32 bits */
	uint64_t size;	    /* bytes of the disk, 1 to MANIFEST_SIZE_MAX */
	uint32_t alignment; /* a power of two */
	uint64_t bitmap, bitmap_len, data; /* bytes: where the bitmap is, how long, and where the sectors begin */
};

struct cow_binding {
	char name[LINK_NAME_MAX + 1]; /* of the image */
	uint64_t version;
	struct hash root;
	char link[COW_LINK_MAX + 1]; /* to that version, or "" where it would be too long */
};

/* Reads the header, the first COW_HEAD_LEN bytes of a file. -EINVAL with a sentence: no such file, or one that User-Mode Linux does not make.
 * Everything in *out is bounded; that the file is as long as cow_file_len() is for the caller to see. */
int cow_head_parse(struct cow_head *out, const void *data, size_t len, struct err *e);

/* Bytes of the whole file. */
uint64_t cow_file_len(const struct cow_head *h);

/* The first COW_START bytes of a new file for a disk of `size` bytes, with nothing in its bitmap; the rest of its cow_file_len() is zeros.
 * backing: the disk's path. -EINVAL where that or the size is too long. */
int cow_start_encode(uint8_t out[COW_START], uint64_t size, uint32_t mtime, const char *backing, const struct cow_binding *b, struct err *e);

/* The record of a binding alone, COW_BINDING_HEAD bytes and its link: writes it into zeros; reads it from len bytes, -EINVAL where it is no good one. */
void cow_binding_put(uint8_t *p, const struct cow_binding *b);
int cow_binding_get(struct cow_binding *out, const uint8_t *p, size_t len, struct err *e);

/* Reads the binding behind the header, from the file's first COW_START bytes. 1: there is one; 0: there is none; -EINVAL. */
int cow_binding_parse(struct cow_binding *out, const struct cow_head *h, const void *data, size_t len, struct err *e);

#endif
