/* The sandbox: what must not be possible inside is tried outside, where it works, and inside, where it must fail in the expected way;
 * what the program needs is tried inside. Each try is a process of its own. */
#include "random.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/landlock.h"
#include "base/sandbox.h"
#include "base/thread.h"
#include "cache/cache.h"
#include "fetch/origin.h"
#include "format/block.h"
#include "server.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* some calls are allowed for their run-time libraries, and none kills */
#else
#define SANITIZED 0
#endif
#define KILLED 1000 /* the outcome of who was killed by the filter */
#define UNCLEAR 1001

static struct server server, other_server;
static char in[64], out[64]; /* folders: the rules name the first */
static unsigned unix_count;

static int outcome(int r)
{
	return r < 0 ? errno : 0;
}

/* ---- what must fail ---- */

static int read_elsewhere(void)
{
	_cleanup_free_ char *path = file_path("%s/secret", out);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	return outcome(fd);
}

static int list_elsewhere(void)
{
	_cleanup_close_ int fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return outcome(fd);
}

static int write_elsewhere(void)
{
	_cleanup_free_ char *path = file_path("%s/secret", out);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return outcome(fd);
}

static int truncate_elsewhere(void)
{
	_cleanup_free_ char *path = file_path("%s/secret", out);

	return outcome(truncate(path, 3));
}

static int create_elsewhere(void)
{
	_cleanup_free_ char *path = file_path("%s/new", out);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return outcome(fd);
}

static int folder_elsewhere(void)
{
	_cleanup_free_ char *path = file_path("%s/folder", out);
	int r = outcome(mkdir(path, 0700));

	rmdir(path);
	return r;
}

static int remove_elsewhere(void)
{
	_cleanup_free_ char *path = file_path("%s/unwanted", out);

	return outcome(unlink(path));
}

static int move_out(void)
{
	_cleanup_free_ char *from = file_path("%s/mine", in), *to = file_path("%s/mine", out);

	return outcome(rename(from, to));
}

static int link_in(void)
{
	_cleanup_free_ char *from = file_path("%s/secret", out), *to = file_path("%s/stolen", in);

	return outcome(link(from, to));
}

static int symlink_in(void)
{
	_cleanup_free_ char *to = file_path("%s/link", in);
	int r = outcome(symlink("/", to));

	unlink(to);
	return r;
}

static int change_mode(void)
{
	_cleanup_free_ char *path = file_path("%s/secret", out);

	return outcome(chmod(path, 0666));
}

static int fifo_in(void)
{
	_cleanup_free_ char *path = file_path("%s/fifo", in);
	int r = outcome(mkfifo(path, 0600));

	unlink(path);
	return r;
}

static int execute(void)
{
	execl("/bin/true", "true", NULL);
	return errno;
}

static int fork_and_execute(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		execl("/bin/true", "true", NULL);
	if (!pid)
		_exit(errno == ENOENT ? 1 : errno);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED;
}

static int be_traced(void)
{
	return outcome((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int look_into_parent(void)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {&unix_count, 1};

	return outcome((int)process_vm_readv(getppid(), &here, 1, &there, 1, 0));
}

static int connect_to(unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? errno : outcome(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static int connect_elsewhere(void)
{
	return connect_to(other_server.port);
}

static int connect_at_once(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)other_server.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? errno : outcome((int)sendto(fd, "GET", 3, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof(to)));
}

static int be_a_server(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? errno : outcome(bind(fd, (struct sockaddr *)&any, sizeof(any)));
}

static int listen_to(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? errno : outcome(listen(fd, 1));
}

/* To the socket that main() listens at. */
static int connect_unix(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%.60s/socket", out);
	return fd < 0 ? errno : outcome(connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static int raw_socket(void)
{
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	return outcome(fd);
}

static int mount_something(void)
{
	int r = outcome(mount("none", in, "tmpfs", 0, NULL));

	if (!r)
		umount2(in, MNT_DETACH);
	return r;
}

static int new_namespace(void)
{
	return outcome(unshare(CLONE_NEWNS));
}

static int end_parent(void)
{
	return outcome(kill(getppid(), SIGCONT));
}

static int own_ring(void)
{
	struct io_uring_params p = {0};
	_cleanup_close_ int fd = (int)syscall(SYS_io_uring_setup, 1, &p);

	return fd < 0 && errno == EPERM ? UNCLEAR : outcome(fd); /* many machines have it switched off */
}

static int writable_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int data_to_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? UNCLEAR : outcome(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int type_for_others(void)
{
	_cleanup_close_ int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	char c = 'x';

	return fd < 0 ? errno : outcome(ioctl(fd, TIOCSTI, &c));
}

static int use_capability(void)
{
	return outcome(chroot("/"));
}

enum need { ANY, ROOT = 1, LANDLOCK = 2, LANDLOCK_NET = 4, NOT_SANITIZED = 8, MAY_FAIL_OUTSIDE = 16 };

static const struct {
	const char *name;
	int (*run)(void);
	int inside; /* the outcome there */
	unsigned need;
} forbidden[] = {
	{"read a file elsewhere", read_elsewhere, EACCES, LANDLOCK},
	{"list a folder elsewhere", list_elsewhere, EACCES, LANDLOCK},
	{"write to a file elsewhere", write_elsewhere, EACCES, LANDLOCK},
	{"truncate a file elsewhere", truncate_elsewhere, EACCES, LANDLOCK},
	{"make a file elsewhere", create_elsewhere, EACCES, LANDLOCK},
	{"make a folder elsewhere", folder_elsewhere, EACCES, LANDLOCK},
	{"remove a file elsewhere", remove_elsewhere, EACCES, LANDLOCK},
	{"move a file out", move_out, EACCES, LANDLOCK},
	{"link a file in", link_in, EXDEV, LANDLOCK},
	{"make a symbolic link", symlink_in, ENOSYS, ANY},
	{"make a FIFO", fifo_in, ENOSYS, ANY},
	{"change a mode", change_mode, ENOSYS, ANY},
	{"execute", execute, KILLED, ANY},
	{"fork and execute", fork_and_execute, ENOSYS, NOT_SANITIZED},
	{"be traced", be_traced, KILLED, NOT_SANITIZED},
	{"look into the parent", look_into_parent, KILLED, ROOT},
	{"connect to another port", connect_elsewhere, EACCES, LANDLOCK_NET},
	{"connect to another port with the first packet", connect_at_once, ENOSYS, ANY},
	{"bind a TCP port", be_a_server, EACCES, LANDLOCK_NET},
	{"listen", listen_to, ENOSYS, ANY},
	{"connect to a Unix socket", connect_unix, ENOSYS, ANY},
	{"see packets", raw_socket, ENOSYS, ROOT},
	{"mount", mount_something, KILLED, ROOT},
	{"have another mount namespace", new_namespace, KILLED, ROOT},
	{"change the root folder", use_capability, KILLED, ROOT},
	{"send a signal to the parent", end_parent, ENOSYS, NOT_SANITIZED},
	{"have an io_uring", own_ring, ENOSYS, ANY},
	{"map memory to write and run", writable_code, ENOSYS, NOT_SANITIZED},
	{"make data code", data_to_code, ENOSYS, NOT_SANITIZED},
	{"type for others", type_for_others, EACCES, LANDLOCK | MAY_FAIL_OUTSIDE},
};

/* ---- what must work ---- */

static int resolve(void)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
	int r = getaddrinfo("localhost", "80", &hints, &found);

	if (!r)
		freeaddrinfo(found);
	return r;
}

static int fetch(void)
{
	const char *url = server.url;
	struct origin_options o = {.timeout_ms = 20000};
	struct origin_request rq = {.path = "file", .max = 1 << 20};
	struct origin_answer answer = {0};
	struct origin *origin;
	struct err e = ERR_INIT;
	int r = origin_open(&origin, &url, 1, &o, &e);

	if (!r) {
		r = origin_get(origin, &rq, &answer, &e);
		buf_free(&answer.body);
		origin_close(origin);
	}
	if (r < 0)
		print_error("%s\n", e.text);
	return -r;
}

static int use_cache(void)
{
	_cleanup_buf_ struct buf frame = BUF_INIT(1 << 20), back = BUF_INIT(1 << 20);
	static uint8_t data[100000], decoded[sizeof(data)];
	struct cache *c;
	struct hash h;
	int r = cache_open(&c, in, 1 << 20, false, NULL);

	if (r < 0)
		return -r;
	hash_of(&h, data, sizeof(data));
	r = block_encode(&frame, data, sizeof(data), 3, NULL);
	if (!r)
		cache_store(c, &h, frame.data, frame.len);
	if (!r)
		r = cache_load(c, &h, &back);
	if (!r)
		r = block_decode(decoded, sizeof(decoded), &h, back.data, back.len, NULL);
	cache_drop(c, &h);
	cache_close(c);
	return -r;
}

static int keep_file(void)
{
	_cleanup_free_ char *path = file_path("%s/kept", in), *deep = file_path("%s/a/b/c", in);
	int r = file_save(AT_FDCWD, path, "x", 1, FILE_SYNC, NULL);

	return r ? -r : -file_mkdirs(deep, NULL);
}

static int read_system_files(void)
{
	_cleanup_close_ int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	return fd < 0 || null < 0 ? errno : 0;
}

static void *note_thread(void *context)
{
	*(bool *)context = true;
	return NULL;
}

static int start_thread(void)
{
	bool ran = false;
	pthread_t thread;
	int r = thread_start(&thread, note_thread, &ran);

	if (!r)
		pthread_join(thread, NULL);
	return r ? -r : !ran;
}

static int signal_itself(void)
{
	signal(SIGUSR1, SIG_IGN);
	return outcome(raise(SIGUSR1));
}

/* The cache finds out so whether the writer of a temporary file lives. */
static int look_for_process(void)
{
	return kill(0x3fffffff, 0) < 0 && errno == ESRCH ? 0 : errno;
}

static const struct {
	const char *name;
	int (*run)(void);
} allowed[] = {
	{"find localhost", resolve},
	{"fetch", fetch},
	{"use the cache", use_cache},
	{"keep a file", keep_file},
	{"read the system's files", read_system_files},
	{"start a thread", start_thread},
	{"send itself a signal", signal_itself},
	{"see whether a process lives", look_for_process},
};

/* ---- trying ---- */

static void enter(void)
{
	struct sandbox_rules rules = {.network = true};
	struct err e = ERR_INIT;

	sandbox_add_path(&rules, in, SANDBOX_WRITE);
	sandbox_add_port(&rules, server.port);
	if (sandbox_enter(&rules, &e) < 0) {
		print_error("%s\n", e.text);
		_exit(UNCLEAR & 0xff);
	}
	sandbox_rules_free(&rules);
}

/* The outcome of run() in a child. */
static int try(int (*run)(void), bool inside)
{
	int status, fds[2], r = UNCLEAR;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (inside)
			enter();
		r = run();
		r = write(fds[1], &r, sizeof(r)) == sizeof(r) ? 0 : 1;
		_exit(r);
	}
	close(fds[1]);
	if (file_read(fds[0], &r, sizeof(r)) != sizeof(r))
		r = 0; /* it became another program, or was killed */
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return KILLED;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? r : UNCLEAR;
}

static int landlock_version(void)
{
	return (int)syscall(444, NULL, (size_t)0, 1);
}

static bool applies(unsigned need)
{
	if (need & ROOT && geteuid())
		return false;
	if (need & NOT_SANITIZED && SANITIZED)
		return false;
	return landlock_version() >= (need & LANDLOCK_NET ? LANDLOCK_PORTS : need & LANDLOCK ? 3 : -1);
}

static void the_forbidden_fails(void **unused)
{
	_cleanup_free_ char *unwanted = file_path("%s/unwanted", out), *mine = file_path("%s/mine", in),
			    *moved = file_path("%s/mine", out), *stolen = file_path("%s/stolen", in);

	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		int want = SANITIZED && forbidden[i].inside == KILLED ? EPERM : forbidden[i].inside, outside, inside;

		if (!applies(forbidden[i].need)) {
			print_message("left out here: %s\n", forbidden[i].name);
			continue;
		}
		assert_int_equal(file_save(AT_FDCWD, mine, "x", 1, 0, NULL), 0);
		assert_int_equal(file_save(AT_FDCWD, unwanted, "x", 1, 0, NULL), 0);
		inside = try(forbidden[i].run, true);
		outside = try(forbidden[i].run, false);
		unlink(moved);
		unlink(stolen);
		if (inside != want)
			fail_msg("%s: inside it is %d (%s) instead of %d", forbidden[i].name, inside, strerror(inside), want);
		if (outside && !(forbidden[i].need & MAY_FAIL_OUTSIDE) && outside != UNCLEAR)
			fail_msg("%s: does not work outside either: %s", forbidden[i].name, strerror(outside));
	}
}

static void the_needed_works(void **unused)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		int inside = try(allowed[i].run, true);

		if (inside)
			fail_msg("%s: %d (%s)", allowed[i].name, inside, strerror(inside));
	}
}

/* /proc is not for who is inside: the file is opened before. The bounding set can only be emptied by who has capabilities. */
static FILE *own_status;

static int has_dropped_all(void)
{
	char line[128];
	int wrong = 0, seen = 0;

	while (fgets(line, sizeof(line), own_status)) {
		bool cap = !strncmp(line, "Cap", 3) && (!geteuid() || strncmp(line, "CapBnd", 6)), privileges = !strncmp(line, "NoNewPrivs:\t1", 13);

		seen += cap || privileges;
		wrong += cap && line[8 + strspn(line + 8, "0")] != '\n';
	}
	return wrong || seen != (geteuid() ? 5 : 6);
}

static int capabilities_in_child(void)
{
	own_status = fopen("/proc/thread-self/status", "re");
	enter();
	return own_status ? has_dropped_all() : UNCLEAR;
}

static void capabilities_are_gone(void **unused)
{
	assert_int_equal(try(capabilities_in_child, false), 0);
}

static int status_in_child(void)
{
	bool before = !strcmp(sandbox_status(), "none") && sandbox_port_allowed(1);

	enter();
	return !before || !strstr(sandbox_status(), "seccomp") || (landlock_version() > 0 && !strstr(sandbox_status(), "landlock")) ||
	       !sandbox_port_allowed(server.port) || (landlock_version() >= LANDLOCK_PORTS && sandbox_port_allowed(other_server.port));
}

static void status_tells(void **unused)
{
	assert_int_equal(try(status_in_child, false), 0);
}

static int off_in_child(void)
{
	setenv("INETBOOT_NO_SANDBOX", "1", 1);
	enter();
	return strcmp(sandbox_status(), "none") || read_elsewhere();
}

static void can_be_switched_off(void **unused)
{
	assert_int_equal(try(off_in_child, false), 0);
}

/* Root whose cache is another user's. */
static int foreign_cache_in_child(void)
{
	if (chown(in, 12345, 12345) < 0 || chmod(in, 0700) < 0)
		return UNCLEAR;
	enter();
	return use_cache() || !strstr(sandbox_status(), "dac_override");
}

static void a_foreign_cache_stays_usable(void **unused)
{
	if (geteuid())
		skip();
	assert_int_equal(try(foreign_cache_in_child, false), 0);
	assert_int_equal(chown(in, 0, 0), 0);
}

static int no_network_in_child(void)
{
	struct sandbox_rules rules = {0};

	if (sandbox_enter(&rules, NULL) < 0)
		return UNCLEAR;
	return connect_to(server.port) != ENOSYS;
}

static void without_network(void **unused)
{
	assert_int_equal(try(no_network_in_child, false), 0);
}

/* A child that a thread of ours signals must not be out of reach: a supervisor ends its worker so. */
static void signals_reach_who_is_inside(void **unused)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		enter();
		for (;;)
			pause();
	}
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static int set_up(void **unused)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	_cleanup_free_ char *secret = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unsetenv("INETBOOT_NO_SANDBOX");
	folder_make(in);
	folder_make(out);
	secret = file_path("%s/secret", out);
	server_start(&server, NULL);
	server_start(&other_server, NULL);
	free(server_file(&server, "file", 100000, 1));
	snprintf(at.sun_path, sizeof(at.sun_path), "%.60s/socket", out);
	return file_save(AT_FDCWD, secret, "secret", 6, 0, NULL) || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 100);
}

static int tear_down(void **unused)
{
	server_stop(&server);
	server_stop(&other_server);
	folder_remove(in);
	folder_remove(out);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_forbidden_fails),
		cmocka_unit_test(the_needed_works),
		cmocka_unit_test(capabilities_are_gone),
		cmocka_unit_test(status_tells),
		cmocka_unit_test(can_be_switched_off),
		cmocka_unit_test(a_foreign_cache_stays_usable),
		cmocka_unit_test(without_network),
		cmocka_unit_test(signals_reach_who_is_inside),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
