/* The process that serves a mount: see image_mount.h. It has a socket to the supervisor:
 *
 *	worker → supervisor	WORKER_OPENED: the image is open; its pin and the report are in the slots' memory
 *				WORKER_READY: requests are answered from now on
 *				WORKER_FILE: with an unpacked image that the kernel may read by itself (passthrough.h)
 *				WORKER_FAILED: it cannot go on, with code and text, and ends
 *	supervisor → worker	the FUSE device, when the image is open
 *				where messages go from now on (standard error)
 *				a byte without a file: see enum supervisor_word
 *				the socket's end: end in order */
#ifndef EXPORT_WORKER_H
#define EXPORT_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "export/image_mount.h"
#include "export/slots.h"

enum worker_word { WORKER_OPENED = 1, WORKER_READY, WORKER_FAILED, WORKER_FILE };
enum supervisor_word {
	SUPERVISOR_TOGGLE_FILL, /* pause filling the cache, or go on */
	SUPERVISOR_DECIDED,	/* the slots say whether the kernel reads the file */
};

struct worker_message {
	uint32_t word;
	int32_t code; /* negative errno */
	char text[ERR_TEXT_MAX];
};

struct worker {
	const struct image_mount *mount;
	struct slots *slots;
	int socket;	     /* SOCK_SEQPACKET */
	int filler;	     /* socket, for filler_ask(); -1: none */
	uint32_t number;     /* how many there have been, this one included */
	bool pinned;	     /* by an earlier one */
	const char *reason;  /* why the one before ended; "": there was none */
};

/* What the child does; ends it. supervisor: the parent. */
void worker_run(const struct worker *w, pid_t supervisor) __attribute__((noreturn));

/* The supervisor's side. All 0 or -errno. */
int worker_send_file(int socket, int fd);
int worker_send_word(int socket, enum supervisor_word word);
/* -EAGAIN: nothing has come; -EPIPE: nothing more will. The text is one. *fd: a file that came with it, owned by the caller; else -1. */
int worker_receive(int socket, struct worker_message *out, int *fd);

#endif
