/* Handing a running mount over to another program, a new version as a rule:
 *
 *	`inetboot mount --replace DIR` (the new program) finds the supervisor of the mount by a socket whose abstract name has the mount's
 *	device number, and sends it an open file: itself
 *	the supervisor lets that program look at its arguments and say whether it can go on with this state (a probe); stops its worker;
 *	and becomes that program, with the same process number, arguments, signals, device and slots
 *	the new one starts a worker, and answers the first
 *
 * An abstract name leaves nothing behind, whoever is killed, and can be reached after a change of the root. Both sides look at the other's
 * user: only the same one, or root, may replace. */
#ifndef EXPORT_HANDOVER_H
#define EXPORT_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define HANDOVER_VERSION_MAX 64 /* bytes of a program's version */

struct handover {
	char *arguments;   /* of this process, each with a zero behind it: what another program is started with; owned */
	size_t len;
	bool resume;	   /* this process goes on with a mount; then: */
	char *dir;	   /* owned */
	int slots, device; /* file descriptors */
	int client;	   /* who waits for it to work; -1 when answered */
	uint32_t workers;  /* that have been started */
};

/* What the process was started for: an ordinary mount, or to go on with one. Call it when the arguments have been found right, and before
 * anything else. -ECANCELED: only a probe, end with success; -EPROTO: it cannot go on with what it is given, e tells. */
int handover_begin(struct handover *h, struct err *e);
void handover_free(struct handover *h);

/* ---- the supervisor's side ---- */

/* A socket to wait on, for the mount with this device number. -errno where there is none: then there is no handing over. */
int handover_listen(const unsigned number[2]);

struct handover_request {
	int client, program; /* file descriptors; owned by who takes the request */
	char version[HANDOVER_VERSION_MAX];
};

/* Takes a request from the socket, and lets the program say whether it could go on. 0; or -errno, when whoever asked has been told. */
int handover_take(int listener, const struct handover *h, struct handover_request *out);

/* Becomes the program. The state's file descriptors are those of h. Comes back only where that failed, and tells who asked. */
void handover_become(const struct handover *h, struct handover_request *rq);

/* Tells who waits, if somebody does, that it works (e is NULL), or why not. */
void handover_answer(int *client, const struct err *e);

/* ---- the side of the new program ---- */

struct handover_answer {
	int32_t code; /* 0 or -errno */
	uint32_t pid; /* of the supervisor */
	char version[HANDOVER_VERSION_MAX];  /* of the program that was there before */
	char text[ERR_TEXT_MAX];
};

/* Has the mount at dir taken over by this program. Waits until that serves. */
int handover_ask(const char *dir, struct handover_answer *out, struct err *e);

#endif
