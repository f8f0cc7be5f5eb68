/* QEMU's copy-on-write files: see qcow2.h. */
#include "format/qcow2.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "format/manifest.h"

#define QCOW2_MAGIC 0x514649fb
#define QCOW2_VERSION 3
#define HEADER_LEN 104
#define CLUSTER_BITS 16
#define REFCOUNT_ORDER 4            /* 16 bits */
#define ENTRIES (QCOW2_CLUSTER / 8) /* of a table in a cluster */
#define EXTENSION_OURS 0x49424f31   /* "IBO1" */
#define EXTENSION_HEAD 8
#define FIRST_TABLE 3 /* cluster */
#define DIRTY 3u      /* the incompatible features that a crash leaves: dirty, corrupt */

static uint64_t whole_sectors(uint64_t size)
{
	return (size + COW_SECTOR - 1) / COW_SECTOR * COW_SECTOR;
}

/* Entries of the first table: each is for a table of one cluster. */
static uint64_t table_entries(uint64_t size)
{
	uint64_t covered = (uint64_t)QCOW2_CLUSTER * ENTRIES;

	return (size + covered - 1) / covered;
}

static uint64_t clusters(uint64_t size)
{
	return FIRST_TABLE + (table_entries(size) + ENTRIES - 1) / ENTRIES;
}

uint64_t qcow2_file_len(uint64_t size)
{
	return clusters(size) * QCOW2_CLUSTER;
}

static void put_header(uint8_t *p, uint64_t size)
{
	store_be32(p, QCOW2_MAGIC);
	store_be32(p + 4, QCOW2_VERSION);
	store_be32(p + 20, CLUSTER_BITS);
	store_be64(p + 24, whole_sectors(size));
	store_be32(p + 36, (uint32_t)table_entries(size));
	store_be64(p + 40, (uint64_t)FIRST_TABLE * QCOW2_CLUSTER);
	store_be64(p + 48, QCOW2_CLUSTER);
	store_be32(p + 56, 1);
	store_be32(p + 96, REFCOUNT_ORDER);
	store_be32(p + 100, HEADER_LEN);
}

int qcow2_encode(const struct qcow2 *q, struct buf *out, struct err *e)
{
	size_t record = q->bound ? COW_BINDING_HEAD + strlen(q->image.link) : 0, before = out->len;
	uint64_t count = clusters(q->size);
	uint8_t *p;

	if (!q->size || q->size > MANIFEST_SIZE_MAX)
		return err_set(e, -EINVAL, "an overlay for a disk of %llu bytes is not possible",
			(unsigned long long)q->size);
	if (buf_reserve(out, QCOW2_START_MAX) < 0)
		return err_set(e, -ENOMEM, "no memory");
	p = out->data + before;
	memset(p, 0, QCOW2_START_MAX);
	out->len += QCOW2_START_MAX;
	put_header(p, q->size);
	store_be32(p + HEADER_LEN, EXTENSION_OURS);
	store_be32(p + HEADER_LEN + 4, (uint32_t)(8 + record));
	store_be64(p + HEADER_LEN + EXTENSION_HEAD, q->mtime);
	if (q->bound)
		cow_binding_put(p + HEADER_LEN + EXTENSION_HEAD + 8, &q->image);
	store_be64(p + QCOW2_CLUSTER, 2ULL * QCOW2_CLUSTER);
	for (uint64_t i = 0; i < count; i++)
		p[2 * QCOW2_CLUSTER + 2 * i + 1] = 1;
	return 0;
}

static int take_ours(struct qcow2 *q, const uint8_t *p, size_t len, struct err *e)
{
	if (len < 8)
		return err_set(
			e, -EINVAL, "the note of the disk to which an overlay belongs is damaged");
	q->mtime = load_be64(p);
	q->bound = len > 8;
	return q->bound ? cow_binding_get(&q->image, p + 8, len - 8, e) : 0;
}

int qcow2_parse(struct qcow2 *out, const void *data, size_t len, struct err *e)
{
	const uint8_t *p = data;
	struct qcow2 q = {0};
	size_t at;

	if (len < HEADER_LEN + EXTENSION_HEAD || load_be32(p) != QCOW2_MAGIC ||
		load_be32(p + 4) != QCOW2_VERSION)
		return err_set(e, -EINVAL, "no copy-on-write file of QEMU (qcow2, version 3)");
	q.size = load_be64(p + 24);
	if (!q.size || q.size > MANIFEST_SIZE_MAX + COW_SECTOR || load_be32(p + 20) != CLUSTER_BITS)
		return err_set(e, -EINVAL,
			"a copy-on-write file of QEMU that was not made by `inetboot boot`");
	if (load_be64(p + 8) || load_be64(p + 72) & ~(uint64_t)DIRTY)
		return err_set(e, -EINVAL,
			"a copy-on-write file of QEMU that names other files, or is made in a way "
			"that is not known here");
	at = load_be32(p + 100);
	while (at >= HEADER_LEN && at <= len - EXTENSION_HEAD && load_be32(p + at)) {
		uint32_t type = load_be32(p + at), size = load_be32(p + at + 4);

		at += EXTENSION_HEAD;
		if (size > len - at)
			break;
		if (type == EXTENSION_OURS) {
			int r = take_ours(&q, p + at, size, e);

			if (!r)
				*out = q;
			return r;
		}
		at += ((size_t)size + 7) / 8 * 8;
	}
	return err_set(
		e, -EINVAL, "a copy-on-write file of QEMU that was not made by `inetboot boot`");
}
