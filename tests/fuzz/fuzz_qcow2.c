/* The beginning of a copy-on-write file of QEMU's. What was read is made again. */
#include "fuzz.h"

#include <errno.h>

#include "format/manifest.h"
#include "format/qcow2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf start = BUF_INIT(QCOW2_START_MAX);
	struct qcow2 q, again;
	struct err e = ERR_INIT;
	int r = qcow2_parse(&q, data, size, &e);

	require(r == 0 || (r == -EINVAL && e.text[0]));
	if (r < 0 || q.size > MANIFEST_SIZE_MAX)
		return 0;
	require(q.size && qcow2_file_len(q.size) >= QCOW2_START_MAX);
	require(qcow2_encode(&q, &start, &e) == 0 && start.len == QCOW2_START_MAX);
	require(qcow2_parse(&again, start.data, QCOW2_CLUSTER, &e) == 0);
	require(again.size >= q.size && again.size < q.size + COW_SECTOR && again.mtime == q.mtime && again.bound == q.bound);
	require(!q.bound || (!strcmp(again.image.name, q.image.name) && !strcmp(again.image.link, q.image.link) && again.image.version == q.image.version &&
				    hash_equal(&again.image.root, &q.image.root)));
	buf_free(&start);
	return 0;
}
