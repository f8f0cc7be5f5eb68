/* FUSE passthrough: see passthrough.h. */
#include "export/passthrough.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/ioctl.h>

/* From the kernel's include/uapi/linux/fuse.h, protocol 7.40. Older headers lack all of it, and
 * newer ones have other names for what was unused: so these are ours. */
#define FLAG2_PASSTHROUGH (1u << 5) /* FUSE_PASSTHROUGH, bit 37 */
#define OPEN_PASSTHROUGH (1u << 7)  /* FOPEN_PASSTHROUGH */
/* max_stack_depth, behind flags2 in struct fuse_init_out */
#define STACK_DEPTH_AT (offsetof(struct fuse_init_out, flags2) + sizeof(uint32_t))
/* FUSE_DEV_IOC_BACKING_OPEN */
#define BACKING_OPEN _IOW(FUSE_DEV_IOC_MAGIC, 1, struct backing_map)

struct backing_map { /* struct fuse_backing_map */
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

bool passthrough_agree(const void *request, size_t request_len, void *answer, size_t answer_len)
{
	/* For plain files only; another file system, an overlay, may then be stacked on ours. */
	static const uint32_t stack_depth = 1;
	const struct {
		struct fuse_in_header head;
		struct fuse_init_in init;
	} *asked = request;
	struct {
		struct fuse_out_header head;
		struct fuse_init_out init;
	} *out = answer;

	if (request_len < sizeof(*asked) || answer_len < sizeof(*out) || out->head.error ||
		!(asked->init.flags & FUSE_INIT_EXT) || !(asked->init.flags2 & FLAG2_PASSTHROUGH))
		return false;
	out->init.flags |= FUSE_INIT_EXT;
	out->init.flags2 |= FLAG2_PASSTHROUGH;
	memcpy((uint8_t *)&out->init + STACK_DEPTH_AT, &stack_depth, sizeof(stack_depth));
	return true;
}

struct passthrough_open passthrough_open(int32_t number)
{
	return (struct passthrough_open){.flags = OPEN_PASSTHROUGH, .number = number};
}

int32_t passthrough_register(int device, int fd)
{
	struct backing_map map = {.fd = fd};
	int number = ioctl(device, BACKING_OPEN, &map);

	return number > 0 ? number : number < 0 ? -errno : -EIO;
}
