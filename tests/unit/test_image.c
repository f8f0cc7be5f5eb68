/* Opening images by their links: which manifest is believed, what is said about those that are not,
 * and what works without a network. */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "disk/image.h"
#include "disk/pull.h"
#include "disk/unpacked.h"
#include "disk/versions.h"
#include "made_store.h"
#include "server.h"

#define SIZE (200u << 10)

static struct server server;
static struct made_image content;
static struct secret_key key, other_key;
static char home[64]; /* of caches and state */
static char key_text[PUBLIC_KEY_TEXT_MAX], other_text[PUBLIC_KEY_TEXT_MAX];

static void publish(const char *name, uint64_t version, const struct secret_key *k)
{
	made_manifest(server.dir, name, name, version, &content.tree, k, true);
}

static void wipe_home(void)
{
	folder_remove(home);
	assert_int_equal(file_mkdirs(home, NULL), 0);
}

/* Opens NAME_AND_VERSION[#key] on the server. */
static int open_with(struct image **out, const char *base, const char *name, const char *k,
	struct image_options *o, struct err *e)
{
	char link[512];

	snprintf(link, sizeof(link), "%s/%s%s%s", base, name, k ? "#" : "", k ? k : "");
	*out = NULL;
	return image_open(out, link, o, e);
}

static struct image_options options(void)
{
	return (struct image_options){
		.cache_size = 1 << 30,
		.memory_limit = 8 << 20,
		.origin = {.timeout_ms = 5000, .connect_ms = 1000, .stall_ms = 500},
	};
}

static int open_one(struct image **out, const char *name, const char *k, struct err *e)
{
	struct image_options o = options();

	return open_with(out, server.url, name, k, &o, e);
}

static void expect_open(const char *name, const char *k, uint64_t version)
{
	struct err e = ERR_INIT;
	struct image *image;

	if (open_one(&image, name, k, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(image->in_store);
	assert_int_equal(image->verified, k != NULL);
	assert_int_equal(image->manifest.version, version);
	image_close(image);
}

#define expect_error(name, k, code, ...)                                                           \
	expect_error_at(__LINE__, name, k, code, (const char *const[]){__VA_ARGS__, NULL})

static void expect_error_at(
	int line, const char *name, const char *k, int code, const char *const *words)
{
	struct err e = ERR_INIT;
	struct image *image;
	int r = open_one(&image, name, k, &e);

	if (r != code || e.code != code)
		fail_msg("line %d: result %d, in the sentence %d, expected %d: %s", line, r, e.code,
			code, e.text);
	for (; *words; words++)
		if (!strstr(e.text, *words))
			fail_msg("line %d: no '%s' in: %s", line, *words, e.text);
}

static void check_content(struct image *image)
{
	uint8_t *buf = malloc(SIZE);
	struct err e = ERR_INIT;

	if (image_open_disk(image, &e) < 0 || disk_read(image->disk, buf, SIZE, 0, &e) < 0)
		fail_msg("%s", e.text);
	assert_memory_equal(buf, content.data, SIZE);
	free(buf);
}

static void a_signed_image_opens(void **state)
{
	struct err e = ERR_INIT;
	struct image *image;

	publish("good", 3, &key);
	expect_open("good", key_text, 3);
	expect_open("good@3", key_text, 3);
	assert_int_equal(open_one(&image, "good", key_text, &e), 0);
	check_content(image);
	assert_int_equal(image_mtime(image), 1769860800);
	image_close(image);
}

static void a_wrong_key_is_refused(void **state)
{
	publish("good", 3, &key);
	expect_error("good", other_text, -EKEYREJECTED, "key", server.url);
}

static void a_changed_manifest_is_refused(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT(1 << 20);
	char path[128];
	char *at;

	publish("good", 3, &key);
	snprintf(path, sizeof(path), "%s/good/manifest", server.dir);
	assert_int_equal(file_load(AT_FDCWD, path, &text, NULL), 0);
	at = memmem(text.data, text.len, "ext4", 4);
	assert_non_null(at);
	at[3] = '3';
	assert_int_equal(file_save(AT_FDCWD, path, text.data, text.len, 0, NULL), 0);
	expect_error("good", key_text, -EKEYREJECTED, "signature");
}

static void an_image_under_another_name_is_refused(void **state)
{
	made_manifest(server.dir, "shown", "meant", 1, &content.tree, &key, true);
	expect_error("shown", key_text, -EBADMSG, "meant", "shown");
}

static void another_version_than_the_pinned_one_is_refused(void **state)
{
	char from[128], to[128];

	publish("good", 3, &key);
	snprintf(from, sizeof(from), "%s/good/manifest.3", server.dir);
	snprintf(to, sizeof(to), "%s/good/manifest.2", server.dir);
	assert_int_equal(rename(from, to), 0);
	expect_error("good@2", key_text, -EBADMSG, "version 3", "not 2");
	expect_error("good@7", key_text, -ENOENT, "good/manifest.7", "404");
}

static void an_older_version_is_refused_and_named(void **state)
{
	publish("good", 4, &key);
	publish("good", 5, &key);
	expect_open("good", key_text, 5);
	publish("good", 4, &key);
	expect_error("good", key_text, -ESTALE, "version 4", "version 5", "good@4");
	expect_open("good@4", key_text, 4);                   /* said so */
	expect_error("good", key_text, -ESTALE, "version 5"); /* which is not forgotten by that */
	publish("good", 6, &key);
	expect_open("good", key_text, 6);
}

static void a_remote_link_needs_a_key(void **state)
{
	struct image_options o = options();
	struct err e = ERR_INIT;
	struct image *image;

	publish("good", 3, &key);
	expect_open("good", NULL, 3); /* loopback */
	assert_int_equal(open_with(&image, "http://192.0.2.1", "good", NULL, &o, &e), -EACCES);
	assert_non_null(strstr(e.text, "--insecure"));
	assert_non_null(strstr(e.text, "key"));
	o.insecure = true; /* now the host is asked for, which does not exist */
	o.origin.timeout_ms = 300;
	assert_int_equal(open_with(&image, "http://192.0.2.1", "good", NULL, &o, &e), -ETIMEDOUT);
}

static void what_is_not_there_is_named(void **state)
{
	struct err e = ERR_INIT;
	struct image *image;

	expect_error("nothing", key_text, -ENOENT, "nothing/manifest", "404");
	assert_true(open_one(&image, "..", key_text, &e) < 0);
	/* without a key it could be a plain file: that shows when it is looked at */
	assert_int_equal(open_one(&image, "nothing", NULL, &e), 0);
	assert_int_equal(image_open_disk(image, &e), -ENOENT);
	if (!strstr(e.text, "neither an image nor a file") || !strstr(e.text, "/nothing: 404"))
		fail_msg("%s", e.text);
	image_close(image);
}

static void a_login_page_is_no_manifest(void **state)
{
	publish("good", 3, &key);
	server_rules(&server, "* login", NULL);
	expect_error("good", key_text, -EBADMSG, "good/manifest");
	server_rules(&server, NULL);
}

static void a_pinned_version_in_the_cache_needs_no_network(void **state)
{
	publish("good", 3, &key);
	expect_open("good@3", key_text, 3);
	server_rules(&server, NULL);
	expect_open("good@3", key_text, 3);
	assert_int_equal(server_requests(&server), 0);
}

/* Everything is in the cache, and the server does not answer, or rubbish. */
static void an_image_in_the_cache_starts_without_a_network(void **state)
{
	static const char *const faults[] = {"* stall", "* reset", "* status code=503", "* login"};
	struct pull_result result;
	struct err e = ERR_INIT;
	struct image *image;

	publish("good", 3, &key);
	assert_int_equal(open_one(&image, "good", key_text, &e), 0);
	assert_int_equal(pull_image(image, &(struct pull_options){.what = "pulling"}, &result, &e), 0);
	assert_int_equal(result.chunks, content.count);
	assert_int_equal(result.bad, 0);
	image_close(image);
	for (int i = 0; i < 4; i++) {
		server_rules(&server, faults[i], NULL);
		if (open_one(&image, "good", key_text, &e) < 0)
			fail_msg("%s: %s", faults[i], e.text);
		assert_true(image->verified);
		check_content(image);
		image_close(image);
	}
	/* a wrong signature is no missing network */
	server_rules(&server, NULL);
	publish("good", 3, &other_key);
	expect_error("good", key_text, -EKEYREJECTED, "another key");
	/* and the copy belongs to its key */
	server_rules(&server, "* status code=503", NULL);
	expect_error("good", other_text, -ETIMEDOUT, "503");
	server_rules(&server, NULL);
}

static void a_damaged_copy_of_the_manifest_is_ignored(void **state)
{
	char hex[HASH_HEX_MAX], path[256];
	struct public_key public;

	publish("good", 3, &key);
	expect_open("good@3", key_text, 3);
	key_public_of(&key, &public);
	hash_hex((const struct hash *)public.key, hex);
	snprintf(path, sizeof(path), "%s/inetboot/manifests/%.32s/good@3", home, hex);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(truncate(path, 100), 0);
	expect_open("good@3", key_text, 3);
	server_rules(&server, NULL);
	expect_open("good@3", key_text, 3); /* made good again */
	assert_int_equal(server_requests(&server), 0);
}

static void a_store_in_a_folder_opens(void **state)
{
	struct image_options o = options();
	struct err e = ERR_INIT;
	struct image *image;
	char base[96];

	publish("good", 3, &key);
	for (int i = 0; i < 2; i++) {
		snprintf(base, sizeof(base), "%s%s", i ? "file:" : "", server.dir);
		if (open_with(&image, base, "good", key_text, &o, &e) < 0)
			fail_msg("%s", e.text);
		assert_true(image->verified);
		check_content(image);
		image_close(image);
		assert_int_equal(open_with(&image, base, "good", NULL, &o, &e), 0);
		assert_false(image->verified);
		image_close(image);
		assert_int_equal(
			open_with(&image, base, "good", other_text, &o, &e), -EKEYREJECTED);
		assert_int_equal(open_with(&image, base, "nothing", key_text, &o, &e), -ENOENT);
		assert_non_null(strstr(e.text, "nothing"));
	}
}

static void a_plain_file_opens(void **state)
{
	struct image_options o = options();
	struct err e = ERR_INIT;
	struct image *image;
	uint8_t *data = server_file(&server, "plain.img", SIZE, 5), buf[1000];

	for (int i = 0; i < 2; i++) {
		if (open_with(&image, i ? server.url : server.dir, "plain.img", NULL, &o, &e) < 0)
			fail_msg("%s", e.text);
		assert_false(image->in_store);
		assert_int_equal(image_open_disk(image, &e), 0);
		assert_int_equal(disk_size(image->disk), SIZE);
		assert_int_equal(disk_read(image->disk, buf, sizeof(buf), 77777, &e), 0);
		assert_memory_equal(buf, data + 77777, sizeof(buf));
		image_close(image);
	}
	/* a server that does not say what is missing */
	server_rules(&server, "/plain.img/* status code=403", NULL);
	assert_int_equal(open_one(&image, "plain.img", NULL, &e), 0);
	assert_int_equal(image_open_disk(image, &e), 0);
	image_close(image);
	server_rules(&server, NULL);
	assert_int_equal(open_with(&image, server.dir, "plain.img", key_text, &o, &e), -EINVAL);
	assert_true(open_with(&image, server.url, "plain.img", key_text, &o, &e) < 0);
	free(data);
}

static void a_file_goes_out_whole(void **state)
{
	char path[128];
	_cleanup_buf_ struct buf text = BUF_INIT(1 << 20);
	struct err e = ERR_INIT;
	struct image *image;
	int fd;

	publish("good", 3, &key);
	assert_int_equal(open_one(&image, "good", key_text, &e), 0);
	snprintf(path, sizeof(path), "%s/out", home);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(image_extract(image, &content.tree, fd, "extracting", &e), 0);
	close(fd);
	assert_int_equal(file_load(AT_FDCWD, path, &text, NULL), 0);
	assert_int_equal(text.len, SIZE);
	assert_memory_equal(text.data, content.data, SIZE);
	image_close(image);
}

static void the_status_tells_about_the_image(void **state)
{
	struct err e = ERR_INIT;
	struct image *image;
	json_t *status;

	publish("good", 3, &key);
	assert_int_equal(open_one(&image, "good", key_text, &e), 0);
	check_content(image);
	status = image_status(image);
	assert_string_equal(json_string_value(json_object_get(status, "name")), "good");
	assert_int_equal(json_integer_value(json_object_get(status, "version")), 3);
	assert_true(json_is_true(json_object_get(status, "verified")));
	assert_int_equal(json_integer_value(json_object_get(status, "size")), SIZE);
	assert_int_equal(json_integer_value(json_object_get(status, "read_bytes")), SIZE);
	assert_true(json_is_object(json_object_get(status, "network")));
	assert_true(json_is_object(json_object_get(status, "cache")));
	json_decref(status);
	image_close(image);
}

/* ---- the memory of versions ---- */

static void the_highest_version_is_remembered(void **state)
{
	struct public_key a, b;

	key_public_of(&key, &a);
	key_public_of(&other_key, &b);
	assert_int_equal(versions_seen(&a, "x"), 0);
	versions_remember(&a, "x", 7, NULL);
	versions_remember(&a, "x", 5, NULL);
	versions_remember(&a, "y", UINT64_MAX, NULL);
	assert_int_equal(versions_seen(&a, "x"), 7);
	assert_int_equal(versions_seen(&a, "y"), UINT64_MAX);
	assert_int_equal(versions_seen(&b, "x"), 0);
	assert_int_equal(versions_seen(&a, "z"), 0);
}

static void damaged_memories_are_ignored(void **state)
{
	static const char *const bad[] = {"", "7", "x\n", "-1\n", "99999999999999999999999\n",
		"7\n7\n", "                                    7\n"};
	char hex[HASH_HEX_MAX], path[256];
	struct public_key a;

	key_public_of(&key, &a);
	versions_remember(&a, "x", 7, NULL);
	hash_hex((const struct hash *)a.key, hex);
	snprintf(path, sizeof(path), "%s/inetboot/versions/%.32s-x", home, hex);
	assert_int_equal(access(path, F_OK), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(file_save(AT_FDCWD, path, bad[i], strlen(bad[i]), 0, NULL), 0);
		assert_int_equal(versions_seen(&a, "x"), 0);
	}
	versions_remember(&a, "x", 2, NULL);
	assert_int_equal(versions_seen(&a, "x"), 2);
}

static void without_a_home_nothing_breaks(void **state)
{
	struct public_key a;

	key_public_of(&key, &a);
	setenv("XDG_STATE_HOME", "/proc/nowhere", 1);
	versions_remember(&a, "x", 7, NULL);
	assert_int_equal(versions_seen(&a, "x"), 0);
	publish("good", 3, &key);
	expect_open("good", key_text, 3);
	setenv("XDG_STATE_HOME", home, 1);
}

static int start(void **state)
{
	struct random random = random_start(41);
	struct public_key public;

	server_start(&server, NULL);
	folder_make(home);
	setenv("XDG_CACHE_HOME", home, 1);
	setenv("XDG_STATE_HOME", home, 1);
	made_image(&content, server.dir, &random, SIZE, 3000);
	assert_int_equal(key_generate(&key, &public, NULL), 0);
	public_key_encode(&public, key_text);
	assert_int_equal(key_generate(&other_key, &public, NULL), 0);
	public_key_encode(&public, other_text);
	return 0;
}

static int stop(void **state)
{
	server_stop(&server);
	folder_remove(home);
	made_image_free(&content);
	return 0;
}

static int before_each(void **state)
{
	wipe_home();
	server_rules(&server, NULL);
	return 0;
}

static bool is_one(const char *path, int flags, const struct image_options *o)
{
	_cleanup_close_ int fd = open(path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return unpacked_is_one(fd, o);
}

/* Whoever hands one to the kernel does not believe who says that it is one. */
static void only_a_file_among_the_unpacked_is_one(void **state)
{
	_cleanup_free_ char *cache = file_path("%s/cache", home), *by_link = file_path("%s/link", home);
	_cleanup_free_ char *folder = file_path("%s/disks", cache), *inside = file_path("%s/a", folder);
	_cleanup_free_ char *outside = file_path("%s/a", cache), *below = file_path("%s/below/a", folder);
	_cleanup_free_ char *below_folder = file_path("%s/below", folder);
	struct image_options o = options();
	int fd;

	o.cache_dir = cache;
	assert_int_equal(file_mkdirs(below_folder, NULL), 0);
	close(open(inside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	close(open(outside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	close(open(below, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_true(is_one(inside, O_RDONLY, &o));
	assert_false(is_one(inside, O_RDWR, &o));
	assert_false(is_one(inside, O_WRONLY, &o));
	assert_false(is_one(inside, O_PATH, &o));
	assert_false(is_one(outside, O_RDONLY, &o)); /* the same name */
	assert_false(is_one(below, O_RDONLY, &o));
	assert_false(is_one(folder, O_RDONLY, &o));
	assert_false(is_one(below_folder, O_RDONLY, &o)); /* in it, but no file */
	assert_false(is_one("/dev/null", O_RDONLY, &o));
	assert_false(unpacked_is_one(-1, &o));
	assert_int_equal(symlink(cache, by_link), 0);
	o.cache_dir = by_link;
	assert_true(is_one(inside, O_RDONLY, &o));
	assert_int_equal(chmod(inside, 0620), 0);
	assert_false(is_one(inside, O_RDONLY, &o));
	assert_int_equal(chmod(inside, 0600), 0);
	fd = open(inside, O_RDONLY | O_CLOEXEC);
	assert_true(unpacked_is_one(fd, &o));
	assert_int_equal(unlink(inside), 0);
	assert_false(unpacked_is_one(fd, &o));
	close(open(inside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_false(unpacked_is_one(fd, &o));
	close(fd);
}

#define test(f) cmocka_unit_test_setup(f, before_each)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_signed_image_opens),
		test(a_wrong_key_is_refused),
		test(a_changed_manifest_is_refused),
		test(an_image_under_another_name_is_refused),
		test(another_version_than_the_pinned_one_is_refused),
		test(an_older_version_is_refused_and_named),
		test(a_remote_link_needs_a_key),
		test(what_is_not_there_is_named),
		test(a_login_page_is_no_manifest),
		test(a_pinned_version_in_the_cache_needs_no_network),
		test(an_image_in_the_cache_starts_without_a_network),
		test(a_damaged_copy_of_the_manifest_is_ignored),
		test(a_store_in_a_folder_opens),
		test(a_plain_file_opens),
		test(a_file_goes_out_whole),
		test(the_status_tells_about_the_image),
		test(the_highest_version_is_remembered),
		test(damaged_memories_are_ignored),
		test(without_a_home_nothing_breaks),
		test(only_a_file_among_the_unpacked_is_one),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
