/* Log lines and progress: see log.h. One mutex keeps lines whole; a log line first clears the progress line.
 *
 * Who reads our messages may stop reading: a pager, a terminal after Ctrl-S, a stuck log collector. A disk must not stop with them. So a
 * line waits for WAIT_MS at most; while nobody reads, lines are dropped at once, and counted. */
#include "base/log.h"

#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#define WAIT_MS 1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum log_level most_level = LOG_INFO;
static enum log_form log_form = LOG_PLAIN;
static bool line_drawn; /* a progress line stands on the terminal */
static unsigned long dropped; /* lines since the last one that went out */

void log_setup(enum log_level most, enum log_form form)
{
	most_level = most;
	log_form = form;
}

void log_to(int fd)
{
	if (fd < 0)
		return;
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
}

void log_settings(enum log_level *most, enum log_form *form)
{
	*most = most_level;
	*form = log_form;
}

/* May a line be written without waiting for ever? */
static bool can_write(void)
{
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&out, 1, dropped ? 0 : WAIT_MS) > 0;
}

static void clear_line(void)
{
	if (line_drawn)
		fputs("\r\033[K", stderr);
	line_drawn = false;
}

static void print_json(const char *level, const char *message)
{
	char when[32];
	time_t now = time(NULL);
	struct tm tm;
	json_t *line;
	_cleanup_free_ char *text = NULL;

	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	line = json_pack("{s:s, s:s, s:s}", "time", when, "level", level, "message", message);
	if (!line)
		return;
	text = json_dumps(line, JSON_COMPACT);
	json_decref(line);
	if (text)
		fprintf(stderr, "%s\n", text);
}

static void print_line(enum log_level level, const char *message)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};

	clear_line();
	if (log_form == LOG_JSON)
		print_json(names[level], message);
	else
		fprintf(stderr, "inetboot: %s%s\n", level == LOG_WARNING ? "warning: " : "", message);
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char message[2048];
	va_list ap;

	if (level > most_level)
		return;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	text_clean(message);
	pthread_mutex_lock(&lock);
	if (!can_write()) {
		dropped++;
	} else {
		if (dropped) {
			char note[80];

			snprintf(note, sizeof(note), "%lu messages are missing here: nobody read them", dropped);
			dropped = 0;
			print_line(LOG_WARNING, note);
		}
		print_line(level, message);
	}
	pthread_mutex_unlock(&lock);
}

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
	*p = (struct progress){.what = what, .total = total, .start_ms = clock_ms()};
	p->shown_ms = p->start_ms;
}

void progress_show(struct progress *p, uint64_t done, const char *detail)
{
	bool terminal = log_form == LOG_PLAIN && isatty(STDERR_FILENO);
	uint64_t now = clock_ms(), interval = terminal ? 200 : 10000;
	char size[TEXT_SIZE_MAX], rate[TEXT_SIZE_MAX], left[48] = "";
	uint64_t spent = now - p->start_ms;

	if (now - p->shown_ms < interval || most_level < LOG_INFO)
		return;
	p->shown_ms = now;
	text_size(size, done);
	text_size(rate, spent ? done * 1000 / spent : 0);
	if (p->total && done && done < p->total)
		snprintf(left, sizeof(left), ", %llu s left",
			(unsigned long long)((double)(p->total - done) * (double)spent / (double)done / 1000.0));
	if (!terminal) {
		log_info("%s: %s, %s/s%s%s%s", p->what, size, rate, left, *detail ? ", " : "", detail);
		return;
	}
	pthread_mutex_lock(&lock);
	if (!can_write()) {
		pthread_mutex_unlock(&lock);
		return;
	}
	clear_line();
	if (p->total)
		fprintf(stderr, "%s: %3u %%, ", p->what, (unsigned)(done * 100 / p->total));
	else
		fprintf(stderr, "%s: ", p->what);
	fprintf(stderr, "%s, %s/s%s%s%s", size, rate, left, *detail ? ", " : "", detail);
	fflush(stderr);
	line_drawn = true;
	pthread_mutex_unlock(&lock);
}

void progress_end(struct progress *p)
{
	(void)p;
	pthread_mutex_lock(&lock);
	clear_line();
	fflush(stderr);
	pthread_mutex_unlock(&lock);
}
