/* Publishing: a disk image becomes a new version of an image in a store. */
#ifndef PUBLISH_PUBLISH_H
#define PUBLISH_PUBLISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format/manifest.h"
#include "publish/block_writer.h"

#define PUBLISH_LEVEL_DEFAULT 9
#define PUBLISH_LEVEL_MAX 19 /* higher ones need windows larger than any block */

/* A boot entry as asked for; all but modules may be NULL. Borrowed strings. */
struct publish_boot {
	const char *title;  /* NULL: the image's name */
	const char *type;   /* "uml", "linux", "xen", "domu", "image"; NULL: "uml" for an ELF kernel or none, else
			       "linux" */
	const char *kernel; /* file names */
	const char *initrd;
	const char *cmdline;
	const char *modules[MANIFEST_MODULES_MAX];
	size_t module_count;
};

struct publish_options {
	const char *image;      /* see input_open() */
	const char *store;      /* folder; made where it is missing */
	const char *name;       /* link_name_valid() */
	const char *key;        /* file of the secret key */
	int level;              /* zstd, 1..PUBLISH_LEVEL_MAX */
	unsigned jobs;          /* 0: as many as processors */
	const char *filesystem; /* for trees: "ext4" or "erofs"; NULL: ext4 */
	char expires[32];       /* RFC 3339, or "" */
	struct publish_boot boot[MANIFEST_BOOT_MAX];
	size_t boot_count;
	const char *mirrors[MANIFEST_MIRRORS_MAX];
	size_t mirror_count;
	const char *base_url; /* of the store, for links; NULL: the folder's path */
	bool replace_key;     /* another key signed the versions before, and that is meant so */
};

struct publish_result {
	char *link; /* owned: free() */
	uint64_t version;
	bool unchanged;  /* nothing differs from `version`, which was there before: no new version
			    was made */
	uint64_t size;   /* bytes of the disk */
	uint64_t chunks; /* of its index, holes included */
	char filesystem[32];
	struct block_stats blocks; /* the disk's and the boot files' */
};

/* Until the new manifest stands, readers of the store get the version before. Errors and
 * interruption leave blocks that a later run uses, or gc removes. Uses threads; one call at a time
 * in a process. */
int publish_image(const struct publish_options *o, struct publish_result *out, struct err *e);

#endif
