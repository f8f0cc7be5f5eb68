/* Running a recipe for a bootable image: recipes/debian-image, a shell script that works with
 * mmdebstrap. */
#ifndef CLI_RECIPE_H
#define CLI_RECIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "cli/language.h"
#include "publish/tool.h"

struct recipe {               /* strings are borrowed, and free of blanks and quotes */
	const char *kind;     /* "debian", "server", "desktop" */
	const char *release;  /* "bookworm" */
	const char *mirror;   /* URL; NULL: Debian's own, with its updates */
	const char *packages; /* more of them, separated by commas; NULL: none */
	const char *user;
	struct language language;
	bool kernel;   /* with Debian's kernel and its initrd */
	uint64_t size; /* bytes of the disk */
};

/* Bytes that making it takes in the workspace, about; the image takes as much again, wherever it
 * is. */
uint64_t recipe_needs(const struct recipe *r);

/* The UUID of the file system: the same for the same recipe. */
void recipe_uuid(const struct recipe *r, char out[HASH_UUID_MAX]);

/* Makes it: the disk goes into the file `image`, which is empty, writable for all, and stays open
 * when a program is started; kernel and initrd, where there are any, into the workspace as
 * "vmlinuz" and "initrd.img". Takes minutes. Ended by cancel_request(). Call it while no other
 * thread runs. */
int recipe_run(const struct recipe *r, const struct workspace *w, int image, struct err *e);

#endif
