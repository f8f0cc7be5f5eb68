/* The processes that give a guest its disk: a supervisor, which mounts it by FUSE, and its worker, which opens the image (network,
 * decompression), serves it and tells about it (export/image_mount.h). They are processes of their own, so that the one that owns the
 * terminal and the guest never touches what comes from outside. */
#ifndef MACHINE_FEED_H
#define MACHINE_FEED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "disk/image.h"
#include "format/cow.h"

struct feed {
	pid_t pid;     /* the supervisor */
	char *disk;    /* path of the virtual disk's file; owned */
	char *status;  /* path of the status file; owned */
	char *file;    /* the same disk as a plain file that is read without us, or NULL; owned */
	struct cow_binding image; /* in a store, that the disk is of, but for its link; version 0: none */
	char *report;  /* the worker's, as it came; owned */
	char *cmdline; /* what the manifest's first boot entry of type uml asks for, or NULL; owned */
};

/* Starts it, and waits until the disk is there (or its message why not), -ETIMEDOUT where that is not before until_ms (clock_ms(); 0: no limit). record: as in struct image_mount.
 * dir: an empty folder for the mount; it must outlive the feed. messages: where its processes' messages go; -1: with ours. Call while the process has one thread. */
int feed_start(struct feed *f, const char *link, const struct image_options *o, const char *record, const char *dir, int messages,
	uint64_t until_ms, struct err *e);

/* What a report says (feed.c), for who got one from elsewhere: cmdline, image and file are set. o: the options that were given. An error that it
 * reports is the error. */
#define FEED_REPORT_MAX (64u << 10) /* bytes: a command line and some */
int feed_take_report(struct feed *f, const char *text, size_t len, const struct image_options *o, struct err *e);
/* Waits at fd for a report, or the end of who sends it: feed_start()'s -ETIMEDOUT. */
int feed_wait(int fd, uint64_t until_ms, struct err *e);
/* A report that says so. Allocated, or NULL. */
char *feed_error_report(const struct err *e);

/* Unmounts and ends it. Waits. */
void feed_stop(struct feed *f);

#endif
