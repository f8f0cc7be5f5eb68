/* The block cache: what goes in comes out; everything that can be wrong with a folder of files is a
 * miss; concurrent and killed processes; its bound. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cache/health.h"
#include "cache/oldest.h"
#include "format/block.h"
#include "server.h"

#define ENTRY_LEN 10000

static char dir[64];

static struct cache *open_cache(uint64_t size, bool read_only)
{
	struct cache *c;
	struct err e = ERR_INIT;

	if (cache_open(&c, dir, size, read_only, &e) < 0)
		fail_msg("%s", e.text);
	return c;
}

/* Entry n: ENTRY_LEN bytes that follow from n, and its name. The cache does not look into what it
 * keeps. */
static void entry(unsigned n, struct hash *hash, uint8_t data[ENTRY_LEN])
{
	for (size_t i = 0; i < ENTRY_LEN; i++)
		data[i] = (uint8_t)(n * 31 + i * 7 + (i >> 8));
	memcpy(data, &n, sizeof(n));
	hash_of(hash, data, ENTRY_LEN);
}

static void store(struct cache *c, unsigned n)
{
	uint8_t data[ENTRY_LEN];
	struct hash hash;

	entry(n, &hash, data);
	cache_store(c, &hash, data, sizeof(data));
}

/* 0 when it is there with the right bytes, -EBADMSG with others. */
static int load(struct cache *c, unsigned n)
{
	_cleanup_buf_ struct buf out = BUF_INIT(BLOCK_FILE_MAX);
	uint8_t data[ENTRY_LEN];
	struct hash hash;
	int r;

	entry(n, &hash, data);
	r = cache_load(c, &hash, &out);
	if (r < 0) {
		assert_int_equal(out.len, 0);
		return r;
	}
	return out.len == ENTRY_LEN && !memcmp(out.data, data, ENTRY_LEN) ? 0 : -EBADMSG;
}

static struct hash name_of(unsigned n, char path[160])
{
	char block[BLOCK_PATH_MAX];
	uint8_t data[ENTRY_LEN];
	struct hash hash;

	entry(n, &hash, data);
	block_path(&hash, block);
	snprintf(path, 160, "%s/%s", dir, block);
	return hash;
}

static void write_text(const char *path, const char *text)
{
	assert_int_equal(file_save(AT_FDCWD, path, text, strlen(text), 0, NULL), 0);
}

static void basics(void **state)
{
	struct cache *c = open_cache(0, false);
	struct cache_stats stats;
	char path[160];
	struct hash hash = name_of(1, path);

	assert_string_equal(cache_dir(c), dir);
	assert_int_equal(load(c, 1), -ENOENT);
	assert_false(cache_has(c, &hash));
	store(c, 1);
	assert_true(cache_has(c, &hash));
	assert_int_equal(load(c, 1), 0);
	store(c, 1); /* twice is fine */
	assert_int_equal(load(c, 1), 0);
	cache_stats(c, &stats);
	assert_int_equal(stats.hits, 2);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.stores, 2);
	assert_int_equal(stats.bytes, ENTRY_LEN);
	cache_close(c);

	c = open_cache(0, false); /* another process later */
	assert_int_equal(load(c, 1), 0);
	cache_drop(c, &hash);
	assert_int_equal(load(c, 1), -ENOENT);
	cache_drop(c, &hash);
	cache_close(c);
}

/* Loads append, within the buffer's cap. */
static void buffers(void **state)
{
	struct cache *c = open_cache(0, false);
	_cleanup_buf_ struct buf out = BUF_INIT(ENTRY_LEN + 3), tight = BUF_INIT(ENTRY_LEN - 1);
	char path[160];
	struct hash hash = name_of(1, path);

	store(c, 1);
	assert_int_equal(buf_append(&out, "abc", 3), 0);
	assert_int_equal(cache_load(c, &hash, &out), 0);
	assert_int_equal(out.len, ENTRY_LEN + 3);
	assert_memory_equal(out.data, "abc\1\0\0\0", 7);
	assert_int_equal(cache_load(c, &hash, &tight), -EFBIG);
	assert_int_equal(tight.len, 0);
	cache_close(c);
}

/* A damaged entry is handed out as it is: its reader checks it, and drops it. */
static void damaged_entries(void **state)
{
	struct cache *c = open_cache(0, false);
	_cleanup_buf_ struct buf out = BUF_INIT(BLOCK_FILE_MAX);
	char path[160];
	struct hash hash = name_of(1, path);

	store(c, 1);
	write_text(path, "rubbish");
	assert_int_equal(cache_load(c, &hash, &out), 0);
	assert_int_equal(out.len, 7);
	write_text(path, "");
	assert_int_equal(load(c, 1), -EBADMSG);
	assert_false(cache_has(c, &hash));
	cache_drop(c, &hash);
	assert_int_equal(load(c, 1), -ENOENT);
	store(c, 1);
	assert_int_equal(truncate(path, BLOCK_FILE_MAX + 1), 0); /* longer than any block */
	assert_int_equal(load(c, 1), -EFBIG);
	assert_false(cache_has(c, &hash));
	cache_drop(c, &hash);
	store(c, 1);
	assert_int_equal(load(c, 1), 0);
	cache_close(c);
}

/* What is no regular file is a miss, and neither followed nor waited for. */
static void strange_files(void **state)
{
	struct cache *c = open_cache(0, false);
	char path[160], other[160];
	struct hash hash = name_of(1, path);

	store(c, 1);
	store(c, 2);
	name_of(2, other);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(load(c, 1), -ENOENT);
	assert_false(cache_has(c, &hash));
	cache_drop(c, &hash);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(load(c, 1), -ENOENT);
	cache_drop(c, &hash);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(load(c, 1), -ENOENT);
	cache_drop(c, &hash);
	store(c, 1); /* cannot be: the folder is in the way */
	assert_int_equal(load(c, 1), -ENOENT);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(load(c, 2), 0);
	cache_close(c);
}

static void emptied_while_open(void **state)
{
	struct cache *c = open_cache(0, false);
	char blocks[96], tmp[96];

	store(c, 1);
	snprintf(blocks, sizeof(blocks), "%s/blocks", dir);
	snprintf(tmp, sizeof(tmp), "%s/tmp", dir);
	folder_remove(blocks);
	folder_remove(tmp);
	assert_int_equal(load(c, 1), -ENOENT);
	store(c, 1);
	assert_int_equal(load(c, 1), 0);
	cache_close(c);
}

static void stale_temporaries(void **state)
{
	char dead[160], old[160], live[160], foreign[160];
	struct timespec long_ago[2] = {
		{.tv_sec = time(NULL) - 7200}, {.tv_sec = time(NULL) - 7200}};
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	cache_close(open_cache(0, false));
	snprintf(dead, sizeof(dead), "%s/tmp/%ld.1.1", dir, (long)pid);
	snprintf(live, sizeof(live), "%s/tmp/%ld.1.1", dir, (long)getpid());
	snprintf(old, sizeof(old), "%s/tmp/%ld.1.2", dir, (long)getpid());
	snprintf(foreign, sizeof(foreign), "%s/tmp/README", dir);
	write_text(dead, "x");
	write_text(live, "x");
	write_text(old, "x");
	write_text(foreign, "x");
	assert_int_equal(utimensat(AT_FDCWD, old, long_ago, 0), 0);
	cache_close(open_cache(0, false));
	assert_int_equal(access(dead, F_OK), -1);
	assert_int_equal(access(old, F_OK), -1);
	assert_int_equal(access(live, F_OK), 0);
	assert_int_equal(access(foreign, F_OK), 0);
}

/* ---- the bound ---- */

static void set_age(unsigned n, long seconds)
{
	struct timespec t[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
	char path[160];

	name_of(n, path);
	assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

static void await_evictions(struct cache *c, uint64_t at_least)
{
	struct cache_stats stats;

	for (uint64_t end = clock_ms() + 20000;;) {
		cache_stats(c, &stats);
		if (stats.evictions >= at_least)
			return;
		assert_true(clock_ms() < end);
		usleep(1000);
	}
}

static void oldest_go_first(void **state)
{
	struct cache *c = open_cache(0, false);
	char foreign[160];

	for (unsigned n = 0; n < 20; n++) {
		store(c, n);
		set_age(n, 100000 - n * 1000);
	}
	assert_int_equal(load(c, 3), 0); /* used now: it stays */
	snprintf(foreign, sizeof(foreign), "%s/blocks/README", dir);
	write_text(foreign, "not ours");
	cache_close(c);

	c = open_cache(20 * ENTRY_LEN, false);
	store(c, 20); /* one too many: down to 90 %, which are 18 */
	await_evictions(c, 3);
	for (unsigned n = 0; n < 21; n++)
		assert_int_equal(load(c, n), n == 0 || n == 1 || n == 2 ? -ENOENT : 0);
	assert_int_equal(access(foreign, F_OK), 0);
	cache_close(c);
}

static uint64_t bytes_in(const char *folder)
{
	char command[160];
	uint64_t bytes = 0;
	FILE *f;

	snprintf(command, sizeof(command), "find %s/blocks -type f -printf '%%s\\n'", folder);
	f = popen(command, "r");
	assert_non_null(f);
	for (char line[32]; fgets(line, sizeof(line), f);)
		bytes += strtoull(line, NULL, 10);
	pclose(f);
	return bytes;
}

static void stays_bounded(void **state)
{
	struct cache *c = open_cache(50 * ENTRY_LEN, false);
	struct cache_stats stats = {0};
	uint64_t deadline = clock_ms() + 60000;

	/* Stores are dropped while the keeper has not counted: it gets the time that it needs. */
	for (unsigned n = 0; n < 2000 || !stats.evictions; n++) {
		store(c, n);
		if (n % 50)
			continue;
		assert_true(bytes_in(dir) <= 64 * ENTRY_LEN);
		assert_true(clock_ms() < deadline);
		cache_stats(c, &stats);
	}
	for (uint64_t end = clock_ms() + 20000;;) {
		cache_stats(c, &stats);
		if (stats.bytes <= 50 * ENTRY_LEN)
			break;
		assert_true(clock_ms() < end);
		usleep(1000);
	}
	cache_close(c);
	assert_true(bytes_in(dir) <= 50 * ENTRY_LEN);
	assert_true(bytes_in(dir) > 0);
}

static void heap(void **state)
{
	struct oldest o;

	oldest_init(&o, 300);
	for (unsigned i = 0; i < 10000; i++) {
		struct old_file f = {.used = (int64_t)(i * 7919u % 10007u), .size = i};

		oldest_add(&o, &f);
	}
	oldest_sort(&o);
	assert_int_equal(o.count, 300);
	for (size_t i = 1; i < o.count; i++)
		assert_true(o.files[i - 1].used < o.files[i].used);
	assert_true(o.files[299].used < 320);
	oldest_free(&o);
}

/* ---- processes ---- */

/* A process that stores and loads until it is killed or has done `rounds`; exits 1 on wrong bytes.
 */
static pid_t start_worker(uint64_t size, unsigned seed, unsigned rounds)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct cache *c = open_cache(size, false);

		for (unsigned i = 0; i < rounds; i++) {
			unsigned n = (unsigned)rand_r(&seed) % 300;

			store(c, n);
			if (load(c, (unsigned)rand_r(&seed) % 300) == -EBADMSG)
				_exit(1);
		}
		cache_close(c);
		_exit(0);
	}
	return pid;
}

/* The bound that cache.c states, at any time: n processes stay below 1 + n/8 of the limit, and what one of them writes just now. */
static void three_processes(void **state)
{
	pid_t pids[3];
	unsigned running = 3;
	uint64_t most = 0;
	struct cache *c;
	int status;

	for (unsigned i = 0; i < 3; i++)
		pids[i] = start_worker(100 * ENTRY_LEN, i, 3000);
	while (running) {
		uint64_t now = bytes_in(dir);

		most = now > most ? now : most;
		for (unsigned i = 0; i < 3; i++) {
			if (!pids[i] || waitpid(pids[i], &status, WNOHANG) != pids[i])
				continue;
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), 0);
			pids[i] = 0;
			running--;
		}
	}
	assert_true(most > 50 * ENTRY_LEN);
	assert_true(most <= (100 * 11 / 8 + 3) * ENTRY_LEN);
	c = open_cache(100 * ENTRY_LEN, false);
	for (unsigned n = 0; n < 300; n++)
		assert_true(load(c, n) == 0 || load(c, n) == -ENOENT);
	cache_close(c);
}

static void killed_writers(void **state)
{
	unsigned seed = 7, found = 0;
	char tmp[96];
	struct cache *c;

	for (unsigned i = 0; i < 100; i++) {
		pid_t pid = start_worker(100 * ENTRY_LEN, i, 1000000);

		usleep((unsigned)rand_r(&seed) % 8000); /* the random point */
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		c = open_cache(100 * ENTRY_LEN, false);
		for (unsigned n = 0; n < 300; n++) {
			int r = load(c, n);

			assert_true(r == 0 || r == -ENOENT);
			found += !r;
		}
		cache_close(c);
	}
	assert_true(found > 0);
	snprintf(tmp, sizeof(tmp), "%s/tmp", dir);
	assert_int_equal(rmdir(tmp), 0); /* nothing was left in there */
}

/* ---- media that fail ---- */

static void await_store(struct cache *c, unsigned n)
{
	for (uint64_t end = clock_ms() + 20000; load(c, n) != 0;) {
		assert_true(clock_ms() < end);
		usleep(20000);
		store(c, n);
	}
}

/* The same as a full disk, for every user: no file may be longer than 1000 bytes. */
static void failing_writes(void **state)
{
	struct rlimit before, small;
	struct cache_stats stats;
	struct cache *c = open_cache(0, false);

	store(c, 1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){.rlim_cur = 1000, .rlim_max = before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	store(c, 2);
	store(c, 3);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(load(c, 1), 0);
	assert_int_equal(load(c, 2), -ENOENT);
	cache_stats(c, &stats);
	assert_int_equal(stats.write_errors, 2);
	await_store(c, 2); /* it recovers by itself */
	cache_close(c);
}

static void full_disk(void **state)
{
	struct cache_stats stats;
	struct cache *c;
	unsigned n;

	if (mount("none", dir, "tmpfs", 0, "size=400k") < 0)
		skip(); /* needs root */
	c = open_cache(0, false);
	for (n = 0; n < 60; n++)
		store(c, n);
	cache_stats(c, &stats);
	assert_true(stats.write_errors > 0);
	assert_in_range(stats.stores, 10, 40);
	assert_int_equal(stats.stores + stats.write_errors, 60);
	for (n = 0; n < 60; n++)
		assert_int_equal(load(c, n), n < stats.stores ? 0 : -ENOENT);
	/* The same disk pulled out: loads miss, nothing else. */
	assert_int_equal(umount2(dir, MNT_DETACH), 0);
	cache_close(c);
}

static void read_only_disk(void **state)
{
	struct cache_stats stats;
	struct cache *c;

	if (mount("none", dir, "tmpfs", 0, "size=1m") < 0)
		skip(); /* needs root */
	c = open_cache(0, false);
	store(c, 1);
	assert_int_equal(mount("none", dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	store(c, 2); /* it became so while we were at it */
	cache_stats(c, &stats);
	assert_int_equal(stats.write_errors, 1);
	assert_int_equal(load(c, 1), 0);
	cache_close(c);
	c = open_cache(1, false); /* it was so from the start */
	store(c, 2);
	assert_int_equal(load(c, 1), 0);
	assert_int_equal(load(c, 2), -ENOENT);
	cache_close(c);
	assert_int_equal(umount2(dir, MNT_DETACH), 0);
}

static void impossible_folders(void **state)
{
	struct cache *c;
	struct err e = ERR_INIT;
	char path[160];

	snprintf(path, sizeof(path), "%s/file", dir);
	write_text(path, "");
	assert_int_equal(cache_open(&c, path, 0, false, &e), 0); /* a cache that keeps nothing */
	store(c, 1);
	assert_int_equal(load(c, 1), -ENOENT);
	cache_close(c);
	assert_int_equal(cache_open(&c, path, 0, true, &e), -ENOTDIR); /* a store has to be there */
	assert_true(e.text[0]);
	snprintf(path, sizeof(path), "%s/deep/er", dir);
	assert_int_equal(cache_open(&c, path, 0, false, &e), 0);
	store(c, 1);
	assert_int_equal(load(c, 1), 0);
	cache_close(c);
}

/* In a store, the folder of blocks may be a link to somewhere else; in a cache, it may not. */
static void linked_blocks(void **state)
{
	struct cache *c = open_cache(0, false);
	char blocks[96], moved[96];

	store(c, 1);
	cache_close(c);
	snprintf(blocks, sizeof(blocks), "%s/blocks", dir);
	snprintf(moved, sizeof(moved), "%s/moved", dir);
	assert_int_equal(rename(blocks, moved), 0);
	assert_int_equal(symlink("moved", blocks), 0);
	c = open_cache(0, true);
	assert_int_equal(load(c, 1), 0);
	store(c, 2);
	assert_int_equal(load(c, 2), -ENOENT);
	cache_close(c);
	c = open_cache(0, false);
	store(c, 2);
	assert_int_equal(load(c, 2), -ENOENT);
	cache_close(c);
}

static enum health_change one_load(struct health *h, enum health_result result)
{
	int slot = health_enter(h, false, NULL);

	assert_true(slot >= 0);
	return health_leave(h, slot, result);
}

/* Some errors are borne, many are not; then one load finds out, and the pauses grow. */
static void bypassing(void **state)
{
	struct health h;
	uint64_t start;
	int slot;

	health_init(&h);
	for (int i = 0; i < 200; i++) /* one of ten for ever */
		assert_int_equal(one_load(&h, i % 10 ? HEALTH_GOOD : HEALTH_FAILED), HEALTH_SAME);
	for (int i = 0; i < 6; i++) /* what came before is forgotten to the last point */
		assert_int_equal(one_load(&h, HEALTH_FAILED), HEALTH_SAME);
	while (one_load(&h, HEALTH_FAILED) == HEALTH_SAME)
		;
	start = clock_ms();
	assert_true(health_bypassed(&h));
	assert_int_equal(health_enter(&h, false, NULL), -EAGAIN);
	slot = health_enter(&h, true, NULL); /* who has nothing else gets in, and changes nothing */
	assert_int_equal(health_leave(&h, slot, HEALTH_GOOD), HEALTH_SAME);
	assert_true(health_bypassed(&h));
	while ((slot = health_enter(&h, false, NULL)) < 0)
		usleep(1000);
	assert_in_range(clock_ms() - start, HEALTH_PAUSE_MIN_MS, 2 * HEALTH_PAUSE_MIN_MS);
	assert_int_equal(health_enter(&h, false, NULL), -EAGAIN); /* one at a time */
	assert_int_equal(health_leave(&h, slot, HEALTH_FAILED), HEALTH_SAME);
	start = clock_ms();
	while ((slot = health_enter(&h, false, NULL)) < 0)
		usleep(1000);
	assert_true(clock_ms() - start >= 2 * HEALTH_PAUSE_MIN_MS);
	assert_int_equal(health_leave(&h, slot, HEALTH_GOOD), HEALTH_CAME_BACK);
	assert_false(health_bypassed(&h));
	assert_int_equal(one_load(&h, HEALTH_GOOD), HEALTH_SAME);
	health_free(&h);
}

static void *load_often(void *context)
{
	struct health *h = context;
	size_t refused = 0;

	for (int i = 0; i < 100000; i++) {
		int slot = health_enter(h, false, NULL);

		if (slot < 0)
			refused++;
		else
			refused += health_leave(h, slot, HEALTH_GOOD) != HEALTH_SAME;
	}
	return (void *)refused;
}

/* Loads that begin while another thread waits for its turn have not hung since the beginning of time. */
static void many_threads_are_no_trouble(void **state)
{
	pthread_t threads[8];
	struct health h;
	void *refused;

	health_init(&h);
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, load_often, &h), 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], &refused);
		assert_null(refused);
	}
	health_free(&h);
}

static int make_dir(void **state)
{
	folder_make(dir);
	return 0;
}

static int remove_dir(void **state)
{
	folder_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heap),
		cmocka_unit_test(bypassing),
		cmocka_unit_test(many_threads_are_no_trouble),
		cmocka_unit_test_setup_teardown(basics, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(buffers, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(damaged_entries, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(strange_files, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(emptied_while_open, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(stale_temporaries, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(oldest_go_first, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(stays_bounded, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(three_processes, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(killed_writers, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(failing_writes, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(full_disk, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(read_only_disk, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(impossible_folders, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(linked_blocks, make_dir, remove_dir),
	};

	alarm(100); /* a hang is a failure */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
