/* The cage: see sandbox.h. Capabilities go by system calls: libcap would bring nothing but names for them. */
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/landlock.h"
#include "base/log.h"
#include "base/syscall_filter.h"

#define CAPABILITIES 64 /* that the kernel's interface has room for */

static struct {
	bool entered, ports_bound;
	uint16_t ports[SANDBOX_PORTS_MAX];
	size_t port_count;
	char status[96];
} state = {.status = "none"}; /* written once, before there are threads */

void sandbox_add_path(struct sandbox_rules *rules, const char *path, enum sandbox_access access)
{
	char *copy;

	if (!path || rules->path_count == SANDBOX_PATHS_MAX)
		return;
	copy = strdup(path);
	if (!copy) {
		rules->incomplete = true;
		return;
	}
	rules->paths[rules->path_count].path = copy;
	rules->paths[rules->path_count++].access = access;
}

void sandbox_add_port(struct sandbox_rules *rules, unsigned port)
{
	if (port && port <= UINT16_MAX && rules->port_count < SANDBOX_PORTS_MAX)
		rules->ports[rules->port_count++] = (uint16_t)port;
}

void sandbox_rules_free(struct sandbox_rules *rules)
{
	for (size_t i = 0; i < rules->path_count; i++)
		free(rules->paths[i].path);
	*rules = (struct sandbox_rules){0};
}

static int set_capabilities(uint64_t effective, uint64_t permitted)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{.effective = (uint32_t)effective, .permitted = (uint32_t)permitted},
		{.effective = (uint32_t)(effective >> 32), .permitted = (uint32_t)(permitted >> 32)},
	};

	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

static uint64_t permitted_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &head, data) < 0)
		return 0;
	return (uint64_t)data[1].permitted << 32 | data[0].permitted;
}

/* Is there something in the rules that cannot be used as it is meant to be? */
static bool shut_out(const struct sandbox_rules *rules)
{
	for (size_t i = 0; i < rules->path_count; i++) {
		int mode = rules->paths[i].access == SANDBOX_WRITE ? R_OK | W_OK : R_OK;

		if (faccessat(AT_FDCWD, rules->paths[i].path, mode, AT_EACCESS) < 0 && errno == EACCES)
			return true;
	}
	return false;
}

static int drop_capabilities(const struct sandbox_rules *rules, bool *kept)
{
	uint64_t override = UINT64_C(1) << CAP_DAC_OVERRIDE & permitted_capabilities();
	int r;

	for (unsigned cap = 0; cap < CAPABILITIES; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* takes CAP_SETPCAP: best effort, no_new_privs says the same */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	r = set_capabilities(0, override);
	*kept = !r && override && shut_out(rules);
	return r < 0 ? r : set_capabilities(*kept ? override : 0, *kept ? override : 0);
}

static void note_ports(const struct sandbox_rules *rules)
{
	state.ports_bound = true;
	state.port_count = rules->port_count;
	memcpy(state.ports, rules->ports, sizeof(state.ports));
}

static void enter_layers(const struct sandbox_rules *rules, bool kept)
{
	char landlock[24] = "", *syscalls = "";
	int r = landlock_enter(rules);

	if (r <= 0)
		log_debug("no Landlock: %s", r ? strerror(-r) : "the kernel has none, or an old one");
	else
		snprintf(landlock, sizeof(landlock), ", landlock %d", r);
	if (r >= LANDLOCK_PORTS && !rules->any_port)
		note_ports(rules);
	r = syscall_filter_enter(rules);
	if (r < 0)
		log_debug("no filter of system calls: %s", strerror(-r));
	else
		syscalls = ", seccomp";
	snprintf(state.status, sizeof(state.status), "capabilities dropped%s%s%s", kept ? " but dac_override" : "", syscalls, landlock);
}

int sandbox_enter(const struct sandbox_rules *rules, struct err *e)
{
	const char *off = getenv("INETBOOT_NO_SANDBOX");
	bool kept;
	int r;

	if (state.entered)
		return 0;
	if (off && *off) {
		log_debug("no sandbox: INETBOOT_NO_SANDBOX is set");
		return 0;
	}
	if (rules->incomplete)
		return err_set(e, -ENOMEM, "no memory for the list of what this process may use");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, "cannot give up gaining privileges");
	r = drop_capabilities(rules, &kept);
	if (r < 0)
		return err_set(e, r, "cannot drop capabilities: %s", strerror(-r));
	state.entered = true;
	enter_layers(rules, kept);
	log_debug("sandbox: %s", state.status);
	return 0;
}

const char *sandbox_status(void)
{
	return state.status;
}

bool sandbox_port_allowed(unsigned port)
{
	if (!state.ports_bound)
		return true;
	for (size_t i = 0; i < state.port_count; i++)
		if (state.ports[i] == port)
			return true;
	return false;
}
