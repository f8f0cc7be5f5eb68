/* A machine: an image, an engine, a console, from start to end. */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/image.h"

struct display_options;
struct engine;
struct shared_feed;

struct machine_options {
	const struct engine *engine; /* engine.h */
	const char *link;	     /* NULL with medium */
	struct image_options image;
	struct shared_feed *shared; /* has the link's disk already, and hands what it knows of it over; NULL: the machine gets a feed of its own */
	const char *kernel;	  /* NULL: found */
	const char *medium;	  /* a boot medium's file, from which it starts, or NULL */
	bool whole_disk;	  /* its firmware starts what is on the link's disk */
	bool uefi;		  /* and is UEFI; else BIOS */
	const char *overlay;	  /* NULL: writes vanish */
	const char *writes;	  /* an ext4 file system that keeps what is written, as files; NULL; not with overlay */
	uint64_t memory;	  /* bytes */
	const char *append;	  /* more words for the kernel; NULL */
	bool show;		  /* the console on our terminal */
	const char *console_file; /* NULL */
	bool background;	  /* messages of processes that outlive the start go to console_file */
	unsigned timeout_s;	  /* from the call on, so that a server that does not answer counts; 0: none */
	const char *until;	  /* shut down when the console shows this, shorter than WATCH_UNTIL_MAX; NULL */
	const char *record;	  /* write a trace of what is read here: see disk/trace.h; NULL */
	const char *report;	  /* write a JSON report here at the end; NULL */
	bool trusted;
	const char *network; /* path of a network's folder (network/meeting.h); NULL: none */
	const char *vde;     /* or path of the socket of a switch of vde2 or uml-utilities (network/vde.h); NULL */
	const char *name; /* the guest's name in that network, as name_valid() has it */
	const char *mac;  /* its address there; NULL: any */
	const struct display_options *display; /* its X session is shown there (display.h), and its end is the machine's; NULL: none is started */
	int control;	  /* a socket that listens, for those who want the console (control.h); -1: none */
	void (*started)(void *context); /* called once when the guest runs; NULL */
	void *context;
};

enum machine_end {
	MACHINE_CLEAN,	   /* shut down in order */
	MACHINE_NOT_STARTED,
	MACHINE_PANIC,	   /* the guest's kernel panicked */
	MACHINE_TIMEOUT,
	MACHINE_KILLED,	   /* ended in any other way */
};

/* Runs it to its end. e says what happened where it was not MACHINE_CLEAN. SIGTERM, SIGINT, SIGHUP and SIGQUIT, or Ctrl-] typed, shut
 * the guest down; a second one ends it. The process must have one thread, and gets namespaces of its own. */
enum machine_end machine_run(const struct machine_options *o, struct err *e);

#endif
