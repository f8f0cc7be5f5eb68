/* The processes that give a guest its disk: a supervisor, which mounts it by FUSE, and its worker, which opens the image (network,
 * decompression), serves it and tells about it (export/image_mount.h). They are processes of their own, so that the one that owns the
 * terminal and the guest never touches what comes from outside. */
#ifndef MACHINE_FEED_H
#define MACHINE_FEED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "base/err.h"
#include "disk/image.h"
#include "format/cow.h"

struct feed {
	pid_t pid;     /* the supervisor */
	char *disk;    /* path of the virtual disk's file; owned */
	char *status;  /* path of the status file; owned */
	char *file;    /* the same disk as a plain file that is read without us, or NULL; owned */
	struct cow_binding image; /* in a store, that the disk is of, but for its link; version 0: none */
	char *cmdline; /* what the manifest's first boot entry of type uml asks for, or NULL; owned */
};

/* Starts it, and waits until the disk is there (or its message why not), -ETIMEDOUT where that is not before until_ms (clock_ms(); 0: no limit). record: as in struct image_mount.
 * dir: an empty folder for the mount; it must outlive the feed. messages: where its processes' messages go; -1: with ours. Call while the process has one thread. */
int feed_start(struct feed *f, const char *link, const struct image_options *o, const char *record, const char *dir, int messages,
	uint64_t until_ms, struct err *e);

/* Of a report in JSON, "name", "version" and "root": what an overlay is bound to. One that lies makes an overlay that does not fit later, no more. */
void feed_read_image(const json_t *report, struct cow_binding *out);

/* Has it ended by itself? Then the guest's disk is gone. */
bool feed_ended(const struct feed *f);

/* Unmounts and ends it. Waits. */
void feed_stop(struct feed *f);

#endif
