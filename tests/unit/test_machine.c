/* machine/: what a console tells, the words that a guest may have, overlays that may not be used. */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "machine/cmdline.h"
#include "machine/cow.h"
#include "machine/overlay.h"
#include "machine/watch.h"

static void tell(struct watch *w, const char *text)
{
	watch_output(w, text, strlen(text));
}

static void test_watch_marks_what_a_boot_says(void **state)
{
	struct watch w = {.until = "ready"};

	tell(&w, "Checking...\r\nLinux ver");
	assert_int_equal(w.kernel_ms, 0);
	tell(&w, "sion 6.1\r\ninetboot: starting /sbin/init\r\n");
	assert_int_not_equal(w.kernel_ms, 0);
	assert_int_not_equal(w.init_ms, 0);
	tell(&w, "inetboot: FAILED: not ours any more\n");
	assert_false(w.failed);
	tell(&w, "host login: ");
	assert_int_not_equal(w.login_ms, 0);
	assert_int_equal(w.until_ms, 0);
	tell(&w, "rea");
	tell(&w, "dy");
	assert_int_not_equal(w.until_ms, 0);
}

static void test_watch_keeps_the_reason(void **state)
{
	struct watch w = {0};

	tell(&w, "inetboot: FAILED: no disk\nreboot: Power down\n\n");
	assert_true(w.failed);
	assert_string_equal(w.reason, "inetboot: FAILED: no disk");
	assert_string_equal(w.last, "reboot: Power down");
}

/* A line without an end is looked at all along, wherever the text lies. */
static void test_watch_looks_at_long_lines(void **state)
{
	char until[WATCH_UNTIL_MAX];

	memset(until, 'u', sizeof(until) - 1);
	until[sizeof(until) - 1] = 0;
	for (size_t before = 0; before < 3 * WATCH_LINE; before++) {
		struct watch w = {.until = until};

		for (size_t i = 0; i < before; i++)
			tell(&w, i % 7 ? "x" : "\r");
		for (size_t i = 0; i < sizeof(until) - 1; i++) {
			assert_int_equal(w.until_ms, 0);
			tell(&w, "u");
		}
		assert_int_not_equal(w.until_ms, 0);
	}
}

static void test_cmdline_lets_through_what_is_known(void **state)
{
	_cleanup_buf_ struct buf kept = BUF_INIT(4096), refused = BUF_INIT(4096);

	assert_int_equal(cmdline_filter("quiet ubd1=/etc/passwd  lang=de hostname=\"a systemd.unit=x.target con1=fd:0 quietly", &kept, &refused), 0);
	assert_string_equal((char *)kept.data, "quiet lang=de systemd.unit=x.target");
	assert_string_equal((char *)refused.data, "ubd1=/etc/passwd hostname=\"a con1=fd:0 quietly");
}

static void test_cmdline_leaves_out_where_the_root_is(void **state)
{
	_cleanup_buf_ struct buf kept = BUF_INIT(4096);

	assert_int_equal(cmdline_without_root("root=UUID=1 ro  console=tty0 rootflags=x boot=live lang=de", &kept), 0);
	assert_string_equal((char *)kept.data, " ro rootflags=x lang=de");
}

static void test_overlay_of_qemu_is_bound(void **state)
{
	char dir[] = "/tmp/test_machine.XXXXXX";
	struct cow_binding image = {.name = "debian", .version = 3, .root.bytes = {1}, .link = "http://host/store/debian@3"}, other = image;
	struct err e = ERR_INIT;
	int lock;

	other.root.bytes[0] = 2;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(file_save(AT_FDCWD, "disk", "data", 4, 0, NULL), 0);
	assert_int_equal(file_save(AT_FDCWD, "larger", "data", 4, 0, NULL), 0);
	assert_int_equal(truncate("larger", 4096), 0);
	assert_int_equal(overlay_prepare("bound", "disk", &image, &e), 0);
	assert_int_equal(overlay_prepare("bound", "disk", &image, &e), 0);
	assert_int_equal(overlay_prepare("bound", "disk", &other, &e), -ESTALE);
	assert_non_null(strstr(e.text, "debian@3"));
	assert_int_equal(overlay_prepare("bound", "larger", &image, &e), -ESTALE);
	assert_int_equal(overlay_prepare("free", "disk", NULL, &e), 0);
	assert_int_equal(overlay_prepare("free", "disk", NULL, &e), 0);
	assert_int_equal(overlay_prepare("free", "larger", NULL, &e), -ESTALE);
	assert_int_equal(overlay_prepare("larger", "disk", NULL, &e), -EINVAL);
	assert_int_equal(overlay_prepare("no/folder", "disk", NULL, &e), -ENOENT);
	lock = overlay_temporary("disk", &e);
	assert_true(lock >= 0);
	close(lock);
	unlink("disk");
	unlink("larger");
	unlink("bound");
	unlink("free");
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void test_cow_refuses_what_is_no_overlay(void **state)
{
	char dir[] = "/tmp/test_machine.XXXXXX";
	struct err e = ERR_INIT;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(file_save(AT_FDCWD, "disk", "data", 4, 0, NULL), 0);
	assert_int_equal(cow_prepare("missing", "disk", NULL, &e), 0);
	assert_int_equal(cow_prepare("no/folder", "disk", NULL, &e), -ENOENT);
	assert_int_equal(file_save(AT_FDCWD, "empty", "", 0, 0, NULL), 0);
	assert_int_equal(cow_prepare("empty", "disk", NULL, &e), -EINVAL);
	assert_non_null(strstr(e.text, "remove it"));
	assert_int_equal(file_save(AT_FDCWD, "other", "something else than an overlay", 30, 0, NULL), 0);
	assert_int_equal(cow_prepare("other", "disk", NULL, &e), -EINVAL);
	assert_int_equal(cow_prepare(".", "disk", NULL, &e), -EINVAL);
	unlink("disk");
	unlink("empty");
	unlink("other");
	assert_int_equal(chdir("/"), 0);
	rmdir(dir);
}

/* A bound one goes with the root hash, whatever time the disk has; one without a binding with size and time. */
static void test_cow_is_bound_to_an_image(void **state)
{
	struct cow_binding image = {.name = "debian", .version = 3, .root.bytes = {1}, .link = "http://127.0.0.1/debian@3"}, other = image;
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	char dir[] = "/tmp/test_machine.XXXXXX";
	uint8_t start[COW_START];
	struct err e = ERR_INIT;
	struct cow_head head;
	struct stat st;
	int fd;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(file_save(AT_FDCWD, "disk", "data", 4, 0, NULL), 0);
	assert_int_equal(cow_prepare("no/folder", "disk", &image, &e), -ENOENT);
	assert_int_equal(cow_prepare("overlay", "disk", &image, &e), 0);
	assert_int_equal(stat("overlay", &st), 0);
	assert_int_equal(st.st_size, 3 * 4096 + 4);
	assert_int_equal(cow_prepare("overlay", "disk", &image, &e), 0);

	/* Made anew, the same disk has another time: the header follows. */
	assert_int_equal(utimensat(AT_FDCWD, "disk", times, 0), 0);
	other.version = 4;
	assert_int_equal(cow_prepare("overlay", "disk", &other, &e), 0);
	fd = open("overlay", O_RDONLY | O_CLOEXEC);
	assert_int_equal(file_pread(fd, start, sizeof(start), 0), 0);
	close(fd);
	assert_int_equal(cow_head_parse(&head, start, sizeof(start), NULL), 0);
	assert_int_equal(head.mtime, 1000);

	other.root.bytes[0] = 2;
	assert_int_equal(cow_prepare("overlay", "disk", &other, &e), -ESTALE);
	assert_non_null(strstr(e.text, "debian version 3, and this is debian version 4: boot 'http://127.0.0.1/debian@3'"));
	assert_int_equal(file_save(AT_FDCWD, "disk", "longer data", 11, 0, NULL), 0);
	assert_int_equal(cow_prepare("overlay", "disk", &image, &e), -ESTALE);

	/* Interrupted while it was made. */
	assert_int_equal(file_save(AT_FDCWD, "disk", "data", 4, 0, NULL), 0);
	assert_int_equal(truncate("overlay", COW_START), 0);
	assert_int_equal(cow_prepare("overlay", "disk", &image, &e), 0);
	assert_int_equal(stat("overlay", &st), 0);
	assert_int_equal(st.st_size, 3 * 4096 + 4);

	/* Without a binding, as User-Mode Linux makes them. */
	memset(start + COW_HEAD_LEN, 0, 4);
	assert_int_equal(utimensat(AT_FDCWD, "disk", times, 0), 0);
	assert_int_equal(file_save(AT_FDCWD, "overlay", start, sizeof(start), 0, NULL), 0);
	assert_int_equal(cow_prepare("overlay", "disk", &other, &e), 0);
	times[1].tv_sec++;
	assert_int_equal(utimensat(AT_FDCWD, "disk", times, 0), 0);
	assert_int_equal(cow_prepare("overlay", "disk", &other, &e), -ESTALE);
	unlink("disk");
	unlink("overlay");
	assert_int_equal(chdir("/"), 0);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watch_marks_what_a_boot_says),
		cmocka_unit_test(test_watch_keeps_the_reason),
		cmocka_unit_test(test_watch_looks_at_long_lines),
		cmocka_unit_test(test_cmdline_lets_through_what_is_known),
		cmocka_unit_test(test_cmdline_leaves_out_where_the_root_is),
		cmocka_unit_test(test_overlay_of_qemu_is_bound),
		cmocka_unit_test(test_cow_refuses_what_is_no_overlay),
		cmocka_unit_test(test_cow_is_bound_to_an_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
