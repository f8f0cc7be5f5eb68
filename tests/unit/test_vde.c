/* Ports of switches that are not ours, and the bridge to them: with vde_switch and uml_switch where they are installed, and with ones
 * that answer what they like. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "machine/bridge.h"
#include "network/vde.h"

#define LIMIT_MS 60000
#define FLOOD 1500 /* bytes of a flood's frames: no other is as long. A switch may hold some back and deliver them late */

struct place {
	char dir[64], socket[80], guest[80];
};

static int make_place(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/vde.XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->socket, sizeof(p->socket), "%s/switch", p->dir);
	snprintf(p->guest, sizeof(p->guest), "%s/guest", p->dir);
	*state = p;
	return 0;
}

static int remove_place(void **state)
{
	struct place *p = *state;
	char command[100];

	snprintf(command, sizeof(command), "rm -r %s", p->dir);
	assert_int_equal(system(command), 0);
	free(p);
	return 0;
}

/* A switch in the foreground, which ends with us. 0: it is not installed. */
static pid_t start_switch(const struct place *p, bool vde)
{
	const char *program = vde ? "vde_switch" : "uml_switch", *option = vde ? "-s" : "-unix";
	int input[2];
	pid_t pid;
	struct vde_port port = VDE_PORT_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(pipe2(input, O_CLOEXEC), 0); /* they end with their input: that stays open as long as we live */
	pid = fork();
	if (!pid) {
		dup2(input[0], STDIN_FILENO);
		dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
		execlp(program, program, option, p->socket, (char *)NULL);
		_exit(127);
	}
	close(input[0]);
	while (vde_open(&port, p->socket, &e) < 0) {
		vde_close(&port);
		if (waitpid(pid, NULL, WNOHANG) == pid) {
			close(input[1]);
			return 0;
		}
		poll(NULL, 0, 10);
	}
	vde_close(&port);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A broadcast with a mark in it: what comes out at `to` must be the same, but for what is left of a flood. */
static void pass(int from, int to, uint8_t mark, size_t len)
{
	uint8_t frame[2000] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, mark, 0x88, 0xb5}, got[2000];
	struct pollfd wait = {.fd = to, .events = POLLIN};
	ssize_t n;

	frame[20] = mark;
	assert_int_equal(send(from, frame, len, MSG_NOSIGNAL), len);
	do {
		assert_int_equal(poll(&wait, 1, LIMIT_MS), 1);
		n = recv(to, got, sizeof(got), 0);
	} while (n == FLOOD);
	assert_int_equal(n, len);
	assert_memory_equal(got, frame, len);
}

static void between_ports(const struct place *p, bool vde)
{
	struct vde_port a = VDE_PORT_INIT, b = VDE_PORT_INIT;
	struct err e = ERR_INIT;
	pid_t pid = start_switch(p, vde);
	struct pollfd gone;

	if (!pid)
		skip();
	assert_int_equal(vde_open(&a, p->socket, &e), 0);
	assert_int_equal(vde_open(&b, p->socket, &e), 0);
	pass(a.data, b.data, 1, 60);
	pass(b.data, a.data, 2, 1514);
	end(pid);
	gone = (struct pollfd){.fd = a.control, .events = POLLIN};
	assert_int_equal(poll(&gone, 1, LIMIT_MS), 1);
	vde_close(&a);
	vde_close(&b);
}

static void test_vde_switch(void **state)
{
	between_ports(*state, true);
}

static void test_uml_switch(void **state)
{
	between_ports(*state, false);
}

/* What User-Mode Linux does. */
static int connect_guest(const struct place *p)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, p->guest);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void send_until_it_comes(int from, int to, const uint8_t *frame, size_t len)
{
	struct pollfd wait = {.fd = to, .events = POLLIN};
	int ms = 0;

	for (; ms < LIMIT_MS; ms += 100) {
		assert_int_equal(send(from, frame, len, MSG_NOSIGNAL), len);
		if (poll(&wait, 1, 100) == 1)
			return;
	}
	fail();
}

static void test_bridge(void **state)
{
	const struct place *p = *state;
	struct vde_port other = VDE_PORT_INIT;
	struct err e = ERR_INIT;
	pid_t pid = start_switch(p, true), bridge = -1;
	uint8_t frame[2000] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5};
	int guest;

	if (!pid)
		skip();
	assert_int_equal(bridge_start(p->guest, &(struct bridge_switch){.vde = p->socket}, -1, &bridge, &e), 0);
	assert_int_equal(vde_open(&other, p->socket, &e), 0);
	guest = connect_guest(p);
	pass(guest, other.data, 1, 60);
	pass(other.data, guest, 2, BRIDGE_FRAME_MOST);
	/* What is no frame by its length is dropped, on both sides; what comes behind it is not. */
	assert_int_equal(send(guest, frame, BRIDGE_FRAME_LEAST - 1, 0), BRIDGE_FRAME_LEAST - 1);
	assert_int_equal(send(guest, frame, BRIDGE_FRAME_MOST + 1, 0), BRIDGE_FRAME_MOST + 1);
	pass(guest, other.data, 3, 60);
	/* A guest that reads nothing holds up nobody. */
	for (int i = 0; i < 5000; i++) {
		struct pollfd wait = {.fd = other.data, .events = POLLOUT};

		assert_int_equal(poll(&wait, 1, LIMIT_MS), 1);
		send(other.data, frame, FLOOD, MSG_DONTWAIT);
	}
	pass(guest, other.data, 4, 60);
	/* Off and on; and when the switch was another one meanwhile. */
	close(guest);
	guest = connect_guest(p);
	pass(guest, other.data, 5, 60);
	end(pid);
	vde_close(&other);
	/* Its connection goes on without a switch, also when it sends, and finds the next one. */
	assert_int_equal(send(guest, frame, 60, MSG_NOSIGNAL), 60);
	pid = start_switch(p, true);
	assert_int_equal(vde_open(&other, p->socket, &e), 0);
	send_until_it_comes(guest, other.data, frame, 60);
	pass(other.data, guest, 6, 60);
	close(guest);
	bridge_stop(bridge);
	vde_close(&other);
	end(pid);
}

/* Switches that answer what they like. */
static void test_hostile(void **state)
{
	static const struct {
		char bytes[sizeof(struct sockaddr_un)];
		size_t len;
	} answers[] = {{"", 0}, {"\1", 1}, {"\2", sizeof(struct sockaddr_un)}, {"\1\0/nobody/there", sizeof(struct sockaddr_un)}};
	const struct place *p = *state;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct vde_port port = VDE_PORT_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(vde_open(&port, p->socket, &e), -ENOENT);
	vde_close(&port);
	strcpy(a.sun_path, p->socket);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(vde_open(&port, p->socket, &e), -ECONNREFUSED);
	vde_close(&port);
	assert_int_equal(listen(listener, 1), 0);
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			char request[300];
			int fd = accept(listener, NULL, NULL);

			if (read(fd, request, sizeof(request)) < 0 || write(fd, answers[i].bytes, answers[i].len) < 0)
				_exit(1);
			_exit(0);
		}
		assert_true(vde_open(&port, p->socket, &e) < 0);
		vde_close(&port);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	/* One that says nothing costs VDE_ANSWER_MS. */
	assert_int_equal(vde_open(&port, p->socket, &e), -ETIMEDOUT);
	vde_close(&port);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vde_switch, make_place, remove_place),
		cmocka_unit_test_setup_teardown(test_uml_switch, make_place, remove_place),
		cmocka_unit_test_setup_teardown(test_bridge, make_place, remove_place),
		cmocka_unit_test_setup_teardown(test_hostile, make_place, remove_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
