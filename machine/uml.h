/* User-Mode Linux: which kernel, with what arguments and environment. (Facts: the kernel's Documentation/virt/uml.) */
#ifndef MACHINE_UML_H
#define MACHINE_UML_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct uml_kernel {
	char *path;    /* owned */
	char *modules; /* folder of its modules, or NULL; owned */
	char *preload; /* object to put into LD_PRELOAD, or NULL; owned */
};

/* Finds a kernel: `wanted` where given; else the one that `make uml-kernel` made, in $XDG_CACHE_HOME/inetboot/uml/linux; else linux.uml of
 * the package user-mode-linux. Asks it for its version, for its modules. */
int uml_kernel_find(struct uml_kernel *k, const char *wanted, struct err *e);
void uml_kernel_free(struct uml_kernel *k);

#define UML_DISK_PATH "/proc/self/fd/3"

struct uml_machine {
	const struct uml_kernel *kernel;
	const char *initrd;
	const char *disk;	/* path of the virtual disk; no path here may hold white space, ',' or ':' */
	int disk_fd;		/* a descriptor that the guest gets as UML_DISK_PATH; -1: none */
	const char *overlay;	/* path of the copy-on-write file, or NULL */
	const char *writes;	/* path of an ext4 file system for what is written, or NULL; not with overlay */
	const char *dir;	/* folder for the control socket: DIR/guest/mconsole */
	uint64_t memory;	/* bytes */
	const char *cmdline;	/* more words; "" for none */
	int terminal;		/* becomes the console */
	const char *network;	/* path of a socket (SOCK_SEQPACKET, a frame a message), to which vec0 connects; NULL: none */
	const char *name;	/* the guest's host name for DHCP; with network */
	const char *mac;	/* of vec0; NULL: any */
	const char *display;	/* path of a socket, to which vec1 connects, the way to its display; NULL: none */
	bool trusted;		/* the guest's programs may run by seccomp: faster, and for programs that we trust */
};

/* Starts it, pinned to one CPU, in a session and, where the kernel lets us, a process namespace of its own. The pid is that of a
 * process which ends when the guest does, with the guest's exit status (128 + signal where one ended it). */
int uml_start(const struct uml_machine *m, pid_t *pid, struct err *e);

/* Has it look at all its files: something was read from its terminal. User-Mode Linux is told by SIGIO that a terminal which was full can be written
 * again, and Linux loses that signal where the room is made while the write that finds none is under way: the guest would be silent until somebody
 * types. Not before the guest's kernel has said something: until it is ready for interrupts, one more can hang it. */
void uml_look(pid_t pid);

/* Has it ended? Its exit status; -EAGAIN while it runs. Does not wait. */
int uml_wait(pid_t pid);

/* Ends all children of this process, of which those of a guest without a namespace of its own become some when it ends. Waits. */
void uml_end_orphans(void);

#endif
