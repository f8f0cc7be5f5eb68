/* A trace: which pages of an image were read first, in order, with times; what boot packs are made from (publish/traces.h reads it). A text
 * file:
 *
 *	inetboot-trace 1
 *	image NAME VERSION ROOT SIZE		ROOT: 64 hexadecimal digits; SIZE: bytes
 *	MILLISECONDS PAGE PAGES			since the start; the first of how many pages of 4 KiB that were read for the first time
 *
 * A process that goes on where another one died goes on with the file; then lines may name pages again. Any thread. */
#ifndef DISK_TRACE_H
#define DISK_TRACE_H

#include <stdint.h>

#include "base/err.h"
#include "format/manifest.h"

#define TRACE_PAGE 4096u

struct trace;

/* Opens the file: a fresh one, or (go_on) what is there already. */
int trace_open(struct trace **out, const char *path, bool go_on, struct err *e);

/* What is traced: once, before the first read. */
int trace_begin(struct trace *t, const struct manifest *m, struct err *e);

void trace_read(struct trace *t, uint64_t offset, uint64_t len);

/* NULL is fine. Says so where something could not be written. */
void trace_close(struct trace *t);

#endif
