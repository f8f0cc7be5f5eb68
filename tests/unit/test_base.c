/* base/: buffers, errors, files, text, hashes, the clock. */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/room.h"
#include "base/sha256.h"
#include "base/text.h"

static void test_buf_grows_to_its_cap(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(1000);

	for (int i = 0; i < 100; i++)
		assert_int_equal(buf_append(&b, "0123456789", 10), 0);
	assert_int_equal(b.len, 1000);
	assert_memory_equal(b.data + 990, "0123456789", 10);
	assert_int_equal(buf_append(&b, "x", 1), -EFBIG);
	assert_int_equal(buf_printf(&b, "%d", 1), -EFBIG);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -EFBIG);
	assert_int_equal(b.len, 1000);
	buf_free(&b);
	assert_null(b.data);
	assert_int_equal(b.cap, 1000);
	assert_int_equal(buf_append(&b, "again", 5), 0);
}

static void test_buf_printf_ends_with_nul(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(300);

	assert_int_equal(buf_printf(&b, "%s", ""), 0);
	assert_int_equal(b.len, 0);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(buf_printf(&b, "%d", i % 10), 0);
		assert_int_equal(b.data[b.len], 0);
	}
	assert_int_equal(b.len, 300);
}

static void test_err_collects(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(err_set(&e, -ENOENT, "no %s", "block"), -ENOENT);
	assert_int_equal(err_add(&e, "cannot boot %d", 7), -ENOENT);
	assert_string_equal(e.text, "cannot boot 7: no block");
	assert_int_equal(e.code, -ENOENT);
	assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_add(NULL, "x"), -EIO);
	errno = EACCES;
	assert_int_equal(err_errno(&e, "cannot open %s", "f"), -EACCES);
	assert_string_equal(e.text, "cannot open f: Permission denied");
}

static void test_err_shows_no_controls(void **state)
{
	struct err e = ERR_INIT;

	err_set(&e, -EIO, "a\x1b[31mb\nc\x7f");
	assert_string_equal(e.text, "a?[31mb?c?");
}

static void test_text_clean(void **state)
{
	static const char *const pairs[][2] = {
		{"plain", "plain"},
		{"na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80", "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"a\tb\x1b[2J", "a?b?[2J"},
		{"c1 \xc2\x9b" "2J, nbsp \xc2\xa0", "c1 ??2J, nbsp \xc2\xa0"},
		{"\xff.img", "?.img"},
		{"cut \xe2\x82", "cut ??"},
		{"cut \xf0\x9f\x98", "cut ???"},
		{"overlong \xc0\xaf \xe0\x80\xaf", "overlong ?? ???"},
		{"surrogate \xed\xa0\x80", "surrogate ???"},
		{"beyond \xf4\x90\x80\x80", "beyond ????"},
		{"\xc3(", "?("},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char text[64];

		strcpy(text, pairs[i][0]);
		text_clean(text);
		assert_string_equal(text, pairs[i][1]);
	}
}

static void test_err_cuts_long_text(void **state)
{
	struct err e = ERR_INIT;
	char text[3000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	err_set(&e, -EIO, "%s", text);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	err_add(&e, "%s", text);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	err_set(&e, -EIO, "inner");
	text[1000] = 0;
	err_add(&e, "%s", text);
	assert_int_equal(strlen(e.text), 1000 + strlen(": inner"));
}

static void test_hex(void **state)
{
	const uint8_t data[4] = {0x00, 0x9a, 0xbc, 0xff};
	uint8_t back[4];
	char text[9];

	hex_encode(text, data, sizeof(data));
	assert_string_equal(text, "009abcff");
	assert_int_equal(hex_decode(back, 4, text, 8), 0);
	assert_memory_equal(back, data, 4);
	assert_int_equal(hex_decode(back, 4, "009ABCFF", 8), -EINVAL);
	assert_int_equal(hex_decode(back, 4, "009abcf", 7), -EINVAL);
	assert_int_equal(hex_decode(back, 4, "009abcff0", 9), -EINVAL);
	assert_int_equal(hex_decode(back, 4, "009abcfg", 8), -EINVAL);
}

static void test_base64_vectors(void **state)
{
	/* RFC 4648, section 10 */
	static const char *const vectors[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="},
		{"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"}};
	uint8_t back[8];
	char text[16];

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const char *plain = vectors[i][0], *coded = vectors[i][1];

		base64_encode(text, plain, strlen(plain));
		assert_string_equal(text, coded);
		assert_int_equal(
			base64_decode(back, sizeof(back), coded, strlen(coded)), strlen(plain));
		assert_memory_equal(back, plain, strlen(plain));
	}
}

static void test_base64_is_strict(void **state)
{
	static const char *const wrong[] = {"Zg", "Zg=", "Zg==\n",
		"Zh==", "Zm9=", "Zg==Zg==", "=m9v", "Z===", "====", "Zm9v!m9v",
		"Zm 9v===", "Zm9\xff"};
	uint8_t back[16];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(
			base64_decode(back, sizeof(back), wrong[i], strlen(wrong[i])), -EINVAL);
	assert_int_equal(base64_decode(back, 16, "Zm9vZm9v\0m9v", 12), -EINVAL);
	assert_int_equal(base64_decode(back, 2, "Zm9v", 4), -EINVAL);
}

static void test_base64_round_trip(void **state)
{
	struct random r = random_start(64);

	for (int i = 0; i < 1000; i++) {
		uint8_t data[100], back[102];
		char text[base64_size(100)];
		size_t len = random_below(&r, sizeof(data) + 1);

		random_fill(&r, data, len);
		base64_encode(text, data, len);
		assert_int_equal(strlen(text), base64_size(len) - 1);
		assert_int_equal(base64_decode(back, sizeof(back), text, strlen(text)), len);
		assert_memory_equal(back, data, len);
	}
}

static void test_numbers(void **state)
{
	uint64_t n = 7;

	assert_int_equal(text_to_u64("0", &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(text_to_u64("18446744073709551615", &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(text_to_u64("18446744073709551616", &n), -ERANGE);
	assert_int_equal(text_to_u64("99999999999999999999999", &n), -ERANGE);
	assert_int_equal(text_to_u64("", &n), -EINVAL);
	assert_int_equal(text_to_u64("-1", &n), -EINVAL);
	assert_int_equal(text_to_u64("+1", &n), -EINVAL);
	assert_int_equal(text_to_u64(" 1", &n), -EINVAL);
	assert_int_equal(text_to_u64("1x", &n), -EINVAL);
	assert_int_equal(text_to_size("4G", &n), 0);
	assert_true(n == 4ULL << 30);
	assert_int_equal(text_to_size("512", &n), 0);
	assert_int_equal(n, 512);
	assert_int_equal(text_to_size("K", &n), -EINVAL);
	assert_int_equal(text_to_size("1KK", &n), -EINVAL);
	assert_int_equal(text_to_size("18014398509481984K", &n), -ERANGE);
	assert_int_equal(text_to_size("99999999999999999999999999999999999999999K", &n), -ERANGE);
}

static void test_sizes_for_people(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {{0, "0 bytes"}, {999, "999 bytes"}, {1000, "1.0 kB"}, {1500000000, "1.5 GB"},
		{999600, "1.0 MB"}, {158000000, "158 MB"}, {UINT64_MAX, "18.4 EB"}};
	char text[TEXT_SIZE_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text_size(text, cases[i].bytes);
		assert_string_equal(text, cases[i].text);
	}
	assert_true(text_starts("blocks/ab", "blocks/"));
	assert_false(text_starts("block", "blocks"));
	assert_true(text_ends("a.json", ".json"));
	assert_false(text_ends("json", ".json"));
}

static void test_sha256_vectors(void **state)
{
	struct hash h, zero = {{0}};
	char hex[HASH_HEX_MAX];

	hash_of(&h, "abc", 3); /* FIPS 180-2, B.1 */
	hash_hex(&h, hex);
	assert_string_equal(
		hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	hash_of(&h, "", 0);
	hash_hex(&h, hex);
	assert_string_equal(
		hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_false(hash_is_hole(&h));
	assert_true(hash_is_hole(&zero));
}

static int enter_folder(void **state)
{
	static char folder[64];

	snprintf(folder, sizeof(folder), "/tmp/test_base.XXXXXX");
	if (!mkdtemp(folder) || chdir(folder) < 0)
		return -1;
	*state = folder;
	return 0;
}

static int leave_folder(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", (char *)*state);
	return chdir("/") < 0 || system(command) != 0;
}

static int count_entries(const char *path)
{
	_cleanup_closedir_ DIR *d = opendir(path);
	int count = 0;

	while (readdir(d))
		count++;
	return count - 2;
}

static void test_file_save_and_load(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(100);
	struct err e = ERR_INIT;
	struct stat st;

	assert_int_equal(file_save(AT_FDCWD, "f", "one", 3, FILE_SYNC, &e), 0);
	assert_int_equal(file_save(AT_FDCWD, "f", "two", 3, 0, &e), 0);
	assert_int_equal(file_save(AT_FDCWD, "f", "three", 5, FILE_EXCLUSIVE, &e), -EEXIST);
	assert_int_equal(
		file_save(AT_FDCWD, "g", "secret", 6, FILE_EXCLUSIVE | FILE_PRIVATE, &e), 0);
	assert_int_equal(stat("g", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(file_load(AT_FDCWD, "f", &b, &e), 0);
	assert_int_equal(b.len, 3);
	assert_memory_equal(b.data, "two", 3);
	assert_int_equal(file_load(AT_FDCWD, "missing", &b, &e), -ENOENT);
	assert_non_null(strstr(e.text, "missing"));
	assert_int_equal(file_save(AT_FDCWD, "no/folder", "x", 1, 0, &e), -ENOENT);
	assert_int_equal(count_entries("."), 2); /* no temporary file is left */
}

/* Who had our process number may have been killed in the middle. */
static void test_file_save_passes_taken_names(void **state)
{
	static const char *const others[] = {
		"f", "f.tmp", "f.tmp.", "f.tmp.1", "f.tmp.1.", "f.tmp.1.x", "f.tmp.1.1x", ".tmp.1.1", "f.tmp..1"};
	char name[64];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f.tmp.%ld.%u", (long)getpid(), i);
		assert_true(file_is_temporary(name));
		assert_int_equal(close(open(name, O_CREAT | O_WRONLY, 0600)), 0);
	}
	assert_int_equal(file_save(AT_FDCWD, "f", "one", 3, 0, NULL), 0);
	assert_int_equal(file_save(AT_FDCWD, "f", "two", 3, FILE_EXCLUSIVE, NULL), -EEXIST);
	assert_int_equal(count_entries("."), 21);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(file_is_temporary(others[i]));
}

static void test_file_load_plain(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(100);
	struct err e = ERR_INIT;

	assert_int_equal(file_save(AT_FDCWD, "f", "one", 3, 0, &e), 0);
	assert_int_equal(symlink("f", "link"), 0);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(mkdir("folder", 0700), 0);
	assert_int_equal(file_load_plain(AT_FDCWD, "f", &b, &e), 0);
	assert_int_equal(b.len, 3);
	assert_int_equal(file_load_plain(AT_FDCWD, "missing", &b, &e), -ENOENT);
	assert_int_equal(file_load_plain(AT_FDCWD, "link", &b, &e), -EBADMSG);
	assert_int_equal(file_load_plain(AT_FDCWD, "folder", &b, &e), -EBADMSG);
	assert_int_equal(file_load_plain(AT_FDCWD, "fifo", &b, &e), -EBADMSG);
	assert_string_equal(e.text, "fifo is no plain file");
}

/* A file that is larger than the cap is an error whatever the cap is, never a part of it. */
static void test_file_load_respects_the_cap(void **state)
{
	static const size_t caps[] = {1, 100, 65535, 65536, 65537, 131072, 1 << 20};
	_cleanup_free_ char *data = calloc(1, (1 << 20) + 1);
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		_cleanup_buf_ struct buf b = BUF_INIT(caps[i]);

		assert_int_equal(file_save(AT_FDCWD, "f", data, caps[i], 0, &e), 0);
		assert_int_equal(file_load(AT_FDCWD, "f", &b, &e), 0);
		assert_int_equal(b.len, caps[i]);
		buf_free(&b);
		assert_int_equal(file_save(AT_FDCWD, "f", data, caps[i] + 1, 0, &e), 0);
		assert_int_equal(file_load(AT_FDCWD, "f", &b, &e), -EFBIG);
	}
}

static void test_file_positions(void **state)
{
	_cleanup_close_ int fd = open("f", O_RDWR | O_CREAT, 0600);
	char data[10];

	assert_int_equal(file_pwrite(fd, "hello", 5, 3), 0);
	assert_int_equal(file_pread(fd, data, 8, 0), 0);
	assert_memory_equal(data, "\0\0\0hello", 8);
	assert_int_equal(file_pread(fd, data, 9, 0), -EIO);
	assert_int_equal(file_read(fd, data, sizeof(data)), 8);
	assert_int_equal(file_read(fd, data, sizeof(data)), 0);
	assert_int_equal(file_read(-1, data, 1), -EBADF);
	assert_int_equal(file_write(fd, "!", 1), 0);
	assert_int_equal(file_pread(fd, data, 9, 0), 0);
}

static void test_mkdirs(void **state)
{
	struct err e = ERR_INIT;
	struct stat st;

	assert_int_equal(file_mkdirs("a/b//c/", &e), 0);
	assert_int_equal(file_mkdirs("a/b/c", &e), 0);
	assert_int_equal(stat("a/b/c", &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(file_save(AT_FDCWD, "f", "", 0, 0, &e), 0);
	assert_int_equal(file_mkdirs("f/x", &e), -ENOTDIR);
	assert_int_equal(file_mkdirs("f", &e), -ENOTDIR);
	assert_non_null(strstr(e.text, "f"));
}

static void test_xdg_dir(void **state)
{
	struct err e = ERR_INIT;
	char *dir;

	setenv("HOME", "/home/somebody", 1);
	unsetenv("XDG_CACHE_HOME");
	dir = file_xdg_dir("XDG_CACHE_HOME", ".cache", &e);
	assert_string_equal(dir, "/home/somebody/.cache/inetboot");
	free(dir);
	setenv("XDG_CACHE_HOME", "/c", 1);
	dir = file_xdg_dir("XDG_CACHE_HOME", ".cache", &e);
	assert_string_equal(dir, "/c/inetboot");
	free(dir);
	setenv("XDG_CACHE_HOME", "relative", 1); /* the specification: ignored */
	unsetenv("HOME");
	assert_null(file_xdg_dir("XDG_CACHE_HOME", ".cache", &e));
	assert_non_null(strstr(e.text, "HOME"));
}

static void test_all_zero(void **state)
{
	uint8_t data[100] = {0};

	assert_true(file_all_zero(data, 0));
	assert_true(file_all_zero(data, 100));
	for (size_t i = 0; i < sizeof(data); i++) {
		data[i] = 1;
		assert_false(file_all_zero(data, 100));
		assert_true(file_all_zero(data, i));
		data[i] = 0;
	}
}

static void test_clock_wait_times_out(void **state)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	uint64_t until = clock_ms() + 20;
	pthread_cond_t c;
	int r = 0;

	clock_cond_init(&c);
	pthread_mutex_lock(&m);
	while (!r) /* it may wake without a reason */
		r = clock_cond_wait(&c, &m, until);
	pthread_mutex_unlock(&m);
	assert_int_equal(r, -ETIMEDOUT);
	assert_true(clock_ms() >= until);
	pthread_cond_destroy(&c);
}

#define in_folder(f) cmocka_unit_test_setup_teardown(f, enter_folder, leave_folder)

/* More lines than a pipe holds, that nobody reads: each ends; what is missing is told later. */
static void test_log_goes_on_without_a_reader(void **state)
{
	int fds[2], before = dup(STDERR_FILENO);
	static char text[1 << 21];
	ssize_t n;

	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	fcntl(fds[1], F_SETFL, 0);
	fflush(stderr);
	dup2(fds[1], STDERR_FILENO);
	for (int i = 0; i < 10000; i++)
		log_error("line %d of a program that nobody listens to", i);
	assert_true(read(fds[0], text, sizeof(text)) > 0);
	log_error("the last one");
	dup2(before, STDERR_FILENO);
	n = read(fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = 0;
	assert_non_null(strstr(text, "messages are missing here"));
	assert_non_null(strstr(text, "the last one\n"));
	close(before);
	close(fds[0]);
	close(fds[1]);
}

struct visitor {
	struct room *room;
	size_t need;
	atomic_uint *order;
	unsigned came; /* 1: first */
	pthread_t thread;
};

static void *visit(void *context)
{
	struct visitor *v = context;

	room_take(v->room, v->need);
	v->came = ++*v->order;
	return NULL;
}

static void await_waiting(struct room *r, uint64_t tickets)
{
	uint64_t next = 0;

	for (uint64_t end = clock_ms() + 20000; next != tickets && clock_ms() < end; usleep(1000)) {
		pthread_mutex_lock(&r->lock);
		next = r->next;
		pthread_mutex_unlock(&r->lock);
	}
	assert_int_equal(next, tickets);
}

static void test_room_is_given_in_order(void **state)
{
	atomic_uint order = 0;
	struct room r;
	struct visitor large = {.room = &r, .need = 90, .order = &order}, small = {.room = &r, .need = 20, .order = &order};

	room_init(&r, 100);
	room_take(&r, 60);
	pthread_create(&large.thread, NULL, visit, &large);
	await_waiting(&r, 2);
	pthread_create(&small.thread, NULL, visit, &small); /* would fit */
	await_waiting(&r, 3);
	assert_int_equal(order, 0);
	room_give(&r, 60);
	pthread_join(large.thread, NULL);
	assert_true(large.came == 1 && order == 1); /* both do not fit */
	room_give(&r, 90);
	pthread_join(small.thread, NULL);
	assert_true(small.came == 2);
	room_give(&r, 20);
	room_take(&r, 1000); /* more than there is: alone */
	room_give(&r, 1000);
	assert_int_equal(r.used, 0);
	room_destroy(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_grows_to_its_cap),
		cmocka_unit_test(test_buf_printf_ends_with_nul),
		cmocka_unit_test(test_err_collects),
		cmocka_unit_test(test_err_shows_no_controls),
		cmocka_unit_test(test_text_clean),
		cmocka_unit_test(test_err_cuts_long_text),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_base64_vectors),
		cmocka_unit_test(test_base64_is_strict),
		cmocka_unit_test(test_base64_round_trip),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_sizes_for_people),
		cmocka_unit_test(test_sha256_vectors),
		in_folder(test_file_save_and_load),
		in_folder(test_file_save_passes_taken_names),
		in_folder(test_file_load_plain),
		in_folder(test_file_load_respects_the_cap),
		in_folder(test_file_positions),
		in_folder(test_mkdirs),
		cmocka_unit_test(test_xdg_dir),
		cmocka_unit_test(test_all_zero),
		cmocka_unit_test(test_clock_wait_times_out),
		cmocka_unit_test(test_log_goes_on_without_a_reader),
		cmocka_unit_test(test_room_is_given_in_order),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
