/* Trying KVM: see kvm.h. The guest is a firmware that writes to a port, which ends QEMU with a
 * status that tells of it. */
#include "machine/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define FIRMWARE_LEN 65536
#define RESET 0xfff0 /* where the processor begins */
#define WRITTEN 0x10
#define STATUS (WRITTEN << 1 | 1) /* as isa-debug-exit has it */

static int write_firmware(const char *path, struct err *e)
{
	static const uint8_t code[] = {
		0xb0, WRITTEN, 0xe6, 0xf4, 0xf4}; /* mov $WRITTEN, %al; out %al, $0xf4; hlt */
	_cleanup_free_ uint8_t *firmware = calloc(1, FIRMWARE_LEN);

	if (!firmware)
		return err_set(e, -ENOMEM, "no memory");
	memcpy(firmware + RESET, code, sizeof(code));
	return file_save(AT_FDCWD, path, firmware, FIRMWARE_LEN, FILE_PRIVATE, e);
}

__attribute__((noreturn)) static void run(const char *program, const char *firmware)
{
	_cleanup_close_ int none = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(none, STDIN_FILENO);
	dup2(none, STDOUT_FILENO);
	dup2(none, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	execl(program, program, "-nodefaults", "-no-user-config", "-machine", KVM_MACHINE, "-accel",
		"kvm", "-cpu", KVM_CPU, "-m", "2M", "-display", "none", "-bios", firmware,
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4", (char *)NULL);
	_exit(127);
}

bool kvm_works(const char *program, const char *dir, struct err *e)
{
	_cleanup_free_ char *firmware = file_path("%s/probe", dir);
	_cleanup_close_ int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), ended = -1;
	struct pollfd wait = {.events = POLLIN};
	int status = 0;
	pid_t pid;

	if (kvm < 0) {
		err_errno(e, "/dev/kvm");
		return false;
	}
	if (!firmware || write_firmware(firmware, e) < 0)
		return false;
	pid = fork();
	if (!pid)
		run(program, firmware);
	wait.fd = ended = pid > 0 ? pidfd_open(pid, 0) : -1;
	if (pid > 0 && (ended < 0 || poll(&wait, 1, KVM_TRY_S * 1000) <= 0))
		kill(pid, SIGKILL);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	unlink(firmware);
	if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == STATUS)
		return true;
	err_set(e, -ENODEV, "a guest that was tried does not run");
	return false;
}
