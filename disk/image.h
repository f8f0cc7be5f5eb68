/* An image, opened by its link: finds out what the link names (an image in a store, a cloop file, a raw file; here or on a web
 * server), checks its manifest, and gives its disk. The bridge between what a person types and sources.
 * One thread opens and closes; the disk may be used by all. */
#ifndef DISK_IMAGE_H
#define DISK_IMAGE_H

#include <stdbool.h>

#include "cache/cache.h"
#include "disk/blocks.h"
#include "disk/disk.h"
#include "disk/fill.h"
#include "disk/pin.h"
#include "disk/playback.h"
#include "disk/refresh.h"
#include "fetch/origin.h"
#include "format/link.h"
#include "format/manifest.h"

struct image_options {
	const char *cache_dir;	/* NULL: $XDG_CACHE_HOME/inetboot */
	bool cache_found;	/* cache_dir is on a medium that was attached at the start: image_check_cache() */
	uint64_t cache_size;	/* bytes */
	bool no_cache;
	bool insecure;		/* accept a link without a key from anywhere */
	bool strict;		/* an error for what is a warning about keys and freshness else: see disk/freshness.h */
	size_t memory_limit;	/* bytes that the process may have: see budget.h */
	bool fill;		/* fetch the rest of the image in the background: see disk/fill.h */
	bool play;		/* play the image's boot pack, if it has one: see disk/playback.h */
	struct trace *trace;	/* what is read is written to it; owned by the image from a successful image_open() on. NULL */
	const char **mirrors;	/* more store URLs, NULL-terminated; NULL: none */
	struct origin_options origin;
	const void *pin;	/* open what image_pin() gave this for, not what is newest; NULL: no pin */
	size_t pin_len;
};

struct image {
	struct link link;
	struct manifest manifest; /* of an image in a store; else size 0 */
	bool in_store;
	bool verified;		  /* the link's key signed it */
	bool from_copy;		  /* the manifest is from the cache, as no server answered */
	char *text;		  /* the link as it was given, fit to be shown (text_clean()); owned */
	struct origin *origin;
	struct cache *store, *cache;
	struct blocks *blocks;
	struct budget budget;
	bool plays, fills;	  /* the boot pack; the cache */
	struct pin pinned;	  /* of image_options; its kind is PIN_NONE where there is none */
	struct buf pin;		  /* of what is open */
	struct trace *trace;	  /* until the disk has it; or NULL */
	char *unpacked;		  /* path of the file that the disk is read from, where that is an unpacked one: see disk/unpacked.h; or NULL */
	int unpacked_fd;	  /* where there is a path: that file, the disk's own */
	struct playback *playback; /* of the disk; NULL: no boot pack is played */
	struct disk *disk;	  /* NULL until image_open_disk() */
	struct refresh *refresh;  /* or NULL */
	struct fill *fill;	  /* or NULL */
};

/* Looks the link up and, for a store, gets and checks the manifest; opens no disk yet. -EKEYREJECTED for a wrong signature, -ESTALE
 * for a version that is older than one seen before; in all cases e is for a person. */
int image_open(struct image **out, const char *link, const struct image_options *o, struct err *e);

/* The folder of the cache that the options name; allocated, NULL and e set where there is none. */
char *image_cache_dir(const struct image_options *o, struct err *e);

/* For processes that start later: a medium that was taken away since does without a cache, instead of making its folder elsewhere. */
void image_check_cache(struct image_options *o);

/* Opens the disk: image->disk. */
int image_open_disk(struct image *image, struct err *e);

/* Starts what goes on in the background: plays the boot pack, if there is one to play, and fills the cache, if that is wanted. show: see disk/playback.h. Once, when the disk is open. */
void image_play(struct image *image, playback_show show, void *context);

/* `show` is not called any more. After disk_cancel() only. */
void image_stop_playing(struct image *image);

/* The pin of an image whose disk is open, for image_options.pin: see disk/pin.h. Belongs to the image. */
const struct buf *image_pin(const struct image *image);

/* Writes a tree of the image's store (a kernel, an initrd) to a file descriptor. what: shown with the progress, "fetching the kernel". */
int image_extract(struct image *image, const struct tree *tree, int fd, const char *what, struct err *e);

/* The modification time (seconds) of its disk: when the version was made, or that of the file. The same for the same bytes, so that an
 * overlay recognises the disk that it belongs to. */
int64_t image_mtime(const struct image *image);

/* A JSON object: link, name, version, filesystem, and what disk_status() adds once the disk is open. New reference. */
json_t *image_status(struct image *image);

void image_close(struct image *image); /* NULL is fine */

#endif
