/* A pin: what it takes to open the very same bytes once more, also when there is a newer version by then, or no network. For the process
 * that goes on where another one died. To all but pin.c and image.c it is just bytes; they are checked like what comes from outside:
 * a manifest's signature once more, a plain file by its size and its ETag or time. But the key is that of the first process: how it
 * came to speak for the image may have been said on the network. */
#ifndef DISK_PIN_H
#define DISK_PIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "disk/raw.h"
#include "format/signature.h"

#define PIN_MAX ((1u << 20) + 4096) /* bytes: a manifest and some */

enum pin_kind { PIN_NONE, PIN_MANIFEST, PIN_FILE, PIN_HTTP };

struct pin {
	enum pin_kind kind;
	bool verified;	  /* PIN_MANIFEST: it is signed by `signer`, the link's key or a successor */
	struct public_key signer;
	const void *text; /* the manifest file; borrowed while the image is opened */
	size_t len;
	bool cloop; /* PIN_FILE, PIN_HTTP: else raw */
	struct file_version file;
	struct http_version http;
};

/* Appends it to out. Errors as buf_append(). */
int pin_write(const struct pin *p, struct buf *out);

/* The text stays in `data`. -EBADMSG. */
int pin_read(struct pin *p, const void *data, size_t len, struct err *e);

#endif
