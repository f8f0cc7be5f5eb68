/* Manifests: writing and reading agree, and JSON of every wrong kind is refused by a sentence that
 * names the key. */
#include "random.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "format/manifest.h"

#define HEX "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
#define TREE "{\"root\": \"" HEX "\", \"depth\": 1, \"size\": 5}"
#define HEAD                                                                                       \
	"\"format\": 1, \"name\": \"debian\", \"version\": 3, \"created\": "                       \
	"\"2026-01-31T12:00:00Z\""
#define IMAGE "\"size\": 1000, \"index\": {\"root\": \"" HEX "\", \"depth\": 2, \"chunks\": 7}"
#define WITH(more) "{" HEAD ", " IMAGE ", " more "}"

static int parse(struct manifest *m, const char *text, struct err *e)
{
	return manifest_parse(m, text, strlen(text), e);
}

static void test_smallest(void **state)
{
	struct manifest m;
	struct err e = ERR_INIT;

	if (parse(&m, "{" HEAD ", " IMAGE "}", &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(m.name, "debian");
	assert_int_equal(m.version, 3);
	assert_string_equal(m.created, "2026-01-31T12:00:00Z");
	assert_string_equal(m.expires, "");
	assert_int_equal(m.image.size, 1000);
	assert_int_equal(m.image.depth, 2);
	assert_int_equal(m.image.root.bytes[0], 0x58);
	assert_int_equal(m.chunks, 7);
	assert_int_equal(m.chunk_min, 0);
	assert_int_equal(m.stored, 0);
	assert_string_equal(m.filesystem, "");
	assert_int_equal(m.boot_count, 0);
	assert_int_equal(m.mirror_count, 0);
	assert_int_equal(m.parent_version, 0);
	manifest_free(&m);
}

static void test_everything(void **state)
{
	static const char text[] =
		WITH("\"expires\": \"2027-01-31T12:00:00Z\", \"chunker\": {\"min\": 16384, "
		     "\"avg\": 65536, \"max\": 262144},"
		     "\"stored\": 500, \"filesystem\": \"ext4\", \"boot\": [{\"title\": \"Debian "
		     "\xc3\xbc\", \"type\": \"uml\","
		     "\"kernel\": " TREE ", \"initrd\": " TREE ", \"modules\": [" TREE ", " TREE
		     "], \"cmdline\": \"quiet\"},"
		     "{\"title\": \"b\", \"type\": \"linux\"}], \"mirrors\": [\"http://a/b\", "
		     "\"https://c:8/\"],"
		     "\"parent\": {\"version\": 2, \"root\": \"" HEX
		     "\"}, \"profile\": {\"pack\": \"" HEX "\", \"size\": 9000, \"pages\": 3}, \"unknown\": [1, {}]");
	struct err e = ERR_INIT;
	struct manifest m;

	if (parse(&m, text, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(m.expires, "2027-01-31T12:00:00Z");
	assert_int_equal(m.chunk_min, 16384);
	assert_int_equal(m.chunk_avg, 65536);
	assert_int_equal(m.chunk_max, 262144);
	assert_int_equal(m.stored, 500);
	assert_string_equal(m.filesystem, "ext4");
	assert_int_equal(m.boot_count, 2);
	assert_string_equal(m.boot[0].title, "Debian \xc3\xbc");
	assert_string_equal(m.boot[0].type, "uml");
	assert_string_equal(m.boot[0].cmdline, "quiet");
	assert_int_equal(m.boot[0].kernel.size, 5);
	assert_int_equal(m.boot[0].initrd.depth, 1);
	assert_int_equal(m.boot[0].module_count, 2);
	assert_int_equal(m.boot[0].modules[1].size, 5);
	assert_int_equal(m.boot[1].kernel.size, 0);
	assert_null(m.boot[1].cmdline);
	assert_int_equal(m.mirror_count, 2);
	assert_string_equal(m.mirrors[1], "https://c:8/");
	assert_int_equal(m.parent_version, 2);
	assert_int_equal(m.parent_root.bytes[31], 0x03);
	manifest_free(&m);
}

struct refusal {
	const char *text, *why;
};

static void expect_refusals(const struct refusal *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct err e = ERR_INIT;
		struct manifest m;

		if (parse(&m, cases[i].text, &e) != -EINVAL)
			fail_msg("accepted: %s", cases[i].text);
		if (!strstr(e.text, cases[i].why))
			fail_msg("%s: %s", cases[i].text, e.text);
		assert_int_equal(m.boot_count, 0);
		assert_null(m.boot);
		assert_null(m.mirrors);
		assert_int_equal(parse(&m, cases[i].text, NULL), -EINVAL);
	}
}

#define expect_all(cases) expect_refusals(cases, sizeof(cases) / sizeof((cases)[0]))

static void test_too_many_values(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	struct err e = ERR_INIT;
	struct manifest m;

	buf_printf(&text, "{" HEAD ", " IMAGE ", \"more\": [[]");
	for (int i = 0; i < 40000; i++)
		buf_printf(&text, ",[]");
	buf_printf(&text, "]}");
	assert_int_equal(manifest_parse(&m, (char *)text.data, text.len, &e), -EINVAL);
	assert_non_null(strstr(e.text, "values"));
}

static void test_not_json(void **state)
{
	static const struct refusal cases[] = {
		{"", "not JSON"},
		{"[]", "not a JSON object"},
		{"{", "not JSON"},
		{"null", "not JSON"},
		{"\"{}\"", "not JSON"},
		{"{} {}", "not JSON"},
		{"{" HEAD ", " IMAGE "} x", "not JSON"},
		{"{" HEAD ", " IMAGE ",}", "not JSON"},
		{"{" HEAD ", " IMAGE ", \"format\": 1}", "duplicate"},
		{WITH("\"a\": 1, \"a\": 2"), "duplicate"},
		{WITH("\"a\": \"\xff\""), "not JSON"},
		{WITH("\"a\": \"\xc0\x80\""), "not JSON"},
		{WITH("\"a\": \"\xed\xa0\x80\""), "not JSON"},
		{WITH("\"a\": \"\\ud800\""), "not JSON"},
		{WITH("\"a\": \"\\u0000\""), "not JSON"},
		{WITH("\"a\": \"\n\""), "not JSON"},
		{WITH("\"a\": NaN"), "not JSON"},
		{WITH("\"a\": Infinity"), "not JSON"},
		{WITH("\"a\": -"), "not JSON"},
		{WITH("\"a\": 01"), "not JSON"},
		{WITH("\"a\": 0x1"), "not JSON"},
		{WITH("\"a\": 1e999"), "not JSON"},
		{WITH("\"a\": 9223372036854775808"), "not JSON"},
		{WITH("\"a\": -9223372036854775809"), "not JSON"},
	};

	expect_all(cases);
}

static void test_embedded_nul(void **state)
{
	char text[] = WITH("\"filesystem\": \"ext4q\"");
	struct manifest m;

	assert_int_equal(manifest_parse(&m, text, sizeof(text) - 1, NULL), 0);
	manifest_free(&m);
	assert_int_equal(
		manifest_parse(&m, text, sizeof(text), NULL), -EINVAL); /* the NUL behind the end */
	*strchr(text, 'q') = 0;
	assert_int_equal(manifest_parse(&m, text, sizeof(text) - 1, NULL), -EINVAL);
}

static void test_deep_nesting(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(4 << 20);
	struct err e = ERR_INIT;
	struct manifest m;

	buf_printf(&b, "{" HEAD ", " IMAGE ", \"a\": ");
	for (int i = 0; i < 500000; i++)
		buf_append(&b, "[", 1);
	assert_int_equal(manifest_parse(&m, (char *)b.data, b.len, &e), -EINVAL);
	for (int i = 0; i < 500000; i++)
		buf_append(&b, "]", 1);
	buf_append(&b, "}", 1);
	assert_int_equal(manifest_parse(&m, (char *)b.data, b.len, &e), -EINVAL);
}

static void test_too_long(void **state)
{
	_cleanup_free_ char *text = malloc(MANIFEST_MAX + 2);
	struct err e = ERR_INIT;
	struct manifest m;
	size_t len;

	strcpy(text, "{" HEAD ", " IMAGE "}");
	len = strlen(text);
	memset(text + len, ' ', MANIFEST_MAX + 1 - len);
	assert_int_equal(manifest_parse(&m, text, MANIFEST_MAX, &e), 0);
	manifest_free(&m);
	assert_int_equal(manifest_parse(&m, text, MANIFEST_MAX + 1, &e), -EINVAL);
	assert_non_null(strstr(e.text, "more than"));
}

#define NO_FORMAT                                                                                  \
	", \"name\": \"d\", \"version\": 1, \"created\": \"2026-01-31T12:00:00Z\", " IMAGE "}"

static void test_formats(void **state)
{
	static const char *const others[] = {"0", "2", "-1", "9223372036854775807"};
	static const struct refusal cases[] = {
		{"{\"format\": \"1\"" NO_FORMAT, "\"format\" is not an integer"},
		{"{\"format\": 1.0" NO_FORMAT, "\"format\" is not an integer"},
		{"{\"format\": true" NO_FORMAT, "\"format\" is not an integer"},
		{"{\"format\": null" NO_FORMAT, "\"format\" is not an integer"},
		{"{\"a\": 1" NO_FORMAT, "\"format\" is missing"},
		{"{}", "\"format\" is missing"},
	};

	expect_all(cases);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct err e = ERR_INIT;
		struct manifest m;
		char text[64];

		/* what else is in it may be anything */
		snprintf(text, sizeof(text), "{\"format\": %s, \"size\": []}", others[i]);
		assert_int_equal(parse(&m, text, &e), -EPROTONOSUPPORT);
		assert_non_null(strstr(e.text, others[i]));
		assert_non_null(strstr(e.text, "reads format 1"));
	}
}

static void test_head(void **state)
{
#define TIME "\"created\": \"2026-01-31T12:00:00Z\""
#define NAMED(name, version, created) "{\"format\": 1, " name version created IMAGE "}"
	static const struct refusal cases[] = {
		{NAMED("", "\"version\": 1, ", TIME ", "), "\"name\" is missing"},
		{NAMED("\"name\": 1, ", "\"version\": 1, ", TIME ", "), "\"name\" is not a string"},
		{NAMED("\"name\": \"\", ", "\"version\": 1, ", TIME ", "), "\"name\" is empty"},
		{NAMED("\"name\": \"../x\", ", "\"version\": 1, ", TIME ", "),
			"\"name\" is no valid image name"},
		{NAMED("\"name\": \"blocks\", ", "\"version\": 1, ", TIME ", "),
			"\"name\" is no valid image name"},
		{NAMED("\"name\": "
		       "\"n23456789012345678901234567890123456789012345678901234567890123456\", ",
			 "\"version\": 1, ", TIME ", "),
			"\"name\" is empty, longer"},
		{NAMED("\"name\": \"d\", ", "", TIME ", "), "\"version\" is missing"},
		{NAMED("\"name\": \"d\", ", "\"version\": 0, ", TIME ", "), "\"version\" is 0"},
		{NAMED("\"name\": \"d\", ", "\"version\": -1, ", TIME ", "), "\"version\" is -1"},
		{NAMED("\"name\": \"d\", ", "\"version\": -9223372036854775808, ", TIME ", "),
			"\"version\" is -9"},
		{NAMED("\"name\": \"d\", ", "\"version\": 1.5, ", TIME ", "),
			"\"version\" is not an integer"},
		{NAMED("\"name\": \"d\", ", "\"version\": 1e3, ", TIME ", "),
			"\"version\" is not an integer"},
		{NAMED("\"name\": \"d\", ", "\"version\": \"1\", ", TIME ", "),
			"\"version\" is not an integer"},
		{NAMED("\"name\": \"d\", ", "\"version\": [1], ", TIME ", "),
			"\"version\" is not an integer"},
		{NAMED("\"name\": \"d\", ", "\"version\": 1, ", ""), "\"created\" is missing"},
		{NAMED("\"name\": \"d\", ", "\"version\": 1, ", "\"created\": 0, "),
			"\"created\" is not a string"},
		{NAMED("\"name\": \"d\", ", "\"version\": 1, ", "\"created\": \"today\", "),
			"\"created\" is no time"},
		{WITH("\"expires\": \"2027-01-31\""), "\"expires\" is no time"},
		{WITH("\"expires\": null"), "\"expires\" is not a string"},
		{WITH("\"stored\": -1"), "\"stored\" is -1"},
		{WITH("\"stored\": 9223372036854775807"), "\"stored\" is 9"},
		{WITH("\"filesystem\": \"\""), "\"filesystem\" is empty"},
		{WITH("\"filesystem\": \"e x\""), "\"filesystem\" is not a word"},
		{WITH("\"filesystem\": \"e\\u001b\""), "control characters"},
		{WITH("\"filesystem\": \"a23456789012345678901234567890123\""),
			"\"filesystem\" is empty, longer"},
		{WITH("\"filesystem\": 4"), "\"filesystem\" is not a string"},
	};

	expect_all(cases);
}

static void test_index(void **state)
{
#define SIZED(size, index) "{" HEAD ", \"size\": " size ", \"index\": " index "}"
#define INDEX(root, depth, chunks)                                                                 \
	"{\"root\": \"" root "\", \"depth\": " depth ", \"chunks\": " chunks "}"
	static const struct refusal cases[] = {
		{"{" HEAD "}", "\"size\" is missing"},
		{SIZED("0", INDEX(HEX, "1", "1")), "\"size\" is 0"},
		{SIZED("-5", INDEX(HEX, "1", "1")), "\"size\" is -5"},
		{SIZED("1125899906842625", INDEX(HEX, "1", "1")), "\"size\" is 1125899906842625"},
		{SIZED("{}", INDEX(HEX, "1", "1")), "\"size\" is not an integer"},
		{"{" HEAD ", \"size\": 5}", "\"index\" is missing"},
		{SIZED("5", "[]"), "\"index\" is not an object"},
		{SIZED("5", "{}"), "\"root\" is missing"},
		{SIZED("5", INDEX("", "1", "1")), "\"root\" is empty"},
		{SIZED("5", INDEX("58", "1", "1")), "\"root\" is no SHA-256"},
		{SIZED("5", INDEX(HEX "00", "1", "1")), "\"root\" is empty, longer"},
		{SIZED("5",
			 INDEX("5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03",
				 "1", "1")),
			"\"root\" is no SHA-256"},
		{SIZED("5",
			 INDEX("0000000000000000000000000000000000000000000000000000000000000000",
				 "1", "1")),
			"\"root\" is no SHA-256"},
		{SIZED("5", "{\"root\": 5, \"depth\": 1, \"chunks\": 1}"),
			"\"root\" is not a string"},
		{SIZED("5", INDEX(HEX, "0", "1")), "\"depth\" is 0"},
		{SIZED("5", INDEX(HEX, "9", "1")), "\"depth\" is 9"},
		{SIZED("5", INDEX(HEX, "4294967297", "1")), "\"depth\" is 4294967297"},
		{SIZED("5", INDEX(HEX, "1", "0")), "\"chunks\" is 0"},
		{SIZED("5", INDEX(HEX, "1", "6")), "\"chunks\" is 6"},
		{WITH("\"chunker\": 5"), "\"chunker\" is not an object"},
		{WITH("\"chunker\": {}"), "\"min\" is missing"},
		{WITH("\"chunker\": {\"min\": 0, \"avg\": 1, \"max\": 1}"), "\"min\" is 0"},
		{WITH("\"chunker\": {\"min\": 3, \"avg\": 2, \"max\": 4}"), "\"avg\" is 2"},
		{WITH("\"chunker\": {\"min\": 3, \"avg\": 4, \"max\": 3}"), "\"max\" is 3"},
		{WITH("\"chunker\": {\"min\": 3, \"avg\": 4, \"max\": 4194305}"),
			"\"max\" is 4194305"},
		{WITH("\"parent\": 1"), "\"parent\" is not an object"},
		{WITH("\"parent\": {\"version\": 0, \"root\": \"" HEX "\"}"), "\"version\" is 0"},
		{WITH("\"parent\": {\"version\": 1}"), "\"root\" is missing"},
	};
	struct manifest m;

	expect_all(cases);
	assert_int_equal(
		parse(&m, SIZED("1125899906842624", INDEX(HEX, "8", "1125899906842624")), NULL), 0);
	manifest_free(&m);
}

static void test_boot(void **state)
{
#define BOOT(entry) WITH("\"boot\": [{\"title\": \"t\", \"type\": \"uml\"}, {" entry "}]")
#define NAMES "\"title\": \"t\", \"type\": \"uml\""
	static const struct refusal cases[] = {
		{WITH("\"boot\": {}"), "\"boot\" is not an array"},
		{WITH("\"boot\": [1]"), "\"boot\"[0]: not an object"},
		{WITH("\"boot\": [[]]"), "\"boot\"[0]: not an object"},
		{BOOT(""), "\"boot\"[1]: \"title\" is missing"},
		{BOOT("\"title\": \"t\""), "\"type\" is missing"},
		{BOOT("\"title\": 1, \"type\": \"uml\""), "\"title\" is not a string"},
		{BOOT("\"title\": \"a\\nb\", \"type\": \"uml\""), "control characters"},
		{BOOT("\"title\": \"a\\u007f\", \"type\": \"uml\""), "control characters"},
		{BOOT("\"title\": \"a\\u009bb\", \"type\": \"uml\""), "control characters"},
		{BOOT("\"title\": \"t\", \"type\": \"U M L\""), "\"type\" is not a word"},
		{BOOT("\"title\": \"t\", \"type\": \"\""), "\"type\" is empty"},
		{BOOT(NAMES ", \"cmdline\": [\"a\"]"), "\"cmdline\" is not a string"},
		{BOOT(NAMES ", \"cmdline\": \"a\\nb\""), "control characters"},
		{BOOT(NAMES ", \"kernel\": \"" HEX "\""), "\"kernel\": not an object"},
		{BOOT(NAMES ", \"kernel\": null"), "\"kernel\": not an object"},
		{BOOT(NAMES ", \"kernel\": {}"), "\"kernel\": \"root\" is missing"},
		{BOOT(NAMES ", \"initrd\": {\"root\": \"" HEX "\", \"depth\": 1, \"size\": 0}"),
			"\"initrd\": \"size\" is 0"},
		{BOOT(NAMES ", \"initrd\": {\"root\": \"" HEX "\", \"depth\": 99, \"size\": 1}"),
			"\"initrd\": \"depth\" is 99"},
		{BOOT(NAMES ", \"modules\": " TREE), "\"modules\" is not an array"},
		{BOOT(NAMES ", \"modules\": [" TREE ", 7]"),
			"\"boot\"[1]: \"modules\"[1]: not an object"},
		{WITH("\"mirrors\": \"http://a\""), "\"mirrors\" is not an array"},
		{WITH("\"mirrors\": [\"http://a\", 5]"), "\"mirrors\"[1] is no http"},
		{WITH("\"mirrors\": [\"ftp://a\"]"), "\"mirrors\"[0] is no http"},
		{WITH("\"mirrors\": [\"file:///etc\"]"), "\"mirrors\"[0] is no http"},
		{WITH("\"mirrors\": [\"http://\"]"), "\"mirrors\"[0] is no http"},
		{WITH("\"mirrors\": [\"http:///x\"]"), "\"mirrors\"[0] is no http"},
		{WITH("\"mirrors\": [\"http://u:p@a/\"]"), "\"mirrors\"[0] is no http"},
		{WITH("\"mirrors\": [\"http://a/ b\"]"), "\"mirrors\"[0] is no http"},
		{WITH("\"mirrors\": [\"http://a/\\n\"]"), "\"mirrors\"[0] is no http"},
		{WITH("\"mirrors\": [\"http://a/#k\"]"), "\"mirrors\"[0] is no http"},
	};

	expect_all(cases);
}

/* Writes `count` times `item` as the array `key`. */
static int parse_array(
	const char *start, const char *item, size_t count, const char *end, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(1 << 20);
	struct manifest m;
	int r;

	buf_printf(&b, "{" HEAD ", " IMAGE ", %s", start);
	for (size_t i = 0; i < count; i++)
		buf_printf(&b, "%s%s", i ? "," : "", item);
	buf_printf(&b, "%s}", end);
	r = manifest_parse(&m, (char *)b.data, b.len, e);
	manifest_free(&m);
	return r;
}

#define KEY_TEXT "RWQREhMUFRYXGPxRzY5iGKGjjaR+0AIw8FgIFu0TujMDrF3rkRVIkIAl"

static void test_last_words(void **state)
{
	static const struct refusal cases[] = {
		{WITH("\"next_key\": 7"), "\"next_key\" is not a string"},
		{WITH("\"next_key\": \"\""), "\"next_key\" is empty"},
		{WITH("\"next_key\": \"RWQ\""), "\"next_key\": a public key has 56"},
		{WITH("\"next_key\": \"" KEY_TEXT "A\""), "\"next_key\" is empty, longer"},
		{WITH("\"next_key\": \"XXXREhMUFRYXGPxRzY5iGKGjjaR+0AIw8FgIFu0TujMDrF3rkRVIkIAl\""), "not a signify public key"},
		{WITH("\"revoked\": 1"), "\"revoked\" is neither"},
		{WITH("\"revoked\": \"true\""), "\"revoked\" is neither"},
		{WITH("\"revoked\": true, \"next_key\": \"" KEY_TEXT "\""), "exclude each other"},
		{WITH("\"revoked\": true, \"reason\": 1"), "\"reason\" is not a string"},
		{WITH("\"revoked\": true, \"reason\": \"a\\u001b\""), "\"reason\" is empty"},
	};
	char text[PUBLIC_KEY_TEXT_MAX];
	struct manifest m;

	expect_all(cases);
	assert_int_equal(parse(&m, WITH("\"next_key\": \"" KEY_TEXT "\", \"revoked\": false"), NULL), 0);
	assert_true(m.has_next_key && !m.revoked);
	public_key_encode(&m.next_key, text);
	assert_string_equal(text, KEY_TEXT);
	manifest_free(&m);
	assert_int_equal(parse(&m, WITH("\"revoked\": true"), NULL), 0);
	assert_true(m.revoked && !m.has_next_key);
	assert_string_equal(m.reason, "");
	manifest_free(&m);
	assert_int_equal(parse(&m, WITH("\"reason\": \"lost\", \"revoked\": true"), NULL), 0);
	assert_string_equal(m.reason, "lost");
	manifest_free(&m);
	assert_int_equal(parse(&m, WITH("\"reason\": 7"), NULL), 0); /* of nothing: an unknown key */
	assert_string_equal(m.reason, "");
	manifest_free(&m);
}

static void test_counts(void **state)
{
	static const char entry[] = "{\"title\": \"t\", \"type\": \"uml\"}";
	static const char modules[] =
		"\"boot\": [{\"title\": \"t\", \"type\": \"uml\", \"modules\": [";
	char text[MANIFEST_TEXT_MAX + 100];
	struct err e = ERR_INIT;

	assert_int_equal(parse_array("\"boot\": [", entry, MANIFEST_BOOT_MAX, "]", &e), 0);
	assert_int_equal(
		parse_array("\"boot\": [", entry, MANIFEST_BOOT_MAX + 1, "]", &e), -EINVAL);
	assert_non_null(strstr(e.text, "has 33 entries"));
	assert_int_equal(
		parse_array("\"mirrors\": [", "\"http://a\"", MANIFEST_MIRRORS_MAX, "]", &e), 0);
	assert_int_equal(
		parse_array("\"mirrors\": [", "\"http://a\"", MANIFEST_MIRRORS_MAX + 1, "]", &e),
		-EINVAL);
	assert_int_equal(parse_array(modules, TREE, MANIFEST_MODULES_MAX, "]}]", &e), 0);
	assert_int_equal(parse_array(modules, TREE, MANIFEST_MODULES_MAX + 1, "]}]", &e), -EINVAL);

	memset(text, 't', sizeof(text));
	memcpy(text, "{\"type\": \"uml\", \"title\": \"", 26);
	strcpy(text + 26 + MANIFEST_TEXT_MAX, "\"}");
	assert_int_equal(parse_array("\"boot\": [", text, 1, "]", &e), 0);
	text[26 + MANIFEST_TEXT_MAX] = 't';
	strcpy(text + 26 + MANIFEST_TEXT_MAX + 1, "\"}");
	assert_int_equal(parse_array("\"boot\": [", text, 1, "]", &e), -EINVAL);
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} cases[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2026-01-31T12:00:00Z", 1769860800},
		{"2024-02-29T23:59:59Z", 1709251199},
		{"2038-01-19T03:14:08Z", 2147483648},
		{"9999-12-31T23:59:59Z", 253402300799},
		{"1969-12-31T23:59:59Z", -1},
		{"0000-01-01T00:00:00Z", -1},
		{"2023-02-29T00:00:00Z", -1},
		{"2026-00-01T00:00:00Z", -1},
		{"2026-13-01T00:00:00Z", -1},
		{"2026-01-00T00:00:00Z", -1},
		{"2026-01-32T00:00:00Z", -1},
		{"2026-01-01T24:00:00Z", -1},
		{"2026-01-01T00:60:00Z", -1},
		{"2026-01-01T00:00:60Z", -1},
		{"2026-01-01t00:00:00Z", -1},
		{"2026-01-01T00:00:00z", -1},
		{"2026-01-01 00:00:00Z", -1},
		{"2026-01-01T00:00:00+00:00", -1},
		{"2026-01-01T00:00:00.5Z", -1},
		{"2026-01-01T00:00:00Z ", -1},
		{"+026-01-01T00:00:00Z", -1},
		{"2026-01-01T00:00:0", -1},
		{"", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (manifest_time(cases[i].text) != cases[i].seconds)
			fail_msg(
				"%s: %lld", cases[i].text, (long long)manifest_time(cases[i].text));
}

static char *random_text(struct random *r)
{
	static const char *const letters[] = {
		"a", "Z", " ", "\"", "\\", "/", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\xa7"};
	char *text = calloc(1, 200);
	size_t len = 1 + random_below(r, 40);

	for (size_t i = 0; i < len; i++)
		strcat(text, letters[random_below(r, sizeof(letters) / sizeof(letters[0]))]);
	return text;
}

static struct tree random_tree(struct random *r)
{
	struct tree t = {.depth = 1 + random_below(r, MANIFEST_DEPTH_MAX),
		.size = 1 + random_below(r, MANIFEST_SIZE_MAX)};

	random_fill(r, &t.root, sizeof(t.root));
	return t;
}

static void random_boot_entry(struct random *r, struct boot_entry *b)
{
	static const char *const types[] = {"uml", "linux", "xen"};

	b->title = random_text(r);
	b->type = strdup(types[random_below(r, 3)]);
	if (random_below(r, 2))
		b->cmdline = random_text(r);
	if (random_below(r, 2))
		b->kernel = random_tree(r);
	if (random_below(r, 2))
		b->initrd = random_tree(r);
	b->module_count = random_below(r, 4);
	if (b->module_count)
		b->modules = calloc(b->module_count, sizeof(*b->modules));
	for (size_t i = 0; i < b->module_count; i++)
		b->modules[i] = random_tree(r);
}

static struct manifest random_manifest(struct random *r)
{
	struct manifest m = {.version = 1 + random_below(r, INT64_MAX), .image = random_tree(r)};

	snprintf(m.name, sizeof(m.name), "n%llu", (unsigned long long)random_u64(r));
	snprintf(m.created, sizeof(m.created), "20%02d-%02d-%02dT%02d:%02d:%02dZ",
		(int)random_below(r, 100), (int)random_below(r, 12) + 1,
		(int)random_below(r, 28) + 1, (int)random_below(r, 24), (int)random_below(r, 60),
		(int)random_below(r, 60));
	if (random_below(r, 2))
		strcpy(m.expires, m.created);
	m.chunks = 1 + random_below(r, m.image.size);
	if (random_below(r, 2)) {
		m.chunk_min = 1 + random_below(r, 1000);
		m.chunk_avg = m.chunk_min + random_below(r, 1000);
		m.chunk_max = m.chunk_avg + random_below(r, 1000);
	}
	m.stored = random_below(r, m.image.size);
	strcpy(m.filesystem, random_below(r, 2) ? "squashfs" : "");
	m.boot_count = random_below(r, 5);
	if (m.boot_count)
		m.boot = calloc(m.boot_count, sizeof(*m.boot));
	for (size_t i = 0; i < m.boot_count; i++)
		random_boot_entry(r, &m.boot[i]);
	m.mirror_count = random_below(r, 4);
	if (m.mirror_count)
		m.mirrors = calloc(m.mirror_count, sizeof(*m.mirrors));
	for (size_t i = 0; i < m.mirror_count; i++)
		m.mirrors[i] = strdup(i % 2 ? "http://a.example/b%20c/" : "https://[::1]:8/x");
	if (random_below(r, 2)) {
		m.parent_version = 1 + random_below(r, INT64_MAX);
		random_fill(r, &m.parent_root, sizeof(m.parent_root));
	}
	m.has_next_key = random_below(r, 2);
	if (m.has_next_key)
		random_fill(r, &m.next_key, sizeof(m.next_key));
	m.revoked = !m.has_next_key && random_below(r, 2);
	if (m.revoked && random_below(r, 2))
		strcpy(m.reason, "the key was stolen");
	return m;
}

static void assert_tree_equal(const struct tree *a, const struct tree *b)
{
	assert_true(a->size == b->size);
	if (!a->size)
		return;
	assert_int_equal(a->depth, b->depth);
	assert_true(hash_equal(&a->root, &b->root));
}

static void assert_boot_equal(const struct boot_entry *a, const struct boot_entry *b)
{
	assert_string_equal(a->title, b->title);
	assert_string_equal(a->type, b->type);
	assert_int_equal(!a->cmdline, !b->cmdline);
	assert_string_equal(a->cmdline ? a->cmdline : "", b->cmdline ? b->cmdline : "");
	assert_tree_equal(&a->kernel, &b->kernel);
	assert_tree_equal(&a->initrd, &b->initrd);
	assert_int_equal(a->module_count, b->module_count);
	for (size_t i = 0; i < a->module_count; i++)
		assert_tree_equal(&a->modules[i], &b->modules[i]);
}

static void assert_manifest_equal(const struct manifest *a, const struct manifest *b)
{
	assert_string_equal(a->name, b->name);
	assert_true(a->version == b->version);
	assert_string_equal(a->created, b->created);
	assert_string_equal(a->expires, b->expires);
	assert_tree_equal(&a->image, &b->image);
	assert_true(a->chunks == b->chunks);
	assert_int_equal(a->chunk_min, b->chunk_min);
	assert_int_equal(a->chunk_avg, b->chunk_avg);
	assert_int_equal(a->chunk_max, b->chunk_max);
	assert_true(a->stored == b->stored);
	assert_string_equal(a->filesystem, b->filesystem);
	assert_int_equal(a->boot_count, b->boot_count);
	for (size_t i = 0; i < a->boot_count; i++)
		assert_boot_equal(&a->boot[i], &b->boot[i]);
	assert_int_equal(a->mirror_count, b->mirror_count);
	for (size_t i = 0; i < a->mirror_count; i++)
		assert_string_equal(a->mirrors[i], b->mirrors[i]);
	assert_true(a->parent_version == b->parent_version);
	assert_true(hash_equal(&a->parent_root, &b->parent_root));
	assert_int_equal(a->has_next_key, b->has_next_key);
	assert_true(public_key_equal(&a->next_key, &b->next_key));
	assert_int_equal(a->revoked, b->revoked);
	assert_string_equal(a->reason, b->reason);
}

static void test_round_trip(void **state)
{
	struct random r = random_start(11);

	for (int i = 0; i < 500; i++) {
		_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX),
					 again = BUF_INIT(MANIFEST_MAX);
		struct manifest m = random_manifest(&r), back;
		struct err e = ERR_INIT;

		if (manifest_encode(&m, &text, &e) < 0)
			fail_msg("%s", e.text);
		assert_int_equal(manifest_parse(&back, (char *)text.data, text.len, &e), 0);
		assert_manifest_equal(&m, &back);
		assert_int_equal(manifest_encode(&back, &again, &e), 0);
		assert_int_equal(again.len, text.len);
		assert_memory_equal(again.data, text.data, text.len);
		manifest_free(&m);
		manifest_free(&back);
	}
}

/* What a reader would refuse is not written. */
static void test_encode_refuses(void **state)
{
	struct random r = random_start(12);
	_cleanup_buf_ struct buf out = BUF_INIT(MANIFEST_MAX), small = BUF_INIT(50);
	struct manifest m = random_manifest(&r);
	uint64_t version = m.version;
	struct err e = ERR_INIT;

	assert_int_equal(manifest_encode(&m, &small, &e), -EFBIG);
	m.version = 0;
	assert_int_equal(manifest_encode(&m, &out, &e), -EINVAL);
	m.version = UINT64_MAX;
	assert_int_equal(manifest_encode(&m, &out, &e), -EINVAL);
	m.version = version;
	strcpy(m.filesystem, "\xff");
	assert_int_equal(manifest_encode(&m, &out, &e), -EINVAL);
	strcpy(m.filesystem, "ext4");
	strcpy(m.name, "a/b");
	assert_int_equal(manifest_encode(&m, &out, &e), -EINVAL);
	assert_int_equal(out.len, 0);
	manifest_free(&m);
}

/* The example of docs/format.md, to the byte. */
static void test_vector(void **state)
{
	static const char root[] =
		"b8647a0695c3a91d54a9f6bfab4e5191042b11b7a1a612c3f29e3bd2909c2845";
	static const char expected[] =
		"{\n"
		"  \"format\": 1,\n"
		"  \"name\": \"hello\",\n"
		"  \"version\": 1,\n"
		"  \"created\": \"2026-01-31T12:00:00Z\",\n"
		"  \"size\": 1048582,\n"
		"  \"index\": {\n"
		"    \"root\": "
		"\"b8647a0695c3a91d54a9f6bfab4e5191042b11b7a1a612c3f29e3bd2909c2845\",\n"
		"    \"depth\": 1,\n"
		"    \"chunks\": 2\n"
		"  }\n"
		"}\n";
	struct manifest m = {
		.name = "hello", .version = 1, .created = "2026-01-31T12:00:00Z", .chunks = 2};
	_cleanup_buf_ struct buf out = BUF_INIT(MANIFEST_MAX);

	m.image.size = 1048582;
	m.image.depth = 1;
	assert_int_equal(hex_decode(m.image.root.bytes, HASH_LEN, root, 64), 0);
	assert_int_equal(manifest_encode(&m, &out, NULL), 0);
	assert_string_equal((char *)out.data, expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smallest),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_too_many_values),
		cmocka_unit_test(test_embedded_nul),
		cmocka_unit_test(test_deep_nesting),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_index),
		cmocka_unit_test(test_boot),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_encode_refuses),
		cmocka_unit_test(test_vector),
	};

	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
