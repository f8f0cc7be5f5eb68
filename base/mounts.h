/* What is mounted in this process's mount namespace, from the kernel's list: nothing here touches a mount, which may be dead. Any
 * thread. */
#ifndef BASE_MOUNTS_H
#define BASE_MOUNTS_H

#include <stdio.h>

struct mount_entry {
	unsigned major, minor; /* the device */
	char *dir;	       /* where */
	char *type, *source;   /* "fuse.inetboot", "inetboot" */
};

/* Opens the list. NULL: there is no /proc. Close it with fclose(). */
FILE *mounts_open(void);

/* The next entry, the oldest first: a later one at the same place lies on top. 1; 0 at the end. Its text is freed by the next call, or by
 * mounts_free(); start with an entry of {0}. */
int mounts_next(FILE *list, struct mount_entry *m);
void mounts_free(struct mount_entry *m);

#endif
