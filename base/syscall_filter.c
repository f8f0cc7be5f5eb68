/* The system call filter: see syscall_filter.h. libseccomp knows the numbers of each architecture, and refuses calls of others.
 *
 * Pointers cannot be looked at: which file and which address is Landlock's business. clone3() hides its flags behind one, so
 * it does not exist here, and the C library goes back to clone(). */
#include "base/syscall_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <netinet/in.h>

#define SOCKET_KIND 0xf /* of socket()'s type; the rest are flags */
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const int allowed[] = {
	/* files */
	SCMP_SYS(access), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2), SCMP_SYS(fadvise64), SCMP_SYS(fadvise64_64), SCMP_SYS(fallocate), SCMP_SYS(fdatasync), SCMP_SYS(flock),
	SCMP_SYS(fstat), SCMP_SYS(fstat64), SCMP_SYS(fstatat64), SCMP_SYS(fstatfs), SCMP_SYS(fstatfs64), SCMP_SYS(fsync),
	SCMP_SYS(ftruncate), SCMP_SYS(ftruncate64), SCMP_SYS(getcwd), SCMP_SYS(getdents), SCMP_SYS(getdents64), SCMP_SYS(_llseek),
	SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(lseek), SCMP_SYS(lstat), SCMP_SYS(lstat64), SCMP_SYS(mkdir), SCMP_SYS(mkdirat),
	SCMP_SYS(newfstatat), SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(pipe), SCMP_SYS(pipe2), SCMP_SYS(pread64), SCMP_SYS(preadv),
	SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(read), SCMP_SYS(readahead), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
	SCMP_SYS(readv), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(rmdir), SCMP_SYS(splice), SCMP_SYS(stat),
	SCMP_SYS(stat64), SCMP_SYS(statfs), SCMP_SYS(statfs64), SCMP_SYS(statx), SCMP_SYS(tee), SCMP_SYS(truncate),
	SCMP_SYS(truncate64), SCMP_SYS(umask), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(vmsplice), SCMP_SYS(write),
	SCMP_SYS(writev),
	/* waiting */
	SCMP_SYS(epoll_create), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_wait), SCMP_SYS(eventfd2), SCMP_SYS(_newselect), SCMP_SYS(pause), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(pselect6), SCMP_SYS(select), SCMP_SYS(wait4), SCMP_SYS(waitid),
	/* connections; socket() is below */
	SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(getpeername), SCMP_SYS(getsockname), SCMP_SYS(getsockopt), SCMP_SYS(recvfrom),
	SCMP_SYS(recvmmsg), SCMP_SYS(recvmsg), SCMP_SYS(setsockopt), SCMP_SYS(shutdown),
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(mincore), SCMP_SYS(mremap), SCMP_SYS(munmap), SCMP_SYS(mlock), SCMP_SYS(munlock),
	/* threads, signals, time */
	SCMP_SYS(arch_prctl), SCMP_SYS(clock_getres), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(futex), SCMP_SYS(futex_time64), SCMP_SYS(getcpu), SCMP_SYS(getegid), SCMP_SYS(geteuid),
	SCMP_SYS(getgid), SCMP_SYS(getgroups), SCMP_SYS(getpgrp), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getpriority),
	SCMP_SYS(getrandom), SCMP_SYS(getresgid), SCMP_SYS(getresuid), SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(gettid),
	SCMP_SYS(gettimeofday), SCMP_SYS(getuid), SCMP_SYS(membarrier), SCMP_SYS(nanosleep), SCMP_SYS(restart_syscall), SCMP_SYS(rseq),
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigpending), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigsuspend),
	SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler),
	SCMP_SYS(sched_yield), SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(setsid), SCMP_SYS(sigaltstack),
	SCMP_SYS(sigreturn), SCMP_SYS(sysinfo), SCMP_SYS(time), SCMP_SYS(times), SCMP_SYS(ugetrlimit), SCMP_SYS(uname),
};

static const int for_servers[] = {SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(sendfile), SCMP_SYS(sendfile64)};

static const int deadly[] = {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
	SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount), SCMP_SYS(fspick), SCMP_SYS(mount_setattr), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(setns),
	SCMP_SYS(unshare), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(init_module), SCMP_SYS(finit_module),
	SCMP_SYS(delete_module), SCMP_SYS(bpf), SCMP_SYS(userfaultfd), SCMP_SYS(pidfd_getfd), SCMP_SYS(open_by_handle_at),
	SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(setuid), SCMP_SYS(setgid),
	SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setgroups), SCMP_SYS(capset),
#if !SANITIZED
	SCMP_SYS(ptrace),
#endif
};

#if SANITIZED
static const int for_sanitizers[] = {SCMP_SYS(clone), SCMP_SYS(fork), SCMP_SYS(ptrace), SCMP_SYS(kill), SCMP_SYS(tgkill), SCMP_SYS(prctl),
	SCMP_SYS(prlimit64), SCMP_SYS(setrlimit), SCMP_SYS(personality), SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(ioctl)};
#endif

static const unsigned long ioctls[] = {FIONBIO, FIONREAD, FIOCLEX, FIONCLEX, TCGETS, TIOCGWINSZ, SIOCGIFINDEX, SIOCGIFNAME, SIOCOUTQ,
	FUSE_DEV_IOC_CLONE};

static const int fcntls[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK,
	F_OFD_SETLK, F_OFD_SETLKW, F_GETPIPE_SZ, F_SETPIPE_SZ};

static const int prctls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS,
	PR_GET_SECCOMP, PR_CAPBSET_READ, PR_SET_VMA};

struct filter {
	scmp_filter_ctx ctx;
	int result; /* the first error */
};

/* What an architecture does not have is no error. */
static void add(struct filter *f, uint32_t action, int call, unsigned count, const struct scmp_arg_cmp *arguments)
{
	int r = f->result;

	if (!r && call != __NR_SCMP_ERROR)
		r = seccomp_rule_add_array(f->ctx, action, call, count, arguments);
	f->result = r == -EDOM ? 0 : r;
}

static void add_all(struct filter *f, uint32_t action, const int *calls, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add(f, action, calls[i], 0, NULL);
}

#define allow_where(f, call, ...)                                                                                                  \
	add(f, SCMP_ACT_ALLOW, call, COUNT(((const struct scmp_arg_cmp[]){__VA_ARGS__})), (const struct scmp_arg_cmp[]){__VA_ARGS__})

static void allow_echo(struct filter *f)
{
	allow_where(f, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_INET), SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_KIND, SOCK_DGRAM),
		SCMP_A2(SCMP_CMP_EQ, IPPROTO_ICMP));
	allow_where(f, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_INET6), SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_KIND, SOCK_DGRAM),
		SCMP_A2(SCMP_CMP_EQ, IPPROTO_ICMPV6));
}

static void allow_sockets(struct filter *f)
{
	static const int families[] = {AF_INET, AF_INET6};
	static const struct {
		uint64_t kind, protocol;
	} kinds[] = {{SOCK_STREAM, 0}, {SOCK_STREAM, IPPROTO_TCP}, {SOCK_DGRAM, 0}, {SOCK_DGRAM, IPPROTO_UDP}};

	for (size_t i = 0; i < COUNT(families); i++)
		for (size_t k = 0; k < COUNT(kinds); k++)
			allow_where(f, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, (uint64_t)families[i]),
				SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_KIND, kinds[k].kind), SCMP_A2(SCMP_CMP_EQ, kinds[k].protocol));
	/* The resolver asks which addresses this machine has. */
	allow_where(f, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE));
}

/* A connection in the first packet would go past Landlock. */
static void allow_sending(struct filter *f)
{
	allow_where(f, SCMP_SYS(sendto), SCMP_A3(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0));
	allow_where(f, SCMP_SYS(sendmsg), SCMP_A2(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0));
	allow_where(f, SCMP_SYS(sendmmsg), SCMP_A3(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0));
	/* libcurl wakes its loop up through a pair; a stream cannot be connected elsewhere. */
	allow_where(f, SCMP_SYS(socketpair), SCMP_A0(SCMP_CMP_EQ, AF_UNIX), SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_KIND, SOCK_STREAM));
}

static void allow_memory(struct filter *f)
{
	static const int maps[] = {SCMP_SYS(mmap), SCMP_SYS(mmap2)};

	for (size_t i = 0; i < COUNT(maps); i++) {
		allow_where(f, maps[i], SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
		allow_where(f, maps[i], SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC)); /* libraries */
	}
	allow_where(f, SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/* Signals to itself; and signal 0, by which the cache finds out who is dead. */
static void allow_self(struct filter *f)
{
	uint64_t self = (uint64_t)getpid();

	allow_where(f, SCMP_SYS(kill), SCMP_A0(SCMP_CMP_EQ, self));
	allow_where(f, SCMP_SYS(kill), SCMP_A1(SCMP_CMP_EQ, 0));
	allow_where(f, SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, self));
	allow_where(f, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	allow_where(f, SCMP_SYS(prlimit64), SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0));
	for (size_t i = 0; i < COUNT(prctls); i++)
		allow_where(f, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, (uint64_t)prctls[i]));
}

static void allow_descriptors(struct filter *f)
{
	allow_where(f, SCMP_SYS(utimensat), SCMP_A1(SCMP_CMP_EQ, 0)); /* of an open file */
	for (size_t i = 0; i < COUNT(ioctls); i++)
		allow_where(f, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
	for (size_t i = 0; i < COUNT(fcntls); i++) {
		allow_where(f, SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, (uint64_t)fcntls[i]));
		allow_where(f, SCMP_SYS(fcntl64), SCMP_A1(SCMP_CMP_EQ, (uint64_t)fcntls[i]));
	}
}

static void fill(struct filter *f, const struct sandbox_rules *rules)
{
	add_all(f, SCMP_ACT_ALLOW, allowed, COUNT(allowed));
	add_all(f, SANITIZED ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS, deadly, COUNT(deadly));
#if SANITIZED
	add_all(f, SCMP_ACT_ALLOW, for_sanitizers, COUNT(for_sanitizers));
#endif
	if (!SANITIZED) {
		allow_memory(f);
		allow_self(f);
	}
	allow_sending(f);
	allow_descriptors(f);
	if (rules->unix_sockets)
		allow_where(f, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_UNIX), SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_KIND, SOCK_STREAM));
	if (rules->network)
		allow_sockets(f);
	if (rules->network && rules->any_port)
		allow_echo(f);
	if (rules->serve)
		add_all(f, SCMP_ACT_ALLOW, for_servers, COUNT(for_servers));
}

int syscall_filter_enter(const struct sandbox_rules *rules)
{
	struct filter f = {.ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS))};
	int r;

	if (!f.ctx)
		return -ENOMEM;
	seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_NNP, 0);
	seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	seccomp_attr_set(f.ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree instead of a list */
	seccomp_attr_set(f.ctx, SCMP_FLTATR_API_SYSRAWRC, 1);
	fill(&f, rules);
	r = f.result ? f.result : seccomp_load(f.ctx);
	seccomp_release(f.ctx);
	return r;
}
