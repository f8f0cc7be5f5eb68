/* User-Mode Linux's copy-on-write files: as much of them as it takes to tell whether one belongs to a disk. The header, version 3
 * (facts from the kernel's arch/um/drivers/cow_user.c), big-endian, packed:
 *
 *	u32 magic 0x4f4f4f4d · u32 version · u32 mtime of the backing file · u64 its size · u32 sector size · u32 alignment · u32 format ·
 *	4096 bytes path of the backing file */
#ifndef MACHINE_COW_H
#define MACHINE_COW_H

#include "base/err.h"

/* Can the overlay be used with this disk? One that is missing will be made. The kernel would refuse a wrong one too, but with a machine
 * that has no disk. -ESTALE: of another disk or version; -EBUSY: of a machine that runs; -EINVAL: no such file at all. */
int cow_check(const char *overlay, const char *disk, struct err *e);

#endif
