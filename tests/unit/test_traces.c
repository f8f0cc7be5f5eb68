/* Traces: each malformed line is named, a cut one is passed over; merged ones have every page once,
 * in the order that the header promises. */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "disk/trace.h"
#include "publish/traces.h"
#include "server.h"

#define ROOT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEAD "inetboot-trace 1\nimage debian 7 " ROOT " 40960\n" /* ten pages */

static int parse(struct trace_file *t, const char *text, struct err *e)
{
	size_t len = strlen(text);
	_cleanup_free_ char *exact = malloc(len ? len : 1); /* so that a read behind it is seen */

	memcpy(exact, text, len);
	return trace_parse(t, exact, len, e);
}

static void right_ones(void **state)
{
	struct trace_file t;

	assert_int_equal(
		parse(&t, HEAD "0 3 2\n5 0 1\n18446744073709551615 9 1\n7 3 1\n", NULL), 0);
	assert_string_equal(t.name, "debian");
	assert_int_equal(t.version, 7);
	assert_int_equal(t.size, 40960);
	assert_int_equal(t.root.bytes[0], 0x01);
	assert_int_equal(t.root.bytes[31], 0xef);
	assert_true(t.count >= 4);
	assert_int_equal(t.pages[0], 3);
	assert_int_equal(t.pages[1], 4);
	assert_int_equal(t.pages[2], 0);
	assert_int_equal(t.pages[3], 9);
	trace_file_free(&t);
	assert_int_equal(parse(&t, HEAD, NULL), 0);
	assert_int_equal(t.count, 0);
	trace_file_free(&t);
	/* Its writer died. */
	assert_int_equal(parse(&t, HEAD "1 0 1\n2 5 4", NULL), 0);
	assert_int_equal(t.count, 1);
	trace_file_free(&t);
	assert_int_equal(
		parse(&t, "inetboot-trace 1\nimage debian 7 " ROOT " 1\n0 0 1\n", NULL), 0);
	assert_int_equal(t.count, 1);
	trace_file_free(&t);
}

/* Refused, with a sentence that has `why` in it. */
static void refused(const char *text, int code, const char *why)
{
	struct trace_file t;
	struct err e = ERR_INIT;
	int r = parse(&t, text, &e);

	if (r != code || !strstr(e.text, why))
		fail_msg("%d '%s' of '%.300s'", r, e.text, text);
	assert_null(t.pages);
	assert_int_equal(t.count, 0);
}

static void wrong_lines(void **state)
{
	static const char *const lines[] = {"", "0 0", "0 0 ", "0 0 1 ", "0 0 1 1", "0 0 1x",
		"x 0 1", "0 x 1", "0 0 x", "0 0 0", "0 10 1", "0 9 2", "0 0 11", "-1 0 1", "0 -1 1",
		"0 0 -1", "0 -10 1", "0 18446744073709551615 1", "0 0 18446744073709551615",
		"0 99999999999999999999999 1", "0 0 99999999999999999999999",
		"0 18446744073709551616 1", "0 0 18446744073709551617", "0 0x1 1", "0,0,1",
		"0 0 1\r", "inetboot-trace 1", "image debian 7 " ROOT " 40960"};
	char text[2000], line[600];

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		snprintf(text, sizeof(text), "%s1 2 3\n%s\n4 5 1\n", HEAD, lines[i]);
		refused(text, -EINVAL, "line 4");
	}
	memset(line, '0', sizeof(line)); /* too long to be one */
	line[599] = 0;
	snprintf(text, sizeof(text), "%s%s 0 1\n", HEAD, line);
	refused(text, -EINVAL, "line 3");
}

static void wrong_heads(void **state)
{
	static const char *const seconds[] = {"", "image", "image debian", "image debian 7",
		"image debian 7 " ROOT, "image debian x " ROOT " 40960",
		"image debian -7 " ROOT " 40960", "image debian 7 " ROOT "0 40960",
		"image debian 7 0123 40960", "image debian 7 " ROOT " 0",
		"image debian 7 " ROOT " -1", "image debian 7 " ROOT " x",
		"image debian 7 " ROOT " 99999999999999999999999999999",
		"image debian 7 " ROOT " 18446744073709551615", "image ../debian 7 " ROOT " 40960",
		"image /etc 7 " ROOT " 40960", "image debian 7 " ROOT " 40960 more",
		"disk debian 7 " ROOT " 40960",
		"image "
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaa 7 " ROOT " 40960",
		"image debian 7 zz23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef "
		"40960"};
	char text[2000];
	struct trace_file t;
	const char zero[] = HEAD "0 0 1\0\n";

	refused("", -EINVAL, "not a trace");
	refused("inetboot-trace 1", -EINVAL, "not a trace");
	refused("inetboot-trace 2\n", -EINVAL, "not a trace");
	refused("inetboot-trace 1 \n", -EINVAL, "not a trace");
	refused("\n" HEAD, -EINVAL, "not a trace");
	refused("inetboot-trace 1\n", -EINVAL, "line 2");
	refused("inetboot-trace 1\nimage debian 7 " ROOT " 40960", -EINVAL, "line 2");
	for (size_t i = 0; i < sizeof(seconds) / sizeof(*seconds); i++) {
		snprintf(text, sizeof(text), "inetboot-trace 1\n%s\n0 0 1\n", seconds[i]);
		refused(text, -EINVAL, "line 2");
	}
	assert_int_equal(trace_parse(&t, zero, sizeof(zero) - 1, NULL), -EINVAL);
}

/* More than a pack may hold, however it is said. */
static void too_much(void **state)
{
	static const char head[] = "inetboot-trace 1\nimage debian 7 " ROOT " 1125899906842624\n";
	char text[2000];

	snprintf(text, sizeof(text), "%s0 0 274877906944\n", head);
	refused(text, -EFBIG, "MB");
	snprintf(text, sizeof(text), "%s0 0 %u\n1 600000 1\n", head, TRACE_PAGES_MAX);
	refused(text, -EFBIG, "MB");
}

/* ---- merging ---- */

/* Traces by text: "3 4 0/3 9" are two. */
struct made {
	struct trace_file traces[8];
	size_t count;
};

static void make(struct made *m, const char *text)
{
	char *end;

	*m = (struct made){.count = 1};
	for (m->traces[0].pages = calloc(64, sizeof(uint64_t)); *text; text = end) {
		struct trace_file *t = &m->traces[m->count - 1];

		if (*text == '/') {
			m->traces[m->count++].pages = calloc(64, sizeof(uint64_t));
			end = (char *)text + 1;
			continue;
		}
		t->pages[t->count++] = strtoull(text, &end, 10);
		end += *end == ' ';
	}
}

/* Merged, the pages come in that order: "3 4 0 9". Extents are as long as they can be, and places
 * follow each other. */
static void check_merge(const char *traces, size_t least, const char *wanted)
{
	struct pack_extent *extents = NULL;
	uint32_t count = 0, place = 0;
	char text[1000] = "";
	struct made m;
	struct err e = ERR_INIT;
	int r;

	make(&m, traces);
	r = traces_merge(m.traces, m.count, least, &extents, &count, &e);
	if (r < 0)
		snprintf(text, sizeof(text), "%d", r);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(extents[i].place, place);
		assert_true(extents[i].pages > 0);
		assert_true(!i || extents[i].page != extents[i - 1].page + extents[i - 1].pages);
		for (uint32_t k = 0; k < extents[i].pages; k++, place++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%llu",
				*text ? " " : "", (unsigned long long)(extents[i].page + k));
	}
	if (strcmp(text, wanted) != 0)
		fail_msg("'%s' with at least %zu give '%s', not '%s' (%s)", traces, least, text,
			wanted, e.text);
	free(extents);
	for (size_t i = 0; i < m.count; i++)
		free(m.traces[i].pages);
}

static void merges(void **state)
{
	char none[16];

	snprintf(none, sizeof(none), "%d", -ENODATA);
	check_merge("5 3 4 0", 1, "5 3 4 0");
	check_merge("5 3 4 0", 0, "5 3 4 0");
	check_merge("5 3 5 3 0", 1, "5 3 0");
	check_merge("5 3 4 0/5 3 4 0", 1, "5 3 4 0");
	check_merge(
		"5 3/0 4 3 5", 1, "0 4 5 3"); /* in front of all where nothing stands before it */
	check_merge("1 2 3/1 7 8 2 9", 1, "1 7 8 2 9 3");
	check_merge("1 2 3/9", 1, "9 1 2 3");
	check_merge("1/2/3/4", 1, "4 3 2 1");
	check_merge("1 2/1 2 3/1 2 4", 1, "1 2 4 3");
	check_merge("1 2 3 4/2 4 5/4 5 1", 2, "1 2 4 5");
	check_merge("1 2 3 4/2 4 5/4 5 1", 3, "4");
	check_merge("1 2 3 4/2 4 5/4 5 1", 4, none);
	check_merge("1 1 1/2", 2, none); /* one trace that has it three times */
	check_merge("6 1 7/1 6 7", 2, "6 1 7");
	check_merge("8 9 6/6 7 8", 1, "8 9 6 7");
	check_merge("", 1, none);
	check_merge("/3", 1, "3");
}

/* Against the same thing said slowly. */
static void merges_like_a_model(void **state)
{
	struct random r = random_start(1);

	for (unsigned n = 0; n < 3000; n++) {
		unsigned traces = 1 + (unsigned)random_below(&r, 5), list[40], listed = 0,
			 in[40] = {0};
		size_t least = random_below(&r, traces + 2);
		unsigned of[8][40], count[8];
		char text[2000] = "", wanted[1000] = "";

		for (unsigned t = 0; t < traces; t++) {
			bool seen[40] = {0};

			if (t)
				strcat(text, "/");
			count[t] = (unsigned)random_below(&r, 20);
			for (unsigned k = 0; k < count[t]; k++) {
				of[t][k] = (unsigned)random_below(&r, 40);
				in[of[t][k]] += !seen[of[t][k]];
				seen[of[t][k]] = true;
				snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u ",
					of[t][k]);
			}
		}
		for (unsigned t = 0; t < traces; t++) {
			unsigned at = 0; /* behind the page before */

			for (unsigned k = 0, i; k < count[t]; k++) {
				if (in[of[t][k]] < least)
					continue;
				for (i = 0; i < listed && list[i] != of[t][k]; i++)
					;
				if (i == listed) {
					i = at;
					memmove(list + i + 1, list + i,
						(listed++ - i) * sizeof(*list));
					list[i] = of[t][k];
				}
				at = i + 1;
			}
		}
		for (unsigned i = 0; i < listed; i++)
			snprintf(wanted + strlen(wanted), sizeof(wanted) - strlen(wanted), "%s%u",
				i ? " " : "", list[i]);
		if (!listed)
			snprintf(wanted, sizeof(wanted), "%d", -ENODATA);
		check_merge(text, least, wanted);
	}
}

static void merges_too_much(void **state)
{
	struct trace_file t[2] = {0};
	struct pack_extent *extents = NULL;
	uint32_t count;
	struct err e = ERR_INIT;

	/* in too many places */
	t[0].count = PACK_EXTENTS_MAX + 1;
	t[0].pages = calloc(TRACE_PAGES_MAX, sizeof(uint64_t));
	t[1].pages = calloc(TRACE_PAGES_MAX, sizeof(uint64_t));
	for (size_t i = 0; i < t[0].count; i++)
		t[0].pages[i] = 2 * i;
	assert_int_equal(traces_merge(t, 1, 1, &extents, &count, &e), -EFBIG);
	assert_non_null(strstr(e.text, "places"));
	t[0].count--;
	assert_int_equal(traces_merge(t, 1, 1, &extents, &count, NULL), 0);
	assert_int_equal(count, PACK_EXTENTS_MAX);
	free(extents);
	/* too many pages, of which no trace has too many */
	t[0].count = t[1].count = TRACE_PAGES_MAX / 2 + 1;
	for (size_t i = 0; i < t[0].count; i++) {
		t[0].pages[i] = i;
		t[1].pages[i] = TRACE_PAGES_MAX + i;
	}
	assert_int_equal(traces_merge(t, 2, 1, &extents, &count, &e), -EFBIG);
	assert_non_null(strstr(e.text, "MB"));
	t[0].count = t[1].count = TRACE_PAGES_MAX / 2;
	assert_int_equal(traces_merge(t, 2, 1, &extents, &count, NULL), 0);
	assert_int_equal(count, 2);
	free(extents);
	free(t[0].pages);
	free(t[1].pages);
}

/* ---- written and read ---- */

static void load(const char *path, struct trace_file *t)
{
	_cleanup_buf_ struct buf text = BUF_INIT(TRACE_FILE_MAX);
	struct err e = ERR_INIT;

	assert_int_equal(file_load(AT_FDCWD, path, &text, NULL), 0);
	if (trace_parse(t, (const char *)text.data, text.len, &e) < 0)
		fail_msg("%s: %s", e.text, text.data);
}

static void append(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_int_equal(file_write(fd, text, strlen(text)), 0);
}

static void written(void **state)
{
	struct manifest m = {.name = "debian", .version = 3, .image.size = 100 * TRACE_PAGE + 1};
	char dir[64], path[128];
	struct trace_file file;
	struct trace *t;

	memset(m.image.root.bytes, 0x5a, HASH_LEN);
	folder_make(dir);
	snprintf(path, sizeof(path), "%s/trace", dir);
	assert_int_equal(trace_open(&t, path, false, NULL), 0);
	assert_int_equal(trace_begin(t, &m, NULL), 0);
	trace_read(t, 10 * TRACE_PAGE + 1, 2 * TRACE_PAGE); /* 10 11 12 */
	trace_read(t, 12 * TRACE_PAGE, TRACE_PAGE + 1);     /* 13 */
	trace_read(t, 9 * TRACE_PAGE, 7 * TRACE_PAGE);      /* 9 14 15 */
	trace_read(t, 100 * TRACE_PAGE, 1);                 /* 100 */
	trace_read(t, 100 * TRACE_PAGE, 5 * TRACE_PAGE);
	trace_close(t);
	load(path, &file);
	assert_string_equal(file.name, "debian");
	assert_int_equal(file.version, 3);
	assert_int_equal(file.size, m.image.size);
	assert_memory_equal(file.root.bytes, m.image.root.bytes, HASH_LEN);
	assert_int_equal(file.count, 8);
	assert_memory_equal(
		file.pages, ((uint64_t[]){10, 11, 12, 13, 9, 14, 15, 100}), 8 * sizeof(uint64_t));
	trace_file_free(&file);
	/* Its writer died in the middle of a line, and another one goes on. */
	append(path, "12 4");
	assert_int_equal(trace_open(&t, path, true, NULL), 0);
	assert_int_equal(trace_begin(t, &m, NULL), 0);
	trace_read(t, 50 * TRACE_PAGE, 1);
	trace_close(t);
	load(path, &file);
	assert_int_equal(file.count, 9);
	assert_int_equal(file.pages[8], 50);
	trace_file_free(&file);
	/* Afresh. */
	assert_int_equal(trace_open(&t, path, false, NULL), 0);
	assert_int_equal(trace_begin(t, &m, NULL), 0);
	trace_close(t);
	load(path, &file);
	assert_int_equal(file.count, 0);
	trace_file_free(&file);
	folder_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_ones),
		cmocka_unit_test(wrong_lines),
		cmocka_unit_test(wrong_heads),
		cmocka_unit_test(too_much),
		cmocka_unit_test(merges),
		cmocka_unit_test(merges_like_a_model),
		cmocka_unit_test(merges_too_much),
		cmocka_unit_test(written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
