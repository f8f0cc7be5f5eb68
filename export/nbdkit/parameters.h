/* The plugin's parameters (KEY=VALUE on nbdkit's command line): the options of all commands that open an image, by the same names, and
 * a few of its own. See inetboot-nbd(1). Strings live as long as nbdkit. */
#ifndef NBDKIT_PARAMETERS_H
#define NBDKIT_PARAMETERS_H

#include "base/log.h"
#include "disk/image_options.h"

#define PARAMETERS_FILES_MAX 8

struct parameters { /* initialise with parameters_init() */
	struct image_option_values image;
	const char *link;
	const char *export; /* the export's name; "": any is right */
	const char *ready;  /* printed when the disk is there; NULL: nothing */
	const char *files[PARAMETERS_FILES_MAX + 1]; /* that nbdkit itself reads while it serves */
	enum log_level log_level;
	enum log_form log_form;
};

void parameters_init(struct parameters *p);

/* Takes one. -1 after nbdkit was told what is wrong. Relative paths are made absolute. */
int parameters_take(struct parameters *p, const char *key, const char *value);

extern const char parameters_help[];

#endif
