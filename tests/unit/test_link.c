/* Links: what is right, what is refused, and that formatting and parsing agree. */
#include "random.h"

#include <errno.h>

#include "base/cleanup.h"
#include "format/link.h"

#define KEY "RWQBAgMEBQYHCAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

struct good {
	const char *text, *store, *name, *file;
	uint64_t version;
	bool remote, loopback, has_key;
};

static void test_good_links(void **state)
{
	static const struct good cases[] = {
		{"http://host/debian", "http://host", "debian", "http://host/debian", 0, true,
			false, false},
		{"https://host:8443/a/b/debian@12", "https://host:8443/a/b", "debian",
			"https://host:8443/a/b/debian", 12, true, false, false},
		{"HTTP://Host/debian#" KEY, "http://Host", "debian", "http://Host/debian", 0, true,
			false, true},
		{"http://host/a%20b/debian@3#" KEY, "http://host/a%20b", "debian",
			"http://host/a%20b/debian", 3, true, false, true},
		{"http://host/debian/", "http://host", "debian", "http://host/debian", 0, true,
			false, false},
		{"http://host//debian", "http://host", "debian", "http://host//debian", 0, true,
			false, false},
		{"http://localhost:80/x", "http://localhost:80", "x", "http://localhost:80/x", 0,
			true, true, false},
		{"http://LOCALHOST/x", "http://LOCALHOST", "x", "http://LOCALHOST/x", 0, true, true,
			false},
		{"http://127.0.0.1:1/x", "http://127.0.0.1:1", "x", "http://127.0.0.1:1/x", 0, true,
			true, false},
		{"http://127.1.2.3/x", "http://127.1.2.3", "x", "http://127.1.2.3/x", 0, true, true,
			false},
		{"http://[::1]:8080/x", "http://[::1]:8080", "x", "http://[::1]:8080/x", 0, true,
			true, false},
		{"http://[2001:db8::1]/x", "http://[2001:db8::1]", "x", "http://[2001:db8::1]/x", 0,
			true, false, false},
		/* names that only look like this machine */
		{"http://127.0.0.1.example.org/x", "http://127.0.0.1.example.org", "x",
			"http://127.0.0.1.example.org/x", 0, true, false, false},
		{"http://localhost.example.org/x", "http://localhost.example.org", "x",
			"http://localhost.example.org/x", 0, true, false, false},
		{"http://128.0.0.1/x", "http://128.0.0.1", "x", "http://128.0.0.1/x", 0, true,
			false, false},
		{"http://127.1/x", "http://127.1", "x", "http://127.1/x", 0, true, false, false},
		/* files on a server */
		{"http://host/d/disk.img", "http://host/d", "disk.img", "http://host/d/disk.img", 0,
			true, false, false},
		{"http://host/a~b", "http://host", "", "http://host/a~b", 0, true, false, false},
		{"http://host/d/disk.img?t=a/b@2", "http://host/d", "",
			"http://host/d/disk.img?t=a/b@2", 0, true, false, false},
		{"http://host/x@y", "http://host", "", "http://host/x@y", 0, true, false, false},
		{"http://host/x@0", "http://host", "", "http://host/x@0", 0, true, false, false},
		{"http://host/x@", "http://host", "", "http://host/x@", 0, true, false, false},
		{"http://host/@3", "http://host", "", "http://host/@3", 0, true, false, false},
		{"http://host/x@1@2", "http://host", "", "http://host/x@1@2", 0, true, false,
			false},
		{"http://host/x@99999999999999999999", "http://host", "",
			"http://host/x@99999999999999999999", 0, true, false, false},
		{"http://host/x@18446744073709551615", "http://host", "x", "http://host/x",
			UINT64_MAX, true, false, false},
		{"http://host/blocks", "http://host", "", "http://host/blocks", 0, true, false,
			false},
		/* this machine's files */
		{"file:/store/debian", "/store", "debian", "/store/debian", 0, false, false, false},
		{"file:///store/debian@2", "/store", "debian", "/store/debian", 2, false, false,
			false},
		{"FILE://localhost/store/debian", "/store", "debian", "/store/debian", 0, false,
			false, false},
		{"/store/debian#" KEY, "/store", "debian", "/store/debian", 0, false, false, true},
		{"/debian", "/", "debian", "/debian", 0, false, false, false},
		{"./debian", ".", "debian", "./debian", 0, false, false, false},
		{"../debian", "..", "debian", "../debian", 0, false, false, false},
		{"debian", ".", "debian", "debian", 0, false, false, false},
		{"a/debian/", "a", "debian", "a/debian", 0, false, false, false},
		{"/my disks/disk one.img", "/my disks", "", "/my disks/disk one.img", 0, false,
			false, false},
		{"/a/what?.img", "/a", "", "/a/what?.img", 0, false, false, false},
		{"..", ".", "", "..", 0, false, false, false},
		{"a:b", ".", "", "a:b", 0, false, false, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct good *c = &cases[i];
		struct err e = ERR_INIT;
		struct link l;

		if (link_parse(&l, c->text, &e) < 0)
			fail_msg("%s: %s", c->text, e.text);
		assert_string_equal(l.store, c->store);
		assert_string_equal(l.name, c->name);
		assert_string_equal(l.file, c->file);
		assert_true(l.version == c->version);
		assert_int_equal(l.remote, c->remote);
		assert_int_equal(l.loopback, c->loopback);
		assert_int_equal(l.has_key, c->has_key);
		link_free(&l);
	}
}

static void test_bad_links(void **state)
{
	static const char *const cases[][2] = {
		{"", "empty"},
		{"http://", "no host"},
		{"http:///x", "no host"},
		{"http://:80/x", "no host"},
		{"http://host", "no image"},
		{"http://host/", "no image"},
		{"http://host//", "no image"},
		{"http://host?x", "no image"},
		{"http://host/d/?x", "no image"},
		{"/", "no image"},
		{"ftp://host/x", "ftp://"},
		{"javascript://x/y", "not supported"},
		{"http://user:secret@host/x", ".netrc"},
		{"http://localhost@evil.example/x", ".netrc"},
		{"http://host:/x", "port"},
		{"http://host:0/x", "port"},
		{"http://host:65536/x", "port"},
		{"http://host:999999999999/x", "port"},
		{"http://host:80a/x", "port"},
		{"http://host:80:80/x", "port"},
		{"http://[::1/x", "IPv6"},
		{"http://[]/x", "IPv6"},
		{"http://[nonsense]/x", "IPv6"},
		{"http://[::1]80/x", "followed by"},
		{"http://ho st/x", "space"},
		{"http://host/a b", "space"},
		{"http://ho\\st/x", "host has a"},
		{"http://ho%73t/x", "host has a"},
		{"http://host/x\n", "control"},
		{"http://host/x\x7f", "control"},
		{"/store/x\x1b[m", "control"},
		{"http://host/x#", "publisher's key"},
		{"http://host/x#abc", "publisher's key"},
		{"http://host/x#" KEY "A", "publisher's key"},
		{"http://host/x#" KEY "#" KEY, "publisher's key"},
		{"http://host/x#SWQBAgMEBQYHCAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f", "RWQ"},
		{"file:debian", "from the root"},
		{"file://host/debian", "from the root"},
		{"file:", "from the root"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err e = ERR_INIT;
		struct link l;

		assert_int_equal(link_parse(&l, cases[i][0], &e), -EINVAL);
		if (!strstr(e.text, cases[i][1]))
			fail_msg("%s: %s", cases[i][0], e.text);
		assert_null(l.store);
		assert_null(l.file);
		assert_int_equal(link_parse(&l, cases[i][0], NULL), -EINVAL);
	}
}

static void test_length_is_bounded(void **state)
{
	_cleanup_free_ char *text = malloc(LINK_LEN_MAX + 2);
	struct err e = ERR_INIT;
	struct link l;

	memset(text, 'x', LINK_LEN_MAX + 1);
	text[0] = '/';
	text[LINK_LEN_MAX + 1] = 0;
	assert_int_equal(link_parse(&l, text, &e), -EINVAL);
	assert_non_null(strstr(e.text, "longer"));
	text[LINK_LEN_MAX] = 0;
	assert_int_equal(link_parse(&l, text, &e), 0);
	assert_string_equal(l.name, "");
	link_free(&l);
}

static void test_names(void **state)
{
	static const char *const good[] = {"a", "Z", "0", "debian-12.1_x", "a..b", "index.htm"};
	static const char *const bad[] = {"", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a@b",
		"a#b", "a%b", "\xc3\xa4", "blocks", "packs", "index.html", "catalog.json"};
	char name[LINK_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(link_name_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(link_name_valid(bad[i]));
	memset(name, 'n', sizeof(name));
	name[LINK_NAME_MAX] = 0;
	assert_true(link_name_valid(name));
	name[LINK_NAME_MAX] = 'n';
	name[LINK_NAME_MAX + 1] = 0;
	assert_false(link_name_valid(name));
}

static void test_format_parse_round_trip(void **state)
{
	static const char *const stores[] = {
		"http://host:80/a", "https://[::1]", "/", ".", "/a/b", "a"};
	static const uint64_t versions[] = {0, 1, 42, INT64_MAX, UINT64_MAX};
	struct random r = random_start(5);

	for (size_t i = 0; i < 6 * 5 * 2; i++) {
		struct public_key key;
		_cleanup_free_ char *text = NULL;
		struct link l;

		random_fill(&r, &key, sizeof(key));
		text = link_format(
			stores[i % 6], "debian", versions[i / 6 % 5], i >= 30 ? &key : NULL);
		assert_int_equal(link_parse(&l, text, NULL), 0);
		assert_string_equal(l.store, stores[i % 6]);
		assert_string_equal(l.name, "debian");
		assert_true(l.version == versions[i / 6 % 5]);
		assert_int_equal(l.has_key, i >= 30);
		assert_true(i < 30 || public_key_equal(&l.key, &key));
		link_free(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_links),
		cmocka_unit_test(test_bad_links),
		cmocka_unit_test(test_length_is_bounded),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_format_parse_round_trip),
	};

	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
