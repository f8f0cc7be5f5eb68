/* For commands that take names of machines. */
#ifndef CLI_MACHINES_H
#define CLI_MACHINES_H

#include "base/err.h"

struct option;

/* Options that are flags (getopt's `flag`, or --help), then one name or more: each is given to work(), which says what it does; those that
 * fail are told of, and the others go on. Returns the exit status. */
int cli_machines(int argc, char **argv, const struct option *options, const char *help,
	int (*work)(const char *name, struct err *e));

#endif
