/* The manifest: what an image version is, as JSON inside a signify signature (see signature.h and docs/format.md).
 * Version 1:
 *
 *	{ "format": 1, "name": "debian", "version": 3, "created": "2026-01-31T12:00:00Z", "expires": "..."?,
 *	  "size": BYTES, "index": {"root": HEX64, "depth": N, "chunks": N}, "chunker": {"min": N, "avg": N, "max": N}?,
 *	  "stored": BYTES?, "filesystem": "ext4"?,
 *	  "boot": [{"title": T, "type": "uml"|"linux"|"xen"|"domu"|"image", "kernel": TREE?, "initrd": TREE?, "modules": [TREE]?, "cmdline": T?}]?,
 *	  "profile": {"pack": HEX64, "size": BYTES, "pages": N}?, "mirrors": [URL]?, "parent": {"version": N, "root": HEX64}?,
 *	  "next_key": KEY?, "revoked": true?, "reason": T? }			TREE: {"root": HEX64, "depth": N, "size": BYTES}
 *
 * One with next_key is no version but the last word of the key that signed it: see docs/format.md, "Replacing a key".
 *
 * Unknown keys are ignored; another "format" is refused by a message that names both. Pure: no I/O. Any thread. */
#ifndef FORMAT_MANIFEST_H
#define FORMAT_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"
#include "format/link.h"
#include "format/signature.h"

#define MANIFEST_FORMAT 1
#define MANIFEST_MAX (1 << 20)		/* bytes of a manifest file, signature included */
#define MANIFEST_SIZE_MAX (1ULL << 50)	/* bytes of an image: far above any disk, far below overflow */
#define MANIFEST_DEPTH_MAX 8		/* levels of an index: 4096^8 chunks */
#define MANIFEST_BOOT_MAX 32		/* boot entries */
#define MANIFEST_MODULES_MAX 32		/* modules of one entry */
#define MANIFEST_MIRRORS_MAX 64
#define MANIFEST_PACK_MAX (1ULL << 33)	/* bytes of a boot pack */
#define MANIFEST_TEXT_MAX 4096		/* bytes of a title, command line or URL */
#define MANIFEST_REASON_MAX 255		/* bytes of the reason for a revocation: it has to fit into a message */

struct tree { /* bytes in a store: an image, a kernel, an initrd */
	struct hash root;
	unsigned depth; /* levels of index nodes, 1..MANIFEST_DEPTH_MAX; the root is at level depth - 1 */
	uint64_t size;	/* bytes, > 0 */
};

struct profile { /* what a boot needs, in one file: see pack.h */
	struct hash pack; /* its name */
	uint64_t size;	  /* bytes of the file; 0: there is none */
	uint64_t pages;	  /* informative */
};

struct boot_entry {
	char *title;  /* never NULL */
	char *type;   /* never NULL */
	char *cmdline; /* NULL where not given */
	struct tree kernel, initrd; /* size 0: none */
	struct tree *modules;
	size_t module_count;
};

struct manifest {
	char name[LINK_NAME_MAX + 1];
	uint64_t version;    /* from 1 on */
	char created[32];    /* RFC 3339, UTC: 2026-01-31T12:00:00Z */
	char expires[32];    /* the same, or "" */
	struct tree image;
	uint64_t chunks;     /* chunks and holes of the image; informative */
	uint32_t chunk_min, chunk_avg, chunk_max; /* bytes; 0 where not given; informative */
	uint64_t stored;     /* compressed bytes of all distinct blocks; 0: not given */
	char filesystem[32]; /* "" where not known */
	struct boot_entry *boot;
	size_t boot_count;
	struct profile profile;
	char **mirrors;	     /* store URLs */
	size_t mirror_count;
	uint64_t parent_version; /* 0: none */
	struct hash parent_root;
	bool has_next_key;	 /* the key that signed this gives way to next_key, and signs nothing above `version` */
	struct public_key next_key;
	bool revoked;		 /* nobody shall use the image any more; never with next_key */
	char reason[MANIFEST_REASON_MAX + 1]; /* of the revocation, for people; "" where not given */
};

/* Reads the JSON text (the signed message). On failure *out is empty. -EINVAL with a sentence; -EPROTONOSUPPORT for another
 * format number. Every bound above is checked; time stamps must have the RFC 3339 shape; mirrors must be http or https URLs; text that
 * a terminal or a kernel gets to see has no control characters. A boot type may be any word: it is for the engines to know. */
int manifest_parse(struct manifest *out, const char *text, size_t len, struct err *e);

/* Appends the JSON text, deterministic, indented for people. It is parsed again before: -EINVAL for what readers would refuse. */
int manifest_encode(const struct manifest *m, struct buf *out, struct err *e);

/* Seconds since 1970 of an RFC 3339 time as above, or -1; and the other way, for the years 1970 to 9999. */
int64_t manifest_time(const char *text);
int manifest_time_text(char out[32], int64_t seconds);

void manifest_free(struct manifest *m);

#endif
