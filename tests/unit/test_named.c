/* machine/named.h, machine/control.h: the folders of machines with names, and the socket of their console. */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "machine/control.h"
#include "machine/named.h"

static char home[] = "/tmp/test_named.XXXXXX";

/* In a process of its own, as locks are: what named_open() says. */
static int open_elsewhere(const char *name, bool make)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct named n;
		int r = named_open(&n, name, make, NULL);

		_exit(-r);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void test_a_machine_is_one_process_s(void **state)
{
	struct named_settings s = {.link = (char *)"/store/debian", .version = 7, .writes = WRITES_BLOCKS, .append = (char *)"a b", .memory = 1 << 28}, found;
	struct named n;
	pid_t pid;

	assert_int_equal(named_find("alice", &pid, NULL), -ENOENT);
	assert_int_equal(open_elsewhere("alice", false), -ENOENT);
	assert_int_equal(open_elsewhere("../alice", true), -EINVAL);
	assert_int_equal(named_open(&n, "alice", true, NULL), 0);
	assert_int_equal(named_load(n.dir, &found, NULL), -ENOENT);
	assert_int_equal(open_elsewhere("alice", true), -EBUSY);
	assert_int_equal(named_save(&n, &s, NULL), 0);
	assert_int_equal(named_load(n.dir, &found, NULL), 0);
	assert_string_equal(found.link, s.link);
	assert_string_equal(found.append, s.append);
	assert_null(found.network);
	assert_true(found.version == 7 && found.writes == WRITES_BLOCKS && found.memory == 1 << 28 && !found.trusted);
	named_settings_free(&found);
	named_close(&n);
	assert_int_equal(named_find("alice", &pid, NULL), 0);
	assert_int_equal(pid, 0);
	assert_int_equal(named_open(&n, "alice", false, NULL), 0);
	assert_int_equal(named_remove(&n, NULL), 0);
	assert_int_equal(named_find("alice", &pid, NULL), -ENOENT);
}

static void test_a_machine_without_settings_goes(void **state)
{
	struct named n;
	pid_t pid;

	assert_int_equal(named_open(&n, "bob", true, NULL), 0);
	named_close(&n);
	assert_int_equal(named_find("bob", &pid, NULL), -ENOENT);
}

static void test_settings_of_others_are_refused(void **state)
{
	static const char *const texts[] = {"", "{", "[]", "{\"link\": 1, \"writes\": \"files\"}", "{\"link\": \"/x\", \"writes\": \"all\"}"};
	struct named_settings s;
	struct named n;

	assert_int_equal(named_open(&n, "carol", true, NULL), 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		_cleanup_free_ char *path = file_path("%s/machine.json", n.dir);

		assert_int_equal(file_save(AT_FDCWD, path, texts[i], strlen(texts[i]), 0, NULL), 0);
		assert_int_equal(named_load(n.dir, &s, NULL), -EBADMSG);
		named_settings_free(&s);
	}
	assert_int_equal(named_remove(&n, NULL), 0);
}

/* What the loop of a machine does, once. */
static size_t work(struct control *c, char *typed, size_t room)
{
	struct pollfd fds[2];

	control_wants(c, fds, room);
	poll(fds, 2, 0);
	return control_work(c, fds, typed, room);
}

static void expect(int fd, const char *text)
{
	char got[CONTROL_LAST];
	size_t len = strlen(text);

	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), len);
	assert_memory_equal(got, text, len);
}

static void test_the_console_is_the_newcomer_s(void **state)
{
	char typed[16], all[3 * CONTROL_LAST];
	struct control c = CONTROL_INIT;
	int first, second;

	assert_int_equal(control_connect(home, NULL), -ENOENT);
	c.listener = control_listen(home, NULL);
	assert_true(c.listener >= 0);
	control_output(&c, "before", 6);
	first = control_connect(home, NULL);
	assert_true(first >= 0);
	work(&c, typed, sizeof(typed));
	expect(first, "before");
	control_output(&c, " now", 4);
	expect(first, " now");
	assert_int_equal(send(first, "typed", 5, 0), 5);
	assert_int_equal(work(&c, typed, 3), 3);
	assert_int_equal(work(&c, typed, sizeof(typed)), 2);
	assert_memory_equal(typed, "ed", 2);

	second = control_connect(home, NULL);
	work(&c, typed, sizeof(typed));
	expect(first, "");
	expect(second, "before now");
	close(first);
	close(second);
	work(&c, typed, 0); /* also where nothing that is typed can be taken */
	assert_int_equal(c.client, -1);

	memset(all, 'x', sizeof(all));
	all[sizeof(all) - 1] = 'y';
	control_output(&c, all, sizeof(all));
	first = control_connect(home, NULL);
	work(&c, typed, sizeof(typed));
	assert_int_equal(recv(first, all, sizeof(all), MSG_DONTWAIT), CONTROL_LAST);
	assert_int_equal(all[CONTROL_LAST - 1], 'y');
	close(first);
	close(c.listener);
	control_close(&c);
	assert_int_equal(control_connect(home, NULL), -ECONNREFUSED);
}

/* Who takes nothing is let go once his time is over, and then the guest's output goes on. */
static void test_a_console_that_takes_nothing_is_let_go(void **state)
{
	static char piece[CONTROL_PIECE];
	char typed[16];
	struct control c = CONTROL_INIT;
	int fd;

	c.listener = control_listen(home, NULL);
	fd = control_connect(home, NULL);
	work(&c, typed, sizeof(typed));
	assert_true(c.client >= 0);
	for (int i = 0; i < 10000 && control_taken(&c); i++)
		control_output(&c, piece, sizeof(piece));
	assert_false(control_taken(&c));
	assert_in_range(control_patience(&c), 1, CONTROL_PATIENCE_MS);
	work(&c, typed, sizeof(typed));
	assert_false(control_taken(&c));
	c.since_ms -= CONTROL_PATIENCE_MS;
	assert_int_equal(control_patience(&c), 0);
	work(&c, typed, sizeof(typed));
	assert_true(control_taken(&c));
	assert_int_equal(c.client, -1);
	close(fd);
	close(c.listener);
	control_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_machine_is_one_process_s),
		cmocka_unit_test(test_a_machine_without_settings_goes),
		cmocka_unit_test(test_settings_of_others_are_refused),
		cmocka_unit_test(test_the_console_is_the_newcomer_s),
		cmocka_unit_test(test_a_console_that_takes_nothing_is_let_go),
	};
	_cleanup_free_ char *control = NULL, *inetboot = NULL, *machines = NULL;
	int failed;

	if (!mkdtemp(home))
		return 1;
	setenv("XDG_STATE_HOME", home, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	control = file_path("%s/control", home);
	inetboot = file_path("%s/inetboot", home);
	machines = file_path("%s/machines", inetboot);
	unlink(control);
	rmdir(machines);
	rmdir(inetboot);
	rmdir(home);
	return failed;
}
