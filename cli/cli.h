/* The commands. Each parses its own arguments (argv[0] is the command's name), calls the layer below and prints.
 * Exit statuses that all share; `boot` has more (cli/boot.c). */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>

#include "base/err.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int cmd_boot(int argc, char **argv);
int cmd_console(int argc, char **argv);
int cmd_commit(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_fetch(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_gc(int argc, char **argv);
int cmd_guests(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_install(int argc, char **argv);
int cmd_join(int argc, char **argv);
int cmd_kexec(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_kill(int argc, char **argv);
int cmd_make(int argc, char **argv);
int cmd_medium(int argc, char **argv);
int cmd_mirrors(int argc, char **argv);
int cmd_mount(int argc, char **argv);
int cmd_nbd(int argc, char **argv);
int cmd_profile(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_publish(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_rebase(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_switch(int argc, char **argv);
int cmd_unzstd(int argc, char **argv);
int cmd_verify(int argc, char **argv);

struct profile_options;
/* Makes a boot pack and says so. Returns the exit status. */
int cli_profile(const struct profile_options *o);

struct publish_options;
/* Publishes and prints what is new, and the link. SIGINT and SIGTERM end it. Returns the exit status. */
int cli_publish(const struct publish_options *o);

/* Prints "inetboot: TEXT" from e and returns EXIT_FAILED. */
int cli_fail(const struct err *e);

/* Prints "inetboot COMMAND: TEXT" and where to find help; returns EXIT_USAGE. */
int cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* For getopt_long's '?': says which option it was. */
int cli_bad_option(const char *command, char **argv);

struct option;
/* Takes an option's code and argument. 0; or the exit status, after having said what is wrong. */
typedef int (*cli_take)(void *context, int code, char *value);

/* Parses a command's options: `take` gets all but --help ('h') and flags (getopt's `flag`). letters: as for getopt, "h" and the command's own.
 * -1, with optind at the first operand; or the exit status. */
int cli_options(int argc, char **argv, const char *letters, const struct option *options, const char *help, cli_take take, void *context);

/* For a command whose options are flags (getopt's `flag`, and --help as 'h'). -1, with optind at the first operand; or the exit status. */
int cli_flags(int argc, char **argv, const struct option *options, const char *help);

/* An option's value as a number of seconds, from 1 on (in milliseconds they fit into an unsigned). 0; or EXIT_USAGE after having said what
 * is wrong. */
int cli_seconds(const char *command, const char *option, const char *value, unsigned *out);

/* Is it good as a network's name? 0; or EXIT_USAGE after having said what is wrong. */
int cli_network(const char *command, const char *name);

/* Does it start like an http or https URL? */
bool cli_is_url(const char *text);

/* The value of --base-url: slashes at its end are cut off. 0; or EXIT_USAGE after having said what is wrong. */
int cli_base_url(const char *command, char *value, const char **out);

#endif
