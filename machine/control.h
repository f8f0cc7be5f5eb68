/* The socket at which a running machine's console can be had: SOCK_STREAM, what the guest says one way, what is typed the other. One at a
 * time: who comes later gets it, and the earlier one's connection ends. First comes what was said last. Who does not take what is said for
 * CONTROL_PATIENCE_MS is let go: the guest must not wait for him. The thread of the machine's loop. */
#ifndef MACHINE_CONTROL_H
#define MACHINE_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CONTROL_PIECE 4096
#define CONTROL_LAST 2048 /* bytes that a newcomer is shown */
#define CONTROL_PATIENCE_MS 5000

struct control {
	int listener; /* -1: there is none */
	int client;   /* -1: nobody */
	char out[CONTROL_PIECE + CONTROL_LAST]; /* what the client did not take yet */
	size_t out_len;
	uint64_t since_ms; /* when it last took something */
	char last[CONTROL_LAST];
	size_t last_len;
};

#define CONTROL_INIT {.listener = -1, .client = -1}

/* A listening socket DIR/control, however long that path; one that was left there is replaced. Returns its descriptor. */
int control_listen(const char *dir, struct err *e);
/* Connects to it. -ECONNREFUSED or -ENOENT: no machine runs there. */
int control_connect(const char *dir, struct err *e);

/* The guest said this. To be called when control_taken(); else a client loses it. */
void control_output(struct control *c, const char *data, size_t len);
bool control_taken(const struct control *c);

/* For the loop: what to wait for, and what to do after that; at most room bytes that were typed go to `typed`. Returns how many. */
void control_wants(const struct control *c, struct pollfd fds[2], bool listens);
size_t control_work(struct control *c, const struct pollfd fds[2], char *typed, size_t room);
/* Milliseconds until it has to be called again, or -1. */
int control_patience(const struct control *c);

void control_close(struct control *c);

#endif
