/* FUSE passthrough (Linux 6.9): the kernel reads a file of ours by itself where it would ask for
 * reads of `disk`. For an unpacked image (disk/unpacked.h): what is read then never comes here.
 *
 *	FUSE_INIT	the kernel offers it, the worker's session agrees
 *	once		the worker hands the file that it has checked to the supervisor, which has
 *			CAP_SYS_ADMIN, and that registers it with the kernel: it gets a number, kept
 *			in the slots (slots.h) for all later workers
 *	each open	is answered with that number
 *
 * The kernel does not mix such opens of a file with others, so it is decided at the first open, once
 * for as long as it is mounted. What a later worker finds of the file does not matter then: the
 * kernel has the one that was checked. */
#ifndef EXPORT_PASSTHROUGH_H
#define EXPORT_PASSTHROUGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Agrees upon it in the answer to FUSE_INIT, where the request offers it; both with their headers,
 * and their lengths. Says whether it did. */
bool passthrough_agree(const void *request, size_t request_len, void *answer, size_t answer_len);

struct passthrough_open { /* struct fuse_open_out, as it is in newer headers */
	uint64_t fh;
	uint32_t flags;
	int32_t number;
};

/* The answer to an open: reads go to the file with this number. */
struct passthrough_open passthrough_open(int32_t number);

/* Registers a file. device: /dev/fuse, mounted, FUSE_INIT answered. Its number (> 0), or -errno:
 * -EPERM where that was not agreed upon, or without CAP_SYS_ADMIN in the first user namespace;
 * -ELOOP for a file in a stacked file system, as overlayfs is. The kernel keeps the file open. */
int32_t passthrough_register(int device, int fd);

#endif
