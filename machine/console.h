/* A guest's console: a pseudo terminal that we own, shown on our terminal, written to a file, or neither. */
#ifndef MACHINE_CONSOLE_H
#define MACHINE_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <termios.h>

#include "base/err.h"

#define CONSOLE_LOG_MAX (64u << 20) /* bytes of a console's file */
#define CONSOLE_PIECE 4096	    /* bytes that are read at once */
#define CONSOLE_ESCAPE 0x1d /* Ctrl-]: typed once: shut down; again: kill */

struct console {
	int master, slave;  /* the guest gets the slave */
	int log;	    /* everything is also written here, up to CONSOLE_LOG_MAX; -1: no */
	uint64_t logged;    /* bytes */
	bool show;	    /* on stdout, and stdin goes to the guest */
	bool raw;	    /* our terminal is in raw mode */
	bool input_ended;
	char typed[256];    /* what the guest did not take yet */
	size_t typed_len;
	char said[CONSOLE_PIECE]; /* what our terminal or pipe did not take yet */
	size_t said_len;
	struct termios saved;
};

/* log_path: NULL or a file that is created or cut. */
int console_open(struct console *c, bool show, const char *log_path, struct err *e);

/* Puts our terminal, where stdin is one, into raw mode; console_close() puts it back. */
void console_take_terminal(struct console *c);

/* Reads what the guest says, and passes it on. Returns the bytes (0: nothing now), -EIO when the last writer is gone. Only when
 * console_shown(): a reader that stops us, like a pager, stops the guest's output, but never us. */
int console_read(struct console *c, char data[CONSOLE_PIECE]);
bool console_shown(const struct console *c); /* did our terminal or pipe take all of it? */
void console_show(struct console *c);	     /* tries again; never waits */

/* Reads what was typed, and passes it on. Returns how often the escape key was in it. Where a guest takes nothing, what a person types is
 * dropped, so that the escape key is always heard; a pipe has to wait. */
int console_type(struct console *c);
bool console_listens(const struct console *c); /* is it time to read what was typed? */
bool console_typed(const struct console *c);   /* is there something that the guest did not take yet? */
void console_pass_on(struct console *c);       /* tries again */

/* For what somebody else types: how much of it fits, and that it was typed. */
size_t console_room(const struct console *c);
void console_put(struct console *c, const char *typed, size_t len);

/* Our terminal has another size: tell the guest. */
void console_resize(struct console *c);

void console_close(struct console *c);

#endif
