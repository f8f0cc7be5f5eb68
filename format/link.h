/* Links: what a person types or clicks.
 *
 *	http[s]://host[:port]/path/NAME[@N][#KEY]	an image in a store on a web server
 *	file:/path/NAME[@N][#KEY], /path/NAME..., ./NAME	the same in a folder
 *
 * N pins a version. KEY is the base64 of a signify public key (56 characters), and never leaves the machine. The last
 * component may also be a plain file (a disk image); what it is shows when it is looked at, not here. Pure: no I/O. */
#ifndef FORMAT_LINK_H
#define FORMAT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "format/signature.h"

#define LINK_LEN_MAX 4096	 /* bytes of a link; longer ones are refused */
#define LINK_NAME_MAX 64 /* bytes of an image's name */

struct link {
	bool remote;		      /* http or https */
	bool loopback;		      /* remote, and the host is localhost, 127.x.x.x or [::1] */
	char *store;		      /* URL (no user:password@, no trailing slash) or folder of the store; owned */
	char name[LINK_NAME_MAX + 1]; /* "" when the last component is no valid image name: then it can only be a file */
	char *file;		      /* URL or path of the last component itself without @N and #KEY; owned */
	uint64_t version;	      /* 0: the newest */
	bool has_key;
	struct public_key key;
};

/* Parses text. Percent-escapes are kept as they are; control characters are refused, spaces in URLs too, and a user name or
 * password in front of the host; slashes at the end are ignored; a relative path stays relative. `NAME@N`: N is a decimal
 * number from 1 on; anything else behind the last '@' of the last component makes the whole component a file name, and so
 * does a ?query in a URL. What follows '#' must be a key. -EINVAL with a sentence that says what is wrong; -ENOMEM. On failure
 * *out is empty. */
int link_parse(struct link *out, const char *text, struct err *e);

/* Is it a valid image name: [A-Za-z0-9][A-Za-z0-9._-]*, at most LINK_NAME_MAX bytes, and not `blocks`, `packs`,
 * `index.html` or `catalog.json`. */
bool link_name_valid(const char *name);

/* The text of a link: STORE/NAME[@N][#KEY]; allocated, NULL without memory. */
char *link_format(const char *store, const char *name, uint64_t version, const struct public_key *key);

void link_free(struct link *l);

#endif
