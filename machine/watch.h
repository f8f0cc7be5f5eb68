/* Watches a guest's console for what tells how far it is. Give it all output in order; it remembers across pieces. */
#ifndef MACHINE_WATCH_H
#define MACHINE_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WATCH_LINE 512 /* bytes of the present line that are looked at: of a longer one the end */
#define WATCH_UNTIL_MAX (WATCH_LINE / 2)

struct watch {
	uint64_t start_ms;
	uint64_t kernel_ms, init_ms, login_ms; /* after start_ms, + 1; 0: not yet. First kernel line, the image's init, login prompt */
	bool foreign;	 /* from the beginning: the guest's first init is not ours, and what it says of itself means nothing */
	bool failed;	 /* the guest's first init found nothing to start */
	bool shut_down;	 /* the guest says that it is going down in order */
	const char *until; /* a text to wait for, or NULL */
	uint64_t until_ms; /* when it was there, as above */
	char reason[WATCH_LINE]; /* the line of a panic or failure */
	char last[WATCH_LINE];	 /* the last line with something on it */
	char line[WATCH_LINE];
	size_t len;
};

void watch_output(struct watch *w, const char *data, size_t len);

#endif
