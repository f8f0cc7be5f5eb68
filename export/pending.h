/* FUSE reads that are being answered, so that those which wait for a network that is gone can be interrupted: a program that got a
 * signal does not wait with them. A read that is just slow is not cut short by any signal: to a program, a file's read does not fail
 * for that. So an interrupt counts only once the read has waited for INTERRUPT_AFTER_MS. */
#ifndef EXPORT_PENDING_H
#define EXPORT_PENDING_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define INTERRUPT_AFTER_MS 2000

struct pending_reads { /* initialise with pending_reads_open() */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct pending_read *first;
	pthread_t thread;
	bool closing;
};

struct pending_read { /* on the stack of the thread that reads */
	struct pending_reads *all;
	struct pending_read *prev, *next;
	fuse_req_t req;
	uint64_t since_ms;
	bool interrupted; /* wanted by the kernel */
	bool answered;	  /* with EINTR: the request is gone */
};

/* Starts the thread that answers interrupted reads. 0 or -errno. */
int pending_reads_open(struct pending_reads *all);
/* No read may be pending. */
void pending_reads_close(struct pending_reads *all);

void pending_begin(struct pending_reads *all, struct pending_read *p, fuse_req_t req);

/* The data is there, or the read failed. Returns whether the request still has to be answered. */
bool pending_end(struct pending_read *p);

#endif
