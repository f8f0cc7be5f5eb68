/* The block cache: see cache.h.
 *
 *	DIR/blocks/ab/abcdef...	entries; foreign names in there are neither counted nor touched
 *	DIR/packs/abcdef...	whole boot packs; with ".part" behind: one that is being filled
 *	DIR/tmp/PID.TIME.N	entries that are being written, renamed when complete. Those of
 *				dead writers go at the next open
 *	DIR/lock		flock()ed by the process that evicts
 *
 * Loads and stores take no lock but for counters. The total is not known when a cache is opened:
 * looking at every file of a large one takes seconds. The first store starts the keeper, a thread
 * that counts, and evicts when the total passes the limit; it counts again after every 1/16 of the
 * limit stored, because other processes store too. While the view of the total is more than 1/8
 * above the limit, or more than 1/8 of it was stored since the last count, stores are dropped, so
 * that a slow disk cannot let the cache grow for ever: n processes stay below 1 + n/8 of the limit.
 *
 * Memory of an eviction is bounded: each round holds the ROUND_FILES oldest files, and rounds
 * follow until 90 % is left.
 *
 * A failed write (disk full, read-only, worn-out stick) pauses stores for a second, then two, up to
 * a minute: a failing medium must not slow down reads that do not need it. A store that was slow
 * pauses them for SLOW_REST times as long, then twice that. For loads, health.h decides. What is wrong is told at most once a minute. */
#include "cache/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "cache/health.h"
#include "cache/oldest.h"
#include "format/block.h"
#include "format/pack.h"

#define ROUND_FILES 65536  /* files that one round of eviction holds in memory: 3 MB */
#define TOUCH_SECONDS 3600 /* use is remembered with this resolution */
#define STALE_SECONDS 3600 /* temporaries older than this are nobody's */
#define PAUSE_MIN_MS 1000  /* without stores, after a failed write */
#define PAUSE_MAX_MS 60000
#define SLOW_REST 5 /* a slow medium may take a sixth of a reader's time, and less when it stays slow */
#define STORES_AT_ONCE 4 /* they wait for each other in the file system anyway */
#define STORE_WAIT_MS 250 /* for one's turn; longer ones are left out */
#define TELL_MS 60000 /* between two lines about trouble */
#define LOCK_RETRY_MS 200 /* another process is evicting: look again after this time */

#define PACKS 256 /* behind the folders of blocks */
#define PART ".part"
#define PACK_FILE_MAX (BLOCK_PATH_MAX > PACK_PATH_MAX + sizeof(PART) ? BLOCK_PATH_MAX : PACK_PATH_MAX + sizeof(PART))

struct cache {
	char *dir;
	int fd; /* of dir; -1: there is none, everything misses */
	bool read_only;
	uint64_t size;
	_Atomic bool made[256]; /* subfolders that are known to be there */
	_Atomic uint64_t hits, misses, stores, drops, evictions, write_errors, load_errors;
	struct health health;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t wake;
	pthread_t keeper;
	bool keeping, stop;
	bool told; /* trouble, and not its end */
	uint64_t told_ms;
	bool counted;    /* bytes is a total, not only what was stored here */
	uint64_t bytes;  /* this process's view */
	uint64_t recent; /* bytes stored since the last count */
	uint64_t pause_ms, paused_until_ms;
	uint64_t rest_ms, resting_until_ms;
	unsigned storing, store_waiters;
	pthread_cond_t stored;
};

/* ---- opening ---- */

static bool writer_is_dead(int dirfd, const char *name)
{
	struct stat st;
	char *end;
	long pid = strtol(name, &end, 10);

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return false;
	if (st.st_mtime < time(NULL) - STALE_SECONDS)
		return true;
	return pid > 0 && *end == '.' && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

static void remove_stale_temporaries(struct cache *c)
{
	int fd = openat(c->fd, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((d = readdir(dir)))
		if (writer_is_dead(fd, d->d_name))
			unlinkat(fd, d->d_name, 0);
}

/* A real folder, made where it is missing: a symbolic link could lead writes out of the cache. */
static int make_folder(struct cache *c, const char *name)
{
	struct stat st;

	if (mkdirat(c->fd, name, 0777) < 0 && errno != EEXIST)
		return -errno;
	if (fstatat(c->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int prepare(struct cache *c)
{
	int r = make_folder(c, "blocks");

	if (!r)
		r = make_folder(c, "tmp");
	if (!r && faccessat(c->fd, "tmp", W_OK | X_OK, AT_EACCESS) < 0)
		r = -errno;
	if (!r)
		remove_stale_temporaries(c);
	return r;
}

static int open_dir(struct cache *c, struct err *e)
{
	struct err made = ERR_INIT;
	int r = c->read_only ? 0 : file_mkdirs(c->dir, &made);

	c->fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->fd < 0 && c->read_only)
		return err_errno(e, "cannot open the folder %s", c->dir);
	if (c->fd < 0) {
		log_warning(
			"cannot use the cache %s: %s; going on without", c->dir, strerror(errno));
		c->read_only = true;
		return 0;
	}
	if (c->read_only)
		return 0;
	if (!r)
		r = prepare(c);
	if (r < 0) {
		log_warning("the cache %s cannot be written (%s): it is only read", c->dir,
			strerror(-r));
		c->read_only = true;
	}
	return 0;
}

int cache_open(struct cache **out, const char *dir, uint64_t size, bool read_only, struct err *e)
{
	struct cache *c = calloc(1, sizeof(*c));
	int r;

	*out = NULL;
	if (!c || !(c->dir = strdup(dir))) {
		free(c);
		return err_set(e, -ENOMEM, "no memory for a cache");
	}
	c->size = size;
	c->read_only = read_only;
	c->fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	clock_cond_init(&c->wake);
	clock_cond_init(&c->stored);
	health_init(&c->health);
	r = open_dir(c, e);
	if (r < 0) {
		cache_close(c);
		return r;
	}
	*out = c;
	return 0;
}

void cache_close(struct cache *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->wake);
	pthread_mutex_unlock(&c->lock);
	if (c->keeping)
		pthread_join(c->keeper, NULL);
	if (c->fd >= 0)
		close(c->fd);
	health_free(&c->health);
	pthread_cond_destroy(&c->wake);
	pthread_cond_destroy(&c->stored);
	pthread_mutex_destroy(&c->lock);
	free(c->dir);
	free(c);
}

const char *cache_dir(const struct cache *c)
{
	return c->dir;
}

uint64_t cache_most(const struct cache *c)
{
	return c->size;
}

void cache_stats(struct cache *c, struct cache_stats *out)
{
	*out = (struct cache_stats){
		.hits = c->hits,
		.misses = c->misses,
		.stores = c->stores,
		.drops = c->drops,
		.evictions = c->evictions,
		.write_errors = c->write_errors,
		.load_errors = c->load_errors,
		.read_only = c->read_only,
		.bypassed = health_bypassed(&c->health),
	};
	pthread_mutex_lock(&c->lock);
	out->bytes = c->bytes;
	pthread_mutex_unlock(&c->lock);
}

static void subtract(struct cache *c, uint64_t bytes)
{
	pthread_mutex_lock(&c->lock);
	c->bytes -= bytes < c->bytes ? bytes : c->bytes;
	pthread_mutex_unlock(&c->lock);
}

/* ---- what people are told ---- */

/* Trouble of one kind rarely comes alone: a stick that was pulled out fails loads and stores. */
static void tell_trouble(struct cache *c, const char *what, const char *why)
{
	uint64_t now;
	bool quiet;

	pthread_mutex_lock(&c->lock);
	now = clock_ms();
	quiet = c->told_ms && now - c->told_ms < TELL_MS;
	if (!quiet) {
		c->told = true;
		c->told_ms = now;
	}
	pthread_mutex_unlock(&c->lock);
	log_at(quiet ? LOG_DEBUG : LOG_WARNING, "%s the cache %s: %s; reads go on without it", what, c->dir, why);
}

static void tell_change(struct cache *c, enum health_change change, const char *why)
{
	bool told;

	if (change == HEALTH_WENT) {
		tell_trouble(c, "cannot rely on", why);
	} else if (change == HEALTH_CAME_BACK) {
		pthread_mutex_lock(&c->lock);
		told = c->told;
		c->told = false;
		pthread_mutex_unlock(&c->lock);
		log_at(told ? LOG_INFO : LOG_DEBUG, "the cache %s works again", c->dir);
	}
}

static void pack_file(const struct hash *name, bool part, char out[PACK_FILE_MAX])
{
	pack_path(name, out);
	if (part)
		strcat(out, PART);
}

/* ---- loading ---- */

/* Anything but a regular file must neither be followed nor block the open (FIFO). */
static int open_entry(struct cache *c, const struct hash *hash, struct stat *st)
{
	_cleanup_close_ int fd = -1;
	char path[BLOCK_PATH_MAX];

	if (c->fd < 0)
		return -ENOENT;
	block_path(hash, path);
	fd = openat(c->fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ELOOP || errno == ENOTDIR || errno == ENXIO ? -ENOENT : -errno;
	if (fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode))
		return -ENOENT;
	if (st->st_size > BLOCK_FILE_MAX) /* no block can be that long */
		return -EFBIG;
	return steal_fd(&fd);
}

static int load_entry(struct cache *c, const struct hash *hash, struct buf *out)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	time_t now;
	ssize_t n;
	int r;

	fd = open_entry(c, hash, &st);
	if (fd < 0)
		return fd;
	r = buf_reserve(out, (size_t)st.st_size);
	if (r < 0)
		return r;
	n = st.st_size ? file_read(fd, out->data + out->len, (size_t)st.st_size) : 0;
	if (n < 0)
		return (int)n;
	out->len += (size_t)n;
	now = time(NULL);
	if (!c->read_only &&
		(st.st_mtime < now - TOUCH_SECONDS || st.st_mtime > now + TOUCH_SECONDS))
		futimens(fd, NULL);
	return 0;
}

int cache_open_entry(struct cache *c, const struct hash *hash, uint64_t *size)
{
	struct stat st;
	int fd = open_entry(c, hash, &st);

	if (fd >= 0)
		*size = (uint64_t)st.st_size;
	return fd;
}

static enum health_result rate(int r)
{
	switch (r) {
	case 0:
		return HEALTH_GOOD;
	case -ENOENT:
	case -EFBIG: /* one bad entry */
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		return HEALTH_NEUTRAL;
	default:
		return HEALTH_FAILED;
	}
}

/* A slot for end_load(), or -EAGAIN. */
static int begin_load(struct cache *c, bool anyway)
{
	enum health_change change;
	int slot = health_enter(&c->health, anyway, &change);

	tell_change(c, change, "it does not answer");
	return slot;
}

static void end_load(struct cache *c, int slot, int r)
{
	enum health_change change = health_leave(&c->health, slot, rate(r));

	tell_change(c, change, r < 0 ? strerror(-r) : "it is too slow");
	c->load_errors += rate(r) == HEALTH_FAILED;
}

static int load(struct cache *c, const struct hash *hash, bool anyway, struct buf *out)
{
	int slot = begin_load(c, anyway), r = slot;

	if (slot >= 0) {
		r = load_entry(c, hash, out);
		end_load(c, slot, r);
	}
	if (r < 0)
		c->misses++;
	else
		c->hits++;
	return r;
}

int cache_load(struct cache *c, const struct hash *hash, struct buf *out)
{
	return load(c, hash, false, out);
}

int cache_load_anyway(struct cache *c, const struct hash *hash, struct buf *out)
{
	return load(c, hash, true, out);
}

/* Bytes of an entry, or a negative errno. */
static int64_t entry_size(struct cache *c, const char *path)
{
	struct stat st;

	if (c->fd < 0)
		return -ENOENT;
	if (fstatat(c->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? st.st_size : -ENOENT;
}

bool cache_has(struct cache *c, const struct hash *hash)
{
	char path[BLOCK_PATH_MAX];
	int64_t size;

	block_path(hash, path);
	size = entry_size(c, path);
	return size > 0 && size <= BLOCK_FILE_MAX;
}

/* ---- counting and evicting, in the keeper's thread ---- */

static bool stopped(struct cache *c)
{
	bool stop;

	pthread_mutex_lock(&c->lock);
	stop = c->stop;
	pthread_mutex_unlock(&c->lock);
	return stop;
}

/* An entry's file name gives its hash; everything else in the folder is not ours. */
static bool entry_name(const char *name, unsigned folder, struct hash *hash)
{
	return !hex_decode(hash->bytes, HASH_LEN, name, strlen(name)) && hash->bytes[0] == folder;
}

static bool pack_name(const char *name, struct old_file *f)
{
	size_t len = strlen(name);

	f->kind = text_ends(name, PART) ? OLD_PACK_PART : OLD_PACK;
	return !hex_decode(f->hash.bytes, HASH_LEN, name, f->kind == OLD_PACK_PART ? len - strlen(PART) : len);
}

/* Adds the entries of one subfolder to *total, and to `oldest`. folder: of blocks; PACKS: of packs. */
static void count_folder(struct cache *c, unsigned folder, uint64_t *total, struct oldest *oldest)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[BLOCK_PATH_MAX] = "packs";
	struct dirent *d;
	int fd;

	if (folder != PACKS)
		snprintf(path, sizeof(path), "blocks/%02x", folder);
	fd = openat(c->fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return;
	}
	while ((d = readdir(dir))) {
		struct old_file f = {.kind = OLD_BLOCK};
		struct stat st;

		if (!(folder == PACKS ? pack_name(d->d_name, &f) : entry_name(d->d_name, folder, &f.hash)) ||
			fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			!S_ISREG(st.st_mode))
			continue;
		f.used = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
		f.size = (uint64_t)st.st_size;
		*total += f.size;
		oldest_add(oldest, &f);
	}
}

/* Counts all entries; -ECANCELED at close. */
static int count(struct cache *c, struct oldest *oldest)
{
	uint64_t total = 0, before;

	pthread_mutex_lock(&c->lock);
	before = c->bytes;
	c->recent = 0;
	pthread_mutex_unlock(&c->lock);
	for (unsigned folder = 0; folder <= PACKS; folder++) {
		if (stopped(c))
			return -ECANCELED;
		count_folder(c, folder, &total, oldest);
	}
	pthread_mutex_lock(&c->lock);
	/* What other threads stored meanwhile may or may not have been seen: it is counted twice
	 * rather than not at all, until the next count. */
	c->bytes = total + (c->bytes > before ? c->bytes - before : 0);
	c->counted = true;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static bool above(struct cache *c, uint64_t limit)
{
	bool is;

	pthread_mutex_lock(&c->lock);
	is = c->bytes > limit;
	pthread_mutex_unlock(&c->lock);
	return is;
}

static void old_path(const struct old_file *f, char out[PACK_FILE_MAX])
{
	if (f->kind == OLD_BLOCK)
		block_path(&f->hash, out);
	else
		pack_file(&f->hash, f->kind == OLD_PACK_PART, out);
}

/* Removes the files of one round until 90 % of the limit is left. Returns how many went. */
static size_t remove_oldest(struct cache *c, struct oldest *oldest)
{
	size_t removed = 0;

	oldest_sort(oldest);
	for (size_t i = 0; i < oldest->count && above(c, c->size / 10 * 9) && !stopped(c); i++) {
		char path[PACK_FILE_MAX];

		old_path(&oldest->files[i], path);
		if (unlinkat(c->fd, path, 0) < 0 && errno != ENOENT)
			continue;
		subtract(c, oldest->files[i].size);
		c->evictions++;
		removed++;
	}
	return removed;
}

/* 0; -EAGAIN: another process is at it; -ECANCELED. */
static int evict(struct cache *c)
{
	_cleanup_close_ int lock =
		openat(c->fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
	size_t removed;
	int r;

	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return -EAGAIN;
	do {
		_cleanup_(oldest_free) struct oldest oldest;

		oldest_init(&oldest, ROUND_FILES);
		r = count(c, &oldest);
		if (r < 0 || !above(c, c->size))
			return r;
		removed = remove_oldest(c, &oldest);
	} while (removed && above(c, c->size / 10 * 9) && !stopped(c));
	return 0;
}

static bool work_waits(const struct cache *c)
{
	return !c->counted || c->bytes > c->size || c->recent > c->size / 16;
}

static void *keep(void *context)
{
	struct cache *c = context;

	pthread_mutex_lock(&c->lock);
	while (!c->stop) {
		uint64_t again;
		int r;

		if (!work_waits(c)) {
			clock_cond_wait(&c->wake, &c->lock, 0);
			continue;
		}
		pthread_mutex_unlock(&c->lock);
		r = evict(c);
		pthread_mutex_lock(&c->lock);
		if (!r && c->bytes <= c->size)
			continue;
		/* Another process evicts, or what is there cannot be removed. */
		again = clock_ms() + (r == -EAGAIN ? LOCK_RETRY_MS : PAUSE_MIN_MS);
		while (!c->stop && clock_ms() < again)
			clock_cond_wait(&c->wake, &c->lock, again);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---- storing ---- */

static void write_failed(struct cache *c, int r)
{
	c->write_errors++;
	pthread_mutex_lock(&c->lock);
	c->pause_ms = c->pause_ms ? c->pause_ms * 2 : PAUSE_MIN_MS;
	if (c->pause_ms > PAUSE_MAX_MS)
		c->pause_ms = PAUSE_MAX_MS;
	c->paused_until_ms = clock_ms() + c->pause_ms;
	pthread_mutex_unlock(&c->lock);
	tell_trouble(c, "cannot write to", strerror(-r));
}

static void note_stored(struct cache *c, uint64_t added, uint64_t replaced)
{
	c->stores++;
	pthread_mutex_lock(&c->lock);
	c->bytes += added;
	c->bytes -= replaced < c->bytes ? replaced : c->bytes;
	c->recent += added;
	c->pause_ms = 0;
	if (c->size && !c->keeping && !c->stop)
		c->keeping = !thread_start(&c->keeper, keep, c);
	else if (c->size && work_waits(c))
		pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

/* Is there any sense in writing now? */
static bool may_store(struct cache *c, bool must)
{
	bool paused, resting, full;

	if (c->read_only)
		return false;
	pthread_mutex_lock(&c->lock);
	paused = c->pause_ms && clock_ms() < c->paused_until_ms;
	resting = !must && clock_ms() < c->resting_until_ms;
	full = c->size && (c->recent > c->size / 8 || (c->counted && c->bytes > c->size &&
							      c->bytes - c->size > c->size / 8));
	pthread_mutex_unlock(&c->lock);
	if (paused)
		c->write_errors++;
	return !paused && !resting && !full;
}

static int open_temporary(struct cache *c, const char *name)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(c->fd, name, flags, 0666);

	if (fd < 0 && errno == ENOENT && !make_folder(c, "tmp"))
		fd = openat(c->fd, name, flags, 0666);
	return fd < 0 ? -errno : fd;
}

static int make_subfolder(struct cache *c, unsigned folder)
{
	char path[BLOCK_PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "blocks/%02x", folder);
	r = make_folder(c, path);
	if (r == -ENOENT) {
		r = make_folder(c, "blocks");
		if (!r)
			r = make_folder(c, path);
	}
	if (!r)
		c->made[folder] = true;
	return r;
}

static int move_in(struct cache *c, const char *temporary, const char *path, unsigned folder)
{
	int r = c->made[folder] ? 0 : make_subfolder(c, folder);

	if (r < 0)
		return r;
	if (!renameat(c->fd, temporary, c->fd, path))
		return 0;
	if (errno != ENOENT)
		return -errno;
	r = make_subfolder(c, folder); /* somebody emptied the cache */
	if (r < 0)
		return r;
	return renameat(c->fd, temporary, c->fd, path) < 0 ? -errno : 0;
}

static void store(struct cache *c, const struct hash *hash, const void *frame, size_t len)
{
	static atomic_uint counter;
	char path[BLOCK_PATH_MAX], temporary[96];
	_cleanup_close_ int fd = -1;
	int64_t replaced;
	int r;

	block_path(hash, path);
	/* The time tells apart writers in PID namespaces that share the folder. */
	snprintf(temporary, sizeof(temporary), "tmp/%ld.%llx.%u", (long)getpid(),
		(unsigned long long)clock_us(), counter++);
	fd = open_temporary(c, temporary);
	if (fd < 0) {
		write_failed(c, fd);
		return;
	}
	replaced = entry_size(c, path);
	r = file_write(fd, frame, len);
	if (!r)
		r = move_in(c, temporary, path, hash->bytes[0]);
	if (r < 0) {
		unlinkat(c->fd, temporary, 0);
		write_failed(c, r);
		return;
	}
	note_stored(c, len, replaced > 0 ? (uint64_t)replaced : 0);
}

static void note_time(struct cache *c, uint64_t start_ms)
{
	uint64_t now = clock_ms();
	bool slow = now - start_ms >= HEALTH_SLOW_MS;

	pthread_mutex_lock(&c->lock);
	if (!slow) {
		c->rest_ms = 0;
	} else if (now >= c->resting_until_ms) { /* not for each of those that ran at once */
		c->rest_ms = c->rest_ms ? 2 * c->rest_ms : SLOW_REST * (now - start_ms);
		if (c->rest_ms > PAUSE_MAX_MS)
			c->rest_ms = PAUSE_MAX_MS;
		c->resting_until_ms = now + c->rest_ms;
	}
	pthread_mutex_unlock(&c->lock);
	if (slow)
		log_debug("the cache %s is slow: %llu ms for a block", c->dir, (unsigned long long)(now - start_ms));
}

static bool begin_store(struct cache *c, bool must)
{
	uint64_t until = must ? 0 : clock_ms() + STORE_WAIT_MS;
	bool mine;

	pthread_mutex_lock(&c->lock);
	while (c->storing == STORES_AT_ONCE && (must || clock_ms() < until)) {
		c->store_waiters++;
		clock_cond_wait(&c->stored, &c->lock, until);
		c->store_waiters--;
	}
	mine = c->storing < STORES_AT_ONCE;
	c->storing += mine;
	pthread_mutex_unlock(&c->lock);
	return mine;
}

static void end_store(struct cache *c)
{
	pthread_mutex_lock(&c->lock);
	c->storing--;
	if (c->store_waiters)
		pthread_cond_signal(&c->stored);
	pthread_mutex_unlock(&c->lock);
}

static void store_timed(struct cache *c, const struct hash *hash, const void *frame, size_t len, bool must)
{
	uint64_t start;

	if (!len || len > BLOCK_FILE_MAX || !may_store(c, must) || !begin_store(c, must))
		return;
	start = clock_ms();
	store(c, hash, frame, len);
	note_time(c, start);
	end_store(c);
}

void cache_store(struct cache *c, const struct hash *hash, const void *frame, size_t len)
{
	int slot = health_enter(&c->health, true, NULL);

	if (slot < 0) /* something hangs in there */
		return;
	store_timed(c, hash, frame, len, false);
	tell_change(c, health_leave(&c->health, slot, HEALTH_UNRATED), "");
}

void cache_keep(struct cache *c, const struct hash *hash, const void *frame, size_t len)
{
	store_timed(c, hash, frame, len, true);
}

void cache_drop(struct cache *c, const struct hash *hash)
{
	char path[BLOCK_PATH_MAX];
	int64_t size;

	block_path(hash, path);
	c->drops++;
	tell_change(c, health_bad_bytes(&c->health), "much of what it holds is damaged");
	size = entry_size(c, path);
	if (c->read_only || c->fd < 0 || size == -ENOENT)
		return;
	if (unlinkat(c->fd, path, 0) < 0) {
		if (errno != ENOENT)
			c->write_errors++;
		return;
	}
	if (size > 0)
		subtract(c, (uint64_t)size);
}

/* ---- boot packs ---- */

static int open_plain(struct cache *c, const char *path, int flags)
{
	_cleanup_close_ int fd = openat(c->fd, path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -ENOENT;
	if (!c->read_only)
		futimens(fd, NULL);
	return steal_fd(&fd);
}

static int find_pack(struct cache *c, const struct hash *name, bool *whole)
{
	char path[PACK_FILE_MAX];
	int fd;

	pack_file(name, false, path);
	fd = open_plain(c, path, O_RDONLY);
	*whole = fd >= 0;
	if (fd >= 0 || c->read_only || !may_store(c, false) || make_folder(c, "packs") < 0)
		return fd;
	pack_file(name, true, path);
	return open_plain(c, path, O_RDWR | O_CREAT);
}

int cache_open_pack(struct cache *c, const struct hash *name, bool *whole)
{
	int slot = c->fd < 0 ? -ENOENT : begin_load(c, false), fd;

	if (slot < 0)
		return -ENOENT;
	fd = find_pack(c, name, whole);
	end_load(c, slot, fd < 0 ? -ENOENT : 0);
	return fd < 0 ? -ENOENT : fd;
}

int cache_read_pack(struct cache *c, int fd, void *out, size_t len, uint64_t offset)
{
	int slot = begin_load(c, false), r;
	struct stat st;

	if (slot < 0)
		return slot;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (offset > (uint64_t)st.st_size || len > (uint64_t)st.st_size - offset)
		r = -ENOENT;
	else
		r = file_pread(fd, out, len, offset);
	end_load(c, slot, r);
	return r;
}

void cache_finish_pack(struct cache *c, const struct hash *name, uint64_t size)
{
	char part[PACK_FILE_MAX], path[PACK_FILE_MAX];

	pack_file(name, true, part);
	pack_file(name, false, path);
	if (!renameat(c->fd, part, c->fd, path))
		note_stored(c, size, 0);
	else if (errno != ENOENT) /* another process has done it */
		write_failed(c, -errno);
}

void cache_drop_pack(struct cache *c, const struct hash *name)
{
	char path[PACK_FILE_MAX];

	pack_file(name, false, path);
	c->drops++;
	if (!c->read_only)
		unlinkat(c->fd, path, 0);
}
