/* QEMU, as an engine: a machine with a PC's hardware, on KVM where that works, else by emulation of its processor.
 *
 *	direct		the kernel and initrd of the image's boot entry, with a small archive of ours behind it (guest/attach), which makes the virtual disk (virtio-blk)
 *			the root; of an image without an initrd our own initramfs does that
 *	--disk		the firmware starts what is on the virtual disk (AHCI), which is written to by copy-on-write
 *	--medium	the firmware starts a boot medium; there is no other disk
 *
 * The guest's first serial line is its console. QEMU gets files of the machine's folder, and descriptors: the disk where it is shared, a connection to the
 * network's bridge, one end of a pair of sockets for commands. A comma in the path of a file is written twice for it. Its own sandbox keeps it from starting programs. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/program.h"
#include "base/unix_socket.h"
#include "machine/arguments.h"
#include "machine/boot_fetch.h"
#include "machine/cmdline.h"
#include "machine/engine.h"
#include "machine/feed.h"
#include "machine/initramfs.h"
#include "machine/kvm.h"
#include "machine/overlay.h"
#include "machine/qmp.h"
#include "machine/resources.h"
#include "machine/watch.h"

#define PROGRAM "qemu-system-x86_64"
#define FIRMWARE "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define FIRMWARE_VARIABLES "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define FIRMWARE_MAX (16u << 20) /* bytes */
#define ARCHIVE_MAX (16u << 20)	/* bytes of ours behind the image's initrd */
#define CPUS_MOST 4
#define WORDS_MAX 2047  /* bytes of the command line that Linux takes */
#define ISO_MAGIC 32769 /* offset of "CD001" */

struct qemu {
	char *program; /* owned */
	bool kvm;
	char *kernel, *initrd; /* of a direct start; owned */
	struct buf words;      /* for that kernel */
	int temporary;         /* an overlay without a name; -1: none */
	int commands;          /* our end; -1: not started */
};

static bool is_direct(const struct machine_options *o)
{
	return !o->medium && !o->whole_disk;
}

static int check(const struct machine_options *o, struct err *e)
{
	bool direct = is_direct(o);

	if (o->display)
		return err_set(e, -EINVAL,
			"--gui, --display, --vnc and --web show the X session of a guest of "
			"--engine uml; qemu does not have them");
	if (o->trusted)
		return err_set(e, -EINVAL,
			"--trust is for --engine uml: in a machine of qemu no program of the guest "
			"is one of this host");
	if (o->medium && (o->link || o->whole_disk))
		return err_set(e, -EINVAL,
			"--medium starts what is on the medium: there is no link then, and no "
			"--disk");
	if (o->medium && o->overlay)
		return err_set(e, -EINVAL,
			"--overlay keeps what is written to the image's disk, and with --medium "
			"the guest has none");
	if (!direct && (o->kernel || o->append))
		return err_set(e, -EINVAL,
			"--kernel and --append are for a kernel that is started directly: without "
			"--disk and --medium");
	if (o->medium && o->record)
		return err_set(e, -EINVAL, "--record traces what is read of an image, and with --medium there is none");
	if (direct && o->uefi)
		return err_set(e, -EINVAL,
			"--firmware is for --disk and --medium: without them a kernel is started "
			"directly");
	return 0;
}

static int find(struct guest *g, struct err *e)
{
	struct qemu *q = g->own = malloc(sizeof(*q));
	struct err why = ERR_INIT;

	if (!q)
		return err_set(e, -ENOMEM, "no memory");
	*q = (struct qemu){.program = program_path(PROGRAM),
		.words = BUF_INIT(65536),
		.temporary = -1,
		.commands = -1};
	if (!q->program)
		return err_set(e, -ENOENT,
			"there is no " PROGRAM " here: install the package qemu-system-x86");
	if (g->o->uefi && (access(FIRMWARE, R_OK) < 0 || access(FIRMWARE_VARIABLES, R_OK) < 0))
		return err_set(
			e, -ENOENT, "there is no UEFI firmware here: install the package ovmf");
	q->kvm = kvm_works(q->program, g->dir, &why);
	if (q->kvm)
		log_info("QEMU on KVM");
	else
		log_info("QEMU without KVM (%s): it emulates the processor, which takes about ten "
			 "times as long",
			why.text);
	return 0;
}

/* The command line of a direct start. What the publisher says of the root and the console is for
 * other machines; of two words the last one counts, which is ours. */
static int write_words(struct guest *g, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(65536);
	struct qemu *q = g->own;
	_cleanup_free_ char *path = file_path("%s/boot/cmdline", g->dir);
	int r = path && !access(path, R_OK) ? file_load(AT_FDCWD, path, &text, e) : 0;

	if (!r)
		r = buf_append(&text, "", 1);
	if (!r)
		r = cmdline_without_root((char *)text.data, &q->words);
	if (!r)
		r = buf_printf(&q->words,
			" console=ttyS0 panic=1 boot=inetboot inetboot.root=/dev/vda%s%s",
			g->overlay ? " inetboot.rw" : "", g->writes ? " inetboot.writes=/dev/vdb" : "");
	if (!r && (g->o->network || g->o->vde))
		r = buf_printf(&q->words, " inetboot.name=%s", g->o->name);
	if (!r && g->o->append)
		r = buf_printf(&q->words, " %s", g->o->append);
	if (!r && q->words.len > WORDS_MAX)
		r = -E2BIG;
	return r < 0 ? err_set(e, r, "the kernel's command line is longer than %d bytes", WORDS_MAX)
		     : 0;
}

/* Our archive behind the image's: the kernel unpacks one after the other, each from a multiple of
 * four bytes on. */
static int append_archive(const char *initrd, struct err *e)
{
	_cleanup_free_ char *path = resource_path("attach.cpio.gz", e);
	_cleanup_buf_ struct buf archive = BUF_INIT(ARCHIVE_MAX);
	_cleanup_close_ int fd = open(initrd, O_WRONLY | O_APPEND | O_CLOEXEC);
	struct stat st;

	if (!path || file_load(AT_FDCWD, path, &archive, e) < 0)
		return -EIO;
	if (fd < 0 || fstat(fd, &st) < 0 ||
		file_write(fd, "\0\0\0", (size_t)(-st.st_size & 3)) < 0 ||
		file_write(fd, archive.data, archive.len) < 0)
		return err_errno(e, "cannot put our archive behind the image's initrd");
	return 0;
}

/* Fetches what the image starts with. Without a boot entry, a kernel that was named is enough. */
static int fetch_kernel(struct guest *g, const char *dir, struct err *e)
{
	int r;

	if (!g->link)
		return g->o->kernel ? 0
				    : err_set(e, -ENOENT,
					      "%s is no image in a store, so no kernel belongs to "
					      "it: --disk starts it as a whole disk, --kernel FILE "
					      "with another kernel",
					      g->o->link);
	r = boot_fetch(g->link, &g->o->image, dir, g->o->memory, g->messages, g->until_ms, e);
	if (r == -ENOENT && g->o->kernel)
		return 0;
	return r == -ENOENT ? err_set(e, r,
				      "the image has no boot entry of type linux: --disk starts it "
				      "as a whole disk, --kernel FILE with another kernel")
			    : r;
}

static int prepare_direct(struct guest *g, struct err *e)
{
	struct qemu *q = g->own;
	_cleanup_free_ char *dir = file_path("%s/boot", g->dir),
			    *fetched = file_path("%s/boot/kernel", g->dir);
	int r;

	q->initrd = file_path("%s/boot/initrd", g->dir);
	if (!dir || !fetched || !q->initrd)
		return err_set(e, -ENOMEM, "no memory");
	if (mkdir(dir, 0700) < 0)
		return err_errno(e, "cannot make a folder for the kernel");
	r = fetch_kernel(g, dir, e);
	if (r < 0)
		return r;
	q->kernel = strdup(g->o->kernel ? g->o->kernel : fetched);
	if (!q->kernel || access(q->kernel, R_OK) < 0)
		return err_errno(e, "cannot read the kernel %s",
			g->o->kernel ? g->o->kernel : "of the image's boot entry");
	r = access(q->initrd, F_OK) < 0 ? initramfs_write(q->initrd, NULL, NULL, e)
					: append_archive(q->initrd, e);
	return r < 0 ? r : write_words(g, e);
}

/* UEFI wants to write to its variables: it gets its own, which are gone at the end. */
static int copy_variables(const struct guest *g, struct err *e)
{
	_cleanup_buf_ struct buf variables = BUF_INIT(FIRMWARE_MAX);
	_cleanup_free_ char *path = file_path("%s/variables", g->dir);

	if (!path || file_load(AT_FDCWD, FIRMWARE_VARIABLES, &variables, e) < 0)
		return -EIO;
	return file_save(AT_FDCWD, path, variables.data, variables.len, FILE_PRIVATE, e);
}

static int prepare(struct guest *g, struct err *e)
{
	struct qemu *q = g->own;
	int r = 0;

	if (g->overlay)
		r = overlay_prepare(g->o->overlay, g->disk_here,
			g->feed->image.version ? &g->feed->image : NULL, e);
	else if (g->o->whole_disk)
		r = q->temporary = overlay_temporary(g->disk_here, e);
	if (r >= 0)
		r = is_direct(g->o) ? prepare_direct(g, e) : g->o->uefi ? copy_variables(g, e) : 0;
	return r < 0 ? r : 0;
}

/* ---- what QEMU is started with ---- */

static int give(struct keeper *k, int fd)
{
	k->fds[k->fd_count] = fd;
	return KEEPER_FIRST_FD + (int)k->fd_count++;
}

/* A file or disk as a node NAME-file of QEMU's. more: ",KEY=VALUE...". */
static void add_file(struct arguments *a, const char *name, const char *path, const char *more)
{
	_cleanup_buf_ struct buf text = BUF_INIT(65536);
	struct stat st;

	for (const char *p = path; *p; p++)
		a->full |= buf_append(&text, ",,", *p == ',' ? 2 : 0) < 0 ||
			   (*p != ',' && buf_append(&text, p, 1) < 0);
	arguments_add(a, "-blockdev");
	arguments_printf(a, "driver=%s,node-name=%s-file,filename=%.*s%s",
		!stat(path, &st) && S_ISBLK(st.st_mode) ? "host_device" : "file", name,
		(int)text.len, (char *)text.data, more);
}

static void add_raw(struct arguments *a, const char *name, const char *path, bool writable)
{
	add_file(a, name, path, writable ? ",discard=unmap" : ",read-only=on");
	arguments_add(a, "-blockdev");
	arguments_printf(a, "driver=raw,node-name=%s,file=%s-file,%s", name, name,
		writable ? "discard=unmap" : "read-only=on");
}

/* Returns the node of the disk. What lies over it says nothing about what is below: it is told
 * here. */
static const char *add_disk(struct arguments *a, const struct guest *g, struct keeper *k)
{
	const struct qemu *q = g->own;
	_cleanup_free_ char *temporary =
		q->temporary < 0 ? NULL : file_path("/proc/self/fd/%d", give(k, q->temporary));

	add_raw(a, "disk", g->disk, false);
	if (!g->overlay && !temporary)
		return "disk";
	add_file(a, "overlay", temporary ? temporary : g->overlay, ",discard=unmap");
	arguments_add(a, "-blockdev");
	arguments_add(
		a, "driver=qcow2,node-name=overlay,file=overlay-file,backing=disk,discard=unmap");
	return "overlay";
}

/* A CD is one; all else is a stick, which can be read-only, too. */
static void add_medium(struct arguments *a, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char magic[5] = "";

	add_raw(a, "medium", path, false);
	if (fd >= 0 && !file_pread(fd, magic, sizeof(magic), ISO_MAGIC) &&
		!memcmp(magic, "CD001", sizeof(magic))) {
		arguments_add(a, "-device");
		arguments_add(a, "ide-cd,drive=medium,bootindex=0");
		return;
	}
	arguments_add(a, "-device");
	arguments_add(a, "qemu-xhci");
	arguments_add(a, "-device");
	arguments_add(a, "usb-storage,drive=medium,bootindex=0");
}

/* Two guests with one address would be none. */
static int add_network(struct arguments *a, const struct guest *g, struct keeper *k,
	int *connection, struct err *e)
{
	uint8_t b[6];

	if (!g->network)
		return 0;
	*connection = unix_connect(g->network, SOCK_SEQPACKET);
	if (*connection < 0 || getrandom(b, sizeof(b), 0) != sizeof(b))
		return err_errno(e, "no connection to the guest's network");
	b[0] = (uint8_t)((b[0] & 0xfc) | 2); /* of nobody, for one machine */
	arguments_add(a, "-netdev");
	arguments_printf(a, "dgram,id=network,local.type=fd,local.str=%d", give(k, *connection));
	arguments_add(a, "-device");
	if (g->o->mac)
		arguments_printf(a, "%s,netdev=network,romfile=,mac=%s",
			g->o->whole_disk ? "e1000" : "virtio-net-pci", g->o->mac);
	else
		arguments_printf(a, "%s,netdev=network,romfile=,mac=%02x:%02x:%02x:%02x:%02x:%02x",
			g->o->whole_disk ? "e1000" : "virtio-net-pci", b[0], b[1], b[2], b[3], b[4],
			b[5]);
	return 0;
}

static void add_direct(struct arguments *a, const struct guest *g, struct keeper *k)
{
	const struct qemu *q = g->own;
	const char *disk = add_disk(a, g, k);

	arguments_add(a, "-no-reboot"); /* its kernel would be the same again */
	arguments_add(a, "-kernel");
	arguments_add(a, q->kernel);
	arguments_add(a, "-initrd");
	arguments_add(a, q->initrd);
	arguments_add(a, "-append");
	arguments_add(a, (char *)q->words.data);
	arguments_add(a, "-device");
	arguments_printf(a, "virtio-blk-pci,drive=%s,werror=report", disk);
	if (g->writes) {
		add_raw(a, "writes", g->writes, true);
		arguments_add(a, "-device");
		arguments_add(a, "virtio-blk-pci,drive=writes,werror=report");
	}
}

static void add_firmware(struct arguments *a, const struct guest *g, struct keeper *k)
{
	_cleanup_free_ char *variables = file_path("%s/variables", g->dir);

	if (g->o->uefi && variables) {
		add_raw(a, "firmware", FIRMWARE, false);
		add_raw(a, "variables", variables, true);
		arguments_add(a, "-machine");
		arguments_add(a, "pflash0=firmware,pflash1=variables");
	}
	arguments_add(a, "-device");
	arguments_add(a, "VGA");
	if (g->o->medium) {
		add_medium(a, g->o->medium);
	} else {
		const char *disk = add_disk(a, g, k);

		arguments_add(a, "-device");
		arguments_printf(a, "ide-hd,drive=%s,bootindex=0,werror=report", disk);
	}
}

static void add_machine(struct arguments *a, const struct guest *g, struct keeper *k, int commands)
{
	static const char *const words[] = {"-nodefaults", "-no-user-config", "-sandbox",
		"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", KVM_MACHINE, "-cpu", KVM_CPU, "-display", "none", "-chardev",
		"stdio,id=console,signal=off", "-serial", "chardev:console", "-device",
		"virtio-rng-pci"};
	const struct qemu *q = g->own;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	arguments_add(a, q->program);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		arguments_add(a, words[i]);
	arguments_add(a, "-accel");
	arguments_add(a, q->kvm ? "kvm" : "tcg,thread=multi");
	arguments_add(a, "-smp");
	arguments_printf(a, "%ld", cpus < 1 ? 1 : cpus < CPUS_MOST ? cpus : CPUS_MOST);
	arguments_add(a, "-m");
	arguments_printf(a, "%" PRIu64 "M", g->o->memory >> 20);
	arguments_add(a, "-name");
	arguments_add(a, g->o->name);
	arguments_add(a, "-chardev");
	arguments_printf(a, "socket,id=commands,fd=%d", give(k, commands));
	arguments_add(a, "-mon");
	arguments_add(a, "chardev=commands,mode=control");
}

/* A serial line says carriage return and newline itself. (QEMU asks for processing of output, but
 * not for which.) */
static void make_raw(int terminal)
{
	struct termios t;

	if (tcgetattr(terminal, &t) < 0)
		return;
	cfmakeraw(&t);
	t.c_oflag = 0;
	tcsetattr(terminal, TCSANOW, &t);
}

static int start(struct guest *g, pid_t *pid, struct err *e)
{
	const char *home = getenv("HOME");
	_cleanup_free_ char *own_home = file_path("HOME=%s", home ? home : "/");
	char *env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "TERM=linux", own_home, NULL};
	_cleanup_close_ int commands = -1, connection = -1;
	struct arguments a = {0};
	struct keeper k = {.argv = a.words, .env = env, .terminal = g->terminal};
	struct qemu *q = g->own;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, "no connection to QEMU");
	q->commands = pair[0];
	commands = pair[1];
	make_raw(g->terminal);
	if (g->disk_fd >= 0)
		give(&k, g->disk_fd); /* the first, as GUEST_DISK_FD */
	add_machine(&a, g, &k, commands);
	if (is_direct(g->o))
		add_direct(&a, g, &k);
	else
		add_firmware(&a, g, &k);
	r = add_network(&a, g, &k, &connection, e);
	if (!r && a.full)
		r = err_set(e, -E2BIG, "QEMU's command line is too long");
	if (!r)
		r = keeper_start(&k, pid, e);
	arguments_free(&a);
	return r;
}

static int ask(struct guest *g, struct err *e)
{
	const struct qemu *q = g->own;

	return qmp_command(q->commands, "system_powerdown", e);
}

/* A guest that panics starts again, which ends QEMU in order (-no-reboot). */
static enum machine_end judge(int status, const struct watch *w, struct err *e)
{
	if (!status && w->reason[0] && !w->shut_down) {
		err_set(e, -EIO, "the guest's kernel panicked: %s", w->reason);
		return MACHINE_PANIC;
	}
	if (!status)
		return MACHINE_CLEAN;
	if (status == 1 && !w->kernel_ms) {
		err_set(e, -EIO, "QEMU did not start; the last that it said: %s",
			w->last[0] ? w->last : "nothing");
		return MACHINE_NOT_STARTED;
	}
	err_set(e, -EIO, "QEMU ended with status %d", status);
	return MACHINE_KILLED;
}

static void release(struct guest *g)
{
	struct qemu *q = g->own;

	if (!q)
		return;
	if (q->commands >= 0)
		close(q->commands);
	if (q->temporary >= 0)
		close(q->temporary);
	free(q->program);
	free(q->kernel);
	free(q->initrd);
	buf_free(&q->words);
	free(q);
	g->own = NULL;
}

const struct engine engine_qemu = {
	.name = "qemu",
	.memory = 1ULL << 30,
	.check = check,
	.find = find,
	.prepare = prepare,
	.start = start,
	.ask = ask,
	.judge = judge,
	.release = release,
};
