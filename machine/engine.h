/* What guests run in. An engine is a few functions; all that is the same for every guest (terminal, time, signals, disk, network) is machine.c's. */
#ifndef MACHINE_ENGINE_H
#define MACHINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "machine/keeper.h"
#include "machine/machine.h"

struct feed;
struct watch;

#define GUEST_DISK_FD KEEPER_FIRST_FD
#define GUEST_DISK_PATH "/proc/self/fd/3" /* the same for the guest's program */

/* What a guest gets. machine.c fills it in step by step, as the comments say. */
struct guest {
	/* from the beginning */
	const struct machine_options *o;
	const char *dir;   /* the machine's own folder: files of the engine go there, and to DIR/guest */
	int terminal;	   /* its console */
	int messages;	   /* of children, as log_to() has it */
	uint64_t until_ms; /* when the run's time is over (clock_ms()); 0: never */
	/* before prepare(); strings are owned by machine.c */
	char *link;		    /* to just the version of the image that the disk is of; NULL: the disk is no image in a store, or there is none */
	const struct feed *feed;    /* of the disk */
	char *disk;		    /* path of the virtual disk, which the guest's program can open; NULL: it has none */
	char *disk_here;	    /* path of the same for this process */
	int disk_fd;		    /* a descriptor that the guest's program gets as GUEST_DISK_FD; -1: none */
	char *overlay, *writes;	    /* paths of our own for o->overlay and o->writes; or NULL */
	char *network;		    /* path of a socket (SOCK_SEQPACKET, a frame a message) to connect to; NULL: it has no network */
	char *display;		    /* path of a socket, the way to its display; NULL: it has none */
	const struct buf *authority; /* for that, in prepare() alone */
	/* the engine's own, between find() and release() */
	void *own;
};

struct engine {
	const char *name;  /* as --engine has it */
	uint64_t memory;   /* bytes, where none is said */
	/* -EINVAL and a sentence: an option that it does not have. */
	int (*check)(const struct machine_options *o, struct err *e);
	/* Finds what it runs with on this host. Before anything is fetched. */
	int (*find)(struct guest *g, struct err *e);
	/* Makes the overlay, and what else the guest starts with. The disk is there. */
	int (*prepare)(struct guest *g, struct err *e);
	/* As keeper_start(). */
	int (*start)(struct guest *g, pid_t *pid, struct err *e);
	/* Asks it to shut down; is called again and again until it does. */
	int (*ask)(struct guest *g, struct err *e);
	/* Something was read from its terminal, and it runs; NULL: it need not know. */
	void (*look)(pid_t pid);
	/* How did it end by itself? status: its exit status. */
	enum machine_end (*judge)(int status, const struct watch *w, struct err *e);
	void (*release)(struct guest *g); /* after find(), whatever came of it */
};

extern const struct engine engine_uml, engine_qemu;

/* NULL: there is none of that name. */
const struct engine *engine_find(const char *name);

/* A name in the machine's folder for a file whose name may be any: User-Mode Linux takes ',' and ':' for separators, QEMU ',', the loader ':' and ' '. Allocated. */
char *guest_own_name(const struct guest *g, const char *path, const char *name, struct err *e);

#endif
