/* How --memory-limit is divided. It bounds the whole process that reads an image, all threads and libraries, but neither the page cache
 * nor what the kernel keeps for its sockets:
 *
 *	BUDGET_FIXED	what does not depend on load much: the program's and the libraries' data, the stacks of about a hundred
 *			threads (32 that load ahead, 48 that answer FUSE, 32 that look names up), connections with TLS, 8
 *			decompressors, the cache's list when it evicts, manifests and status texts while they are parsed and made
 *	buffers		of reads that are being answered: they wait for each other when it is used up
 *	nodes		index nodes in memory; apart, so that bulk reads do not push the index out, and a walk that holds a
 *			node can wait for a chunk without waiting for itself
 *	pack		where a boot pack is played: a quarter of what chunks have else; its segments, on their way and decompressed
 *	chunks		all else: decoded blocks, and blocks on their way, which count three times: as they come, the same from a
 *			second mirror, and decoded
 *
 * No part is taken before it is needed. */
#ifndef DISK_BUDGET_H
#define DISK_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#define MEMORY_LIMIT_DEFAULT (64u << 20)
#define MEMORY_LIMIT_LEAST (32u << 20) /* one chunk of the greatest length, 4 MiB, on its way, beside the other parts */
#define BUDGET_FIXED (12u << 20)

struct budget {
	size_t buffers, nodes, pack, chunks; /* bytes */
};

/* limit: bytes; less than MEMORY_LIMIT_LEAST is taken as that. */
/* With or without a part for a pack. */
void budget_divide(struct budget *out, size_t limit, bool pack);

#endif
