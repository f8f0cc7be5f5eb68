/* The screen of a guest's X session: an X server on this host, that shows it in a window (Xephyr, Xnest), to viewers (Xvnc), or in a
 * browser (Xvnc, with websockify and noVNC before it). The guest is an ordinary client of it, by a cookie that is made for this server
 * alone; it reaches it by a network device of its own (display_link.h), and nobody reaches it by TCP.
 *
 * The servers are children that get SIGTERM when this process dies, and then clear up after themselves. */
#ifndef MACHINE_DISPLAY_H
#define MACHINE_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

enum display_kind { DISPLAY_NONE, DISPLAY_WINDOW, DISPLAY_XEPHYR, DISPLAY_XNEST, DISPLAY_VNC, DISPLAY_WEB };

struct display_options {
	enum display_kind kind; /* DISPLAY_WINDOW: Xephyr, else Xnest, whichever is there */
	unsigned width, height; /* pixels */
	const char *title;
	const char *address; /* IPv4, of VNC and WEB: where it listens */
	uint16_t port;
};

#define DISPLAY_COOKIE 16 /* bytes */

struct display {
	pid_t server, web; /* -1: there is none */
	int ended;	   /* readable when a child has ended (pidfd of the server) */
	int web_ended;
	unsigned number; /* its socket is /tmp/.X11-unix/XNUMBER */
	uint8_t cookie[DISPLAY_COOKIE];
	char *token; /* path of the link in the folder web; owned */
	char *where; /* what a person opens to see it, with its password or token; NULL for a window; owned */
};

#define DISPLAY_INIT {.server = -1, .web = -1, .ended = -1, .web_ended = -1}

/* Can it be had here? Else e says what to install or do instead. */
int display_check(const struct display_options *o, struct err *e);

/* Starts one that can be had, and waits until it takes clients. dir: a private folder for its files; it must outlive the display. display_stop() in
 * any case. */
int display_start(struct display *d, const struct display_options *o, const char *dir, struct err *e);

/* Appends the Xauthority file for clients (Xau(3)). */
int display_authority(const struct display *d, struct buf *out);

void display_stop(struct display *d);

#endif
