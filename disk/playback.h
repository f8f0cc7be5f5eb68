/* Playing a boot pack: it streams in beside demanded reads, in the order in which a recorded boot needed it, into the cache and, through
 * `show`, into the kernel's page cache; and gives its pages to readers. A segment is
 *
 *	absent → coming → here, or lost		here: it can be read, again and again
 *						lost: it was here, and cannot be read any more (no cache, and no room)
 *
 * A reader of a page whose segment will be here soon waits for it; else it is told to read the image's blocks, which have the same
 * bytes. So a pack that comes late, broken or not at all costs time, and nothing else. With several mirrors the pack comes in parts, from
 * several of them. What is in the cache from before, whole or in part, is not fetched again. Any thread. */
#ifndef DISK_PLAYBACK_H
#define DISK_PLAYBACK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cache/cache.h"
#include "fetch/origin.h"
#include "format/manifest.h"

struct playback;

/* Does not start yet. origin and cache (or NULL) are borrowed. memory: bytes that it may use. */
int playback_open(struct playback **out, const struct profile *profile, uint64_t image_size,
	struct origin *origin, struct cache *cache, size_t memory, struct err *e);

/* Is told of pages that are here, in the order in which they come, from one thread, so that it may
 * have them read. offset and len in bytes of the image; the last page may reach behind its end.
 * False: it cannot take more just now; it is asked again until it can, and should wait a moment
 * before it says so. */
typedef bool (*playback_show)(void *context, uint64_t offset, uint64_t len);

/* Starts the stream. show: or NULL. Once. */
int playback_start(struct playback *p, playback_show show, void *context, struct err *e);

/* Reads at most len bytes at offset. Returns how many it read, and sets *from_blocks; or 0 and in
 * *from_blocks how many bytes (at least 1) from there on must be read as blocks. */
size_t playback_read(
	struct playback *p, void *buf, size_t len, uint64_t offset, size_t *from_blocks);

/* How many bytes from offset on, of at most len, the pack has or will have; 0, and in *without how
 * many it has not. None, where it was given up: then it is not known. Never waits. */
uint64_t playback_covers(struct playback *p, uint64_t offset, uint64_t len, uint64_t *without);

/* Does it stream now? */
bool playback_is_busy(struct playback *p);

/* Adds an object "pack": segments, here, bytes, pages_read, waits, waited_ms, passed_by (pages that
 * were read as blocks though they were to come), and why it was given up, if it was. */
void playback_status(struct playback *p, json_t *out);

/* Readers wait no more, and the stream ends soon. */
void playback_cancel(struct playback *p);

/* Cancels, and waits until `show` is not called any more. The origin's requests must end, too. */
void playback_stop(struct playback *p);

void playback_close(struct playback *p); /* NULL is fine. Stops it */

#endif
