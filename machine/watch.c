/* Reads along on a console: see watch.h. A prompt has no newline, so the present line is looked at whenever it grows. */
#include "machine/watch.h"

#include <string.h>

#include "base/clock.h"

static void mark(struct watch *w, uint64_t *when)
{
	if (!*when)
		*when = clock_ms() - w->start_ms + 1;
}

static void keep_reason(struct watch *w, bool *what)
{
	if (!w->reason[0])
		memcpy(w->reason, w->line, sizeof(w->reason));
	if (what)
		*what = true;
}

static void look(struct watch *w)
{
	w->line[w->len] = 0;
	if (strstr(w->line, "Linux version "))
		mark(w, &w->kernel_ms);
	if (strstr(w->line, "inetboot: starting "))
		mark(w, &w->init_ms);
	if (strstr(w->line, "login: "))
		mark(w, &w->login_ms);
	if (w->until && strstr(w->line, w->until))
		mark(w, &w->until_ms);
	if (strstr(w->line, "Kernel panic - not syncing"))
		keep_reason(w, NULL);
	/* Later the image's own programs could say so. */
	if (!w->foreign && !w->init_ms && strstr(w->line, "inetboot: FAILED: "))
		keep_reason(w, &w->failed);
	if (strstr(w->line, "reboot: ") || strstr(w->line, "System halted"))
		w->shut_down = true;
}

static void end_line(struct watch *w)
{
	look(w);
	if (w->len)
		memcpy(w->last, w->line, w->len + 1);
	w->len = 0;
}

/* Forgets the first half of a line that is full, once it has been looked at. */
static void make_room(struct watch *w)
{
	look(w);
	w->len /= 2;
	memmove(w->line, w->line + sizeof(w->line) - 1 - w->len, w->len);
}

void watch_output(struct watch *w, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			end_line(w);
		} else if (data[i] && data[i] != '\r') {
			if (w->len == sizeof(w->line) - 1)
				make_room(w);
			w->line[w->len++] = data[i];
		}
	}
	look(w);
}
