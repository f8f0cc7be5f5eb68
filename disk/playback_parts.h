/* What the parts of a playback share: see playback.h and the head of playback.c. Internal to
 * disk/playback*.c. */
#ifndef DISK_PLAYBACK_PARTS_H
#define DISK_PLAYBACK_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "disk/memory.h"
#include "disk/pack_stream.h"
#include "disk/playback.h"

#define STREAMERS 3
#define SPEED_MS 250 /* over which the speed is taken */
#define LOOK_MS 25

enum segment_state {
	ABSENT,
	COMING,
	HERE,
	KEPT,
	LOST
}; /* KEPT: here from before, and not shown yet */

struct packet { /* a segment in the queue */
	STAILQ_ENTRY(packet) link;
	uint32_t segment;
	uint8_t *data;
};

struct streamer {
	struct playback *playback;
	pthread_t thread;
	bool started;
	struct pack_stream stream;
	uint64_t from;  /* byte of the file at which its run begins */
	uint32_t end;   /* behind its run */
	uint64_t limit; /* byte of the file behind which no segment of its run begins */
};

struct playback {
	struct profile profile;
	uint64_t image_size;
	struct origin *origin;
	struct cache *cache;
	struct memory *memory;
	size_t queue_max;
	playback_show show;
	void *context;
	int file;           /* the cache's, or -1 */
	bool whole;         /* it was, from the start */
	atomic_bool broken; /* it cannot be written to */
	atomic_bool shared; /* by several mirrors */
	struct streamer streamers[STREAMERS];
	pthread_t keeper;
	bool keeping;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	struct pack pack;  /* constant once known */
	atomic_bool known; /* the head is here */
	bool looked;       /* at what there is from before */
	uint8_t *states;
	uint32_t here, written, next; /* how many are here; in the file; none below is absent */
	STAILQ_HEAD(, packet) queue;
	size_t queued; /* bytes */
	bool started;
	atomic_bool cancelled;
	unsigned streaming; /* streamers that are at work */
	uint64_t start_ms, window_ms, window_bytes;
	double speed; /* bytes a millisecond, before the window */
	uint64_t bytes, pages_read, waits, waited_ms, passed_by;
	char given_up[256];
};

/* Takes the head over. -ENOMEM. The lock is held. */
int playback_take_head(struct playback *p, struct pack *pack);

/* The compressed bytes of a segment in the cache's file, allocated; NULL: they cannot be read. */
uint8_t *playback_load_from_file(struct playback *p, const struct pack_segment *s);

/* A segment that is here, decompressed, until memory_put(). An error where it is lost. */
int playback_get_segment(struct playback *p, uint32_t segment, const struct memory_block **out);

/* Starts the streamers that there is work for: the first one, and once the head is here the others
 * (playback_stream.c). */
void playback_stream(struct playback *p);

/* The keeper's thread: context is the playback (playback_keeper.c). */
void *playback_keep(void *context);

#endif
