/* What the program tells people while it works: plain lines on stderr, a progress line on a terminal.
 * All functions may be called from any thread. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_form { LOG_PLAIN, LOG_JSON }; /* JSON: one object a line, {"time","level","message"} */

/* Default: LOG_INFO, LOG_PLAIN. Call before threads start. */
void log_setup(enum log_level most, enum log_form form);
/* What it was told. */
void log_settings(enum log_level *most, enum log_form *form);

/* For a child that outlives who started us: its messages go to fd from now on, and so does standard output, so that whoever reads ours to its end
 * need not wait for the child. -1: nothing changes. */
void log_to(int fd);

/* A message is one line: it is made fit for a terminal as text_clean() says. Where nobody reads stderr it is dropped after a second, so that
 * what waits for the caller does not wait for a reader of messages. */
void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

/* Progress of one long job: on a terminal one line that is rewritten a few times a second, in a log a plain line
 * every ten seconds. `total` 0: not known. Call as often as you like. progress_end() clears the line. */
struct progress {
	const char *what; /* "publishing" */
	uint64_t total;	  /* bytes */
	uint64_t start_ms, shown_ms;
};
void progress_begin(struct progress *p, const char *what, uint64_t total);
void progress_show(struct progress *p, uint64_t done, const char *detail);
void progress_end(struct progress *p);

#endif
