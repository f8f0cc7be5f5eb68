/* Running a machine: see machine.h.
 *
 *	this process	owns the terminal, the console's master side and the folder; moves bytes, watches, keeps time
 *	the feed	image → FUSE file (feed.h)
 *	the guest	by its engine (engine.h), below a keeper process (keeper.h)
 *	the bridge	holds the guest's connection to its network, whatever becomes of the switch (bridge.h)
 *	the screen	an X server, and the guest's way to it, where its desktop is shown (display.h, display_link.h)
 *
 * States: running → (asked to end: signal, key, --until, time) → ending → ended. A guest that is asked to end has GRACE_MS; then it is
 * killed. Nothing is left behind: mount and processes are in namespaces that end with this process. */
#include "machine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/runtime_dir.h"
#include "disk/cloop.h"
#include "disk/foreign.h"
#include "disk/link_at.h"
#include "disk/raw.h"
#include "machine/bridge.h"
#include "machine/console.h"
#include "machine/control.h"
#include "machine/cow.h"
#include "machine/display.h"
#include "machine/display_link.h"
#include "machine/engine.h"
#include "machine/feed.h"
#include "machine/keeper.h"
#include "machine/namespaces.h"
#include "machine/shared_feed.h"
#include "machine/watch.h"
#include "network/meeting.h"

#define DIR_DEPTH 8	    /* of the machine's folder */
#define GRACE_MS 60000	    /* for an orderly shutdown */
#define LAST_PIECES 256	    /* of the console, after the guest's end; a terminal holds less */
#define LAST_MS 3000	    /* for a reader to take them */
#define ASK_AGAIN_MS 5000    /* early in a boot nobody listens */

struct machine {
	const struct machine_options *o;
	char *dir;	/* of this run: the mount, the initramfs, the control socket */
	struct feed feed;
	struct guest g;
	struct console console;
	struct control control;
	struct display display;
	pid_t display_link; /* -1: none */
	struct watch watch;
	pid_t guest, bridge; /* -1: none */
	int signals;	  /* signalfd */
	int guest_status; /* exit status of the keeper; negative while it runs */
	uint64_t ending_ms, asked_ms; /* when it was first asked to end, and last; 0: not */
	bool isolated;	  /* in namespaces of its own */
	uint64_t limit_ms; /* when the run's time is over; 0: never */
	bool timed_out, killed;
	const char *gone; /* what a process of ours gave the guest, and ended; or NULL */
	json_t *disk_status, *disk_until; /* at the end, and when what --until waits for was there; or NULL */
};

/* The guest's way to the network's folder, which lies in the one that our own may hide by now: `at` is it, opened before. */
static int pass_network(struct machine *m, int at, bool hidden, struct err *e)
{
	_cleanup_free_ char *own = file_path("%s/network", m->dir), *there = file_path("/proc/self/fd/%d", at);

	if (!own || !there)
		return err_set(e, -ENOMEM, "no memory");
	if (!hidden)
		return symlink(m->o->network, own) < 0 ? err_errno(e, "cannot pass the network on") : 0;
	if (mkdir(own, 0700) < 0 || mount(there, own, NULL, MS_BIND, NULL) < 0)
		return err_errno(e, "cannot pass the network on");
	return 0;
}

/* In a mount namespace of our own the files are in a tmpfs that goes with it; else in a folder that remove_dir() clears. */
static int make_dir(struct machine *m, struct err *e)
{
	_cleanup_free_ char *base = runtime_dir(e), *mount_point = NULL;
	_cleanup_close_ int network = m->o->network ? open(m->o->network, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	if (!base)
		return -EACCES;
	if (m->o->network && network < 0)
		return err_errno(e, "cannot find the network's folder %s", m->o->network);
	m->dir = namespaces_folder(base, m->isolated, e);
	if (!m->dir || (m->o->network && pass_network(m, network, !strcmp(m->dir, base), e) < 0))
		return -EIO;
	mount_point = file_path("%s/disk", m->dir);
	return mount_point && !mkdir(mount_point, 0700) ? 0 : err_errno(e, "cannot make a folder for the disk");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	remove(path);
	return 0;
}

/* What is mounted there is of others, or gone. */
static void remove_dir(struct machine *m)
{
	if (m->dir)
		nftw(m->dir, remove_one, DIR_DEPTH, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(m->dir);
}

/* A plain raw file needs no feed: the guest's kernel reads it itself. What is wrong with others, the feed says. */
static bool is_raw_file(const char *link)
{
	struct source *file = NULL;
	struct stat st;
	bool raw;

	if (stat(link, &st) < 0 || !S_ISREG(st.st_mode) || file_source_open(&file, link, NULL, NULL) < 0)
		return false;
	raw = !cloop_source_probe(file, NULL) && !foreign_refuse(file, NULL);
	source_close(file);
	return raw;
}

/* What it says becomes ours, as if the feed was. */
static int take_shared(struct machine *m, struct err *e)
{
	struct shared_feed *f = m->o->shared;

	m->feed = f->feed;
	f->feed = (struct feed){.pid = -1};
	m->feed.disk = file_path("/proc/self/fd/%d", f->disk);
	m->feed.status = file_path("/proc/self/fd/%d", f->status);
	if (!m->feed.disk || !m->feed.status)
		return err_set(e, -ENOMEM, "no memory");
	m->g.disk_fd = f->disk;
	m->g.disk_here = strdup(m->feed.disk);
	m->g.disk = m->feed.file && !m->o->overlay ? guest_own_name(&m->g, m->feed.file, "raw", e) : strdup(GUEST_DISK_PATH);
	return m->g.disk && m->g.disk_here ? 0 : -EIO;
}

static int start_disk(struct machine *m, struct err *e)
{
	_cleanup_free_ char *mount_point = file_path("%s/disk", m->dir);
	struct guest *g = &m->g;
	const char *file = is_raw_file(m->o->link) ? m->o->link : NULL;
	int r = 0;

	if (m->o->shared)
		return take_shared(m, e);
	if (!file)
		r = mount_point ? feed_start(&m->feed, m->o->link, &m->o->image, m->o->record, mount_point, g->messages, m->limit_ms, e) : -ENOMEM;
	if (r < 0)
		return r;
	if (m->feed.file && !m->o->overlay && !m->o->record) /* an overlay remembers the path that it was made with */
		file = m->feed.file;
	g->disk = file ? guest_own_name(g, file, "raw", e) : strdup(m->feed.disk);
	g->disk_here = g->disk ? strdup(g->disk) : NULL;
	return g->disk_here ? 0 : -EIO;
}

static int start_display(struct machine *m, struct buf *authority, struct err *e)
{
	int r = display_start(&m->display, m->o->display, m->dir, e);

	if (r < 0)
		return r;
	if (m->display.where)
		log_info("the screen: %s", m->display.where);
	m->display_link = display_link_start(m->dir, m->display.number, m->isolated, m->g.messages, e);
	if (m->display_link < 0)
		return -EIO;
	return display_authority(&m->display, authority) < 0 ? err_set(e, -ENOMEM, "no memory") : 0;
}

/* The path to which the guest connects; NULL: it has no network. Allocated. */
static int start_network(struct machine *m, char **path, struct err *e)
{
	_cleanup_free_ char *socket = file_path("%s/network/" NETWORK_SOCKET, m->dir);
	struct bridge_switch to = {.socket = m->o->vde ? NULL : socket, .vde = m->o->vde, .name = m->o->name};

	if (!m->o->vde && !m->o->network)
		return 0;
	*path = file_path("%s/bridge", m->dir);
	return socket && *path ? bridge_start(*path, &to, m->g.messages, &m->bridge, e) : err_set(e, -ENOMEM, "no memory");
}

/* A link to just the version that the guest gets; it is also what a new overlay is bound to. Allocated; NULL: it is no image in a store. */
static char *exact_link(struct machine *m)
{
	struct cow_binding *b = &m->feed.image;
	char *link = b->version ? link_at(m->o->link, true, b->version, NULL) : NULL;

	if (link && strlen(link) <= COW_LINK_MAX)
		strcpy(b->link, link);
	return link;
}

/* The paths of files that the command line names. */
static int pass_files(struct machine *m, struct err *e)
{
	struct guest *g = &m->g;

	if (m->o->overlay && !(g->overlay = guest_own_name(g, m->o->overlay, "overlay", e)))
		return -EIO;
	if (m->o->writes && !(g->writes = guest_own_name(g, m->o->writes, "writes", e)))
		return -EIO;
	return 0;
}

static int start_guest(struct machine *m, struct err *e)
{
	_cleanup_buf_ struct buf authority = BUF_INIT(4096);
	const struct engine *engine = m->o->engine;
	struct guest *g = &m->g;
	int r = engine->find(g, e);

	if (!r && m->o->link)
		r = start_disk(m, e);
	g->link = exact_link(m);
	if (!r && m->o->display) {
		r = start_display(m, &authority, e);
		g->authority = &authority;
		g->display = file_path("%s/display", m->dir);
	}
	if (!r)
		r = pass_files(m, e);
	if (!r)
		r = engine->prepare(g, e);
	if (!r)
		r = start_network(m, &g->network, e);
	if (!r) {
		m->watch.start_ms = clock_ms();
		r = engine->start(g, &m->guest, e);
	}
	m->timed_out = r == -ETIMEDOUT && m->limit_ms && clock_ms() >= m->limit_ms;
	return r;
}

/* Asks the guest to shut down, again after a while: early in its boot it may not listen. */
static void ask_to_end(struct machine *m)
{
	struct err e = ERR_INIT;
	uint64_t now = clock_ms();

	if (!m->ending_ms)
		m->ending_ms = now;
	m->asked_ms = now;
	if (m->o->engine->ask(&m->g, &e) < 0)
		log_debug("no answer of the guest: %s", e.text);
}

static void kill_guest(struct machine *m)
{
	m->killed = true;
	kill(m->guest, SIGKILL);
}

/* A person or a signal wants the end: the first time in order, then at once. */
static void want_end(struct machine *m)
{
	if (m->ending_ms) {
		kill_guest(m);
		return;
	}
	log_info("shutting the guest down; once more ends it at once");
	ask_to_end(m);
}

/* Its window was closed, or it ended by itself. */
static void lose_display(struct machine *m)
{
	if (m->ending_ms)
		return;
	log_info("the screen was closed: shutting the guest down");
	ask_to_end(m);
}

static void read_signals(struct machine *m)
{
	struct signalfd_siginfo info;

	while (read(m->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGWINCH)
			console_resize(&m->console);
		else if (info.ssi_signo != SIGCHLD)
			want_end(m);
	}
}

/* No guest goes on without its disk, nor behind a connection for its frames that has ended: its kernel hangs. */
static void lose(struct machine *m, const char *what)
{
	if (m->gone)
		return;
	log_error("the process that gives the guest its %s has ended: ending the guest", what);
	m->gone = what;
	kill_guest(m);
}

/* Who of them has ended? Also before the first signal is waited for: one may have come before they were taken. */
static bool guest_runs(struct machine *m)
{
	if (child_ended(m->feed.pid))
		lose(m, "disk");
	if (child_ended(m->bridge))
		lose(m, "network");
	if (child_ended(m->display_link))
		lose(m, "way to its screen");
	m->guest_status = keeper_wait(m->guest);
	return m->guest_status == -EAGAIN;
}

/* One piece: a guest that never stops talking must not keep us from time and signals. */
static bool read_console(struct machine *m)
{
	char data[CONSOLE_PIECE];
	int n = console_read(&m->console, data);

	if (n > 0) {
		watch_output(&m->watch, data, (size_t)n);
		control_output(&m->control, data, (size_t)n);
		if (m->o->engine->look && m->guest_status < 0 && m->watch.kernel_ms)
			m->o->engine->look(m->guest);
	}
	return n > 0;
}

/* NULL: there is none. */
static json_t *load_disk_status(const struct machine *m)
{
	_cleanup_buf_ struct buf text = BUF_INIT(1 << 20);

	if (!m->o->report || !m->feed.status || file_load(AT_FDCWD, m->feed.status, &text, NULL) < 0)
		return NULL;
	return json_loadb((char *)text.data, text.len, 0, NULL);
}

/* What time says: the limit of the run, the grace of a shutdown, asking again. Returns ms until it has something to say again. */
static int keep_time(struct machine *m)
{
	uint64_t now = clock_ms(), limit = m->limit_ms;

	if (m->watch.until_ms && !m->ending_ms) {
		m->disk_until = load_disk_status(m);
		ask_to_end(m);
	}
	if (limit && now >= limit && !m->timed_out) {
		m->timed_out = true;
		kill_guest(m);
	}
	if (m->ending_ms && now >= m->ending_ms + GRACE_MS && !m->killed) {
		log_warning("the guest did not shut down in %d s: ending it", GRACE_MS / 1000);
		kill_guest(m);
	}
	if (m->ending_ms && now >= m->asked_ms + ASK_AGAIN_MS && !m->watch.shut_down && !m->killed)
		ask_to_end(m);
	if (!m->ending_ms && !limit)
		return -1;
	return m->ending_ms ? 500 : (int)(limit > now && limit - now < 60000 ? limit - now : 60000);
}

static bool signal_came(struct machine *m)
{
	struct signalfd_siginfo info;
	bool came = false;

	while (read(m->signals, &info, sizeof(info)) == sizeof(info))
		came |= info.ssi_signo != SIGCHLD && info.ssi_signo != SIGWINCH;
	return came;
}

/* What the guest said last. Who reads it may take the time that the machine had; a moment, if it was asked to end. */
static void show_last(struct machine *m)
{
	struct pollfd fds[] = {{.fd = STDOUT_FILENO, .events = POLLOUT}, {.fd = m->signals, .events = POLLIN}};
	uint64_t until = m->ending_ms || m->killed ? clock_ms() + LAST_MS : m->limit_ms;

	for (unsigned i = 0; i < LAST_PIECES;) {
		uint64_t now = clock_ms(), left = until > now ? until - now : 0;

		console_show(&m->console);
		if (console_shown(&m->console)) {
			if (!read_console(m))
				return;
			i++;
		} else if ((until && !left) || signal_came(m)) {
			return;
		} else {
			poll(fds, 2, left && left < 60000 ? (int)left : 60000);
		}
	}
}

/* The sooner of two; negative: never. */
static int sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void serve_control(struct machine *m, const struct pollfd fds[2])
{
	char typed[CONTROL_PIECE];
	size_t room = console_room(&m->console), n = control_work(&m->control, fds, typed, room < sizeof(typed) ? room : sizeof(typed));

	if (n)
		console_put(&m->console, typed, n);
}

static void run_loop(struct machine *m)
{
	struct pollfd fds[9] = {
		{.fd = -1},
		{.fd = m->signals, .events = POLLIN},
		{.events = POLLIN},
		{.events = POLLOUT},
		[6] = {.fd = m->o->shared ? m->o->shared->connection : -1, .events = POLLIN},
		[7] = {.fd = m->display.ended, .events = POLLIN},
		[8] = {.fd = m->display.web_ended, .events = POLLIN},
	};

	while (guest_runs(m)) {
		bool told = console_shown(&m->console), shown = told && control_taken(&m->control);

		fds[0].fd = shown ? m->console.master : -1;
		fds[0].events = (short)(POLLIN | (console_typed(&m->console) ? POLLOUT : 0));
		fds[2].fd = console_listens(&m->console) ? STDIN_FILENO : -1;
		fds[3].fd = told ? -1 : STDOUT_FILENO;
		control_wants(&m->control, fds + 4, console_room(&m->console));
		if (poll(fds, 9, sooner(keep_time(m), control_patience(&m->control))) < 0 && errno != EINTR)
			break;
		if (!told)
			console_show(&m->console);
		serve_control(m, fds + 4);
		if (shown && fds[0].revents & POLLOUT)
			console_pass_on(&m->console);
		if (shown && fds[0].revents & ~POLLOUT && control_taken(&m->control))
			read_console(m);
		if (fds[2].revents && console_type(&m->console))
			want_end(m);
		if (fds[6].revents && shared_feed_listen(m->o->shared) < 0) {
			fds[6].fd = -1;
			lose(m, "disk");
		}
		if (fds[7].revents || fds[8].revents) {
			fds[7].fd = fds[8].fd = -1;
			lose_display(m);
		}
		read_signals(m);
	}
	show_last(m);
}

static enum machine_end judge(struct machine *m, struct err *e)
{
	const struct watch *w = &m->watch;

	if (w->failed) {
		err_set(e, -EIO, "%s", w->reason);
		return MACHINE_NOT_STARTED;
	}
	if (m->timed_out) {
		err_set(e, -ETIMEDOUT, "the guest ran into the time limit of %u s", m->o->timeout_s);
		return MACHINE_TIMEOUT;
	}
	if (m->gone) {
		err_set(e, -EIO, "the process that gave the guest its %s ended, and the guest with it", m->gone);
		return MACHINE_KILLED;
	}
	if (m->killed) {
		err_set(e, -EIO, "the guest was ended before it had shut down");
		return MACHINE_KILLED;
	}
	return m->o->engine->judge(m->guest_status, w, e);
}

static json_t *milliseconds(uint64_t ms)
{
	return ms ? json_integer((json_int_t)ms) : json_null();
}

/* However it ended, or a reader would take the report of an earlier run for this one's. */
static void write_report(struct machine *m, enum machine_end end)
{
	static const char *const names[] = {"clean", "not started", "panic", "timeout", "killed"};
	const struct watch *w = &m->watch;
	_cleanup_free_ char *text = NULL;
	struct err e = ERR_INIT;
	json_t *report;

	if (!m->o->report)
		return;
	report = json_pack("{s:s, s:o, s:o, s:o, s:o, s:I, s:O?, s:O?}", "end", names[end], "kernel_ms", milliseconds(w->kernel_ms),
		"init_ms", milliseconds(w->init_ms), "login_ms", milliseconds(w->login_ms), "until_ms", milliseconds(w->until_ms),
		"total_ms", (json_int_t)(clock_ms() - w->start_ms), "disk", m->disk_status, "disk_until", m->disk_until);
	text = report ? json_dumps(report, JSON_INDENT(2)) : NULL;
	json_decref(report);
	if (!text || file_save(AT_FDCWD, m->o->report, text, strlen(text), 0, &e) < 0)
		log_warning("no report: %s", e.text);
}

static void release_guest(struct guest *g)
{
	g->o->engine->release(g);
	free(g->link);
	free(g->disk);
	free(g->disk_here);
	free(g->overlay);
	free(g->writes);
	free(g->network);
	free(g->display);
}

static int take_signals(struct machine *m, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signals < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_errno(e, "cannot take signals");
	return 0;
}

static enum machine_end run(struct machine *m, struct err *e)
{
	if (make_dir(m, e) < 0 || console_open(&m->console, m->o->show, m->o->console_file, e) < 0)
		return MACHINE_NOT_STARTED;
	m->g.dir = m->dir;
	m->g.terminal = m->console.slave;
	m->g.messages = m->o->background ? m->console.log : -1;
	m->g.until_ms = m->limit_ms;
	if (start_guest(m, e) < 0)
		return m->timed_out ? MACHINE_TIMEOUT : MACHINE_NOT_STARTED;
	if (take_signals(m, e) < 0) {
		kill_guest(m);
		return MACHINE_NOT_STARTED;
	}
	if (m->o->started)
		m->o->started(m->o->context);
	console_take_terminal(&m->console);
	run_loop(m);
	m->disk_status = load_disk_status(m);
	return judge(m, e);
}

enum machine_end machine_run(const struct machine_options *o, struct err *e)
{
	struct machine m = {
		.o = o,
		.guest_status = -1,
		.signals = -1,
		.guest = -1,
		.bridge = -1,
		.feed.pid = -1,
		.g = {.o = o, .feed = &m.feed, .disk_fd = -1},
		.console = {.master = -1, .slave = -1, .log = -1},
		.control = {.listener = o->control, .client = -1},
		.display = DISPLAY_INIT,
		.display_link = -1,
		.watch = {.until = o->until, .start_ms = clock_ms(), .foreign = o->whole_disk || o->medium},
	};
	struct err why = ERR_INIT;
	enum machine_end end;

	m.isolated = !namespaces_enter(&why);
	if (!m.isolated)
		log_debug("no namespaces of our own (%s): the mount is visible to others", why.text);
	if (o->timeout_s)
		m.limit_ms = m.watch.start_ms + o->timeout_s * 1000ULL;
	end = run(&m, e);
	if (o->overlay && m.guest > 0 && cow_sync(o->overlay, &why) < 0)
		log_warning("%s", why.text);
	control_close(&m.control);
	console_close(&m.console);
	write_report(&m, end);
	display_stop(&m.display);
	feed_stop(&m.feed);
	bridge_stop(m.bridge);
	keeper_end_orphans(); /* the display's link among them */
	release_guest(&m.g);
	if (m.signals >= 0)
		close(m.signals);
	json_decref(m.disk_status);
	json_decref(m.disk_until);
	remove_dir(&m);
	return end;
}
