/* The argument vector of a program, filled word by word. What does not fit, or finds no memory, is remembered: look at `full` at the end. Zero-initialise. */
#ifndef MACHINE_ARGUMENTS_H
#define MACHINE_ARGUMENTS_H

#include <stdbool.h>

#define ARGUMENTS_MAX 128 /* of a guest's kernel or machine; more are refused */

struct arguments {
	char *words[ARGUMENTS_MAX + 1]; /* owned; a null pointer stands behind the last */
	int count;
	bool full;
};

/* One word. */
void arguments_add(struct arguments *a, const char *word);
void arguments_printf(struct arguments *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* All words of a text that white space separates. */
void arguments_split(struct arguments *a, const char *text);

void arguments_free(struct arguments *a);

#endif
