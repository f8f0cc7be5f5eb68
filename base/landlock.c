/* Landlock: see landlock.h. A ruleset names the rights that it restricts ("handled"); what is handled and not allowed by a rule is
 * refused with EACCES. A rule for a folder holds for all below it. */
#include "base/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* The same numbers on all architectures. */
#define NR_CREATE_RULESET 444
#define NR_ADD_RULE 445
#define NR_RESTRICT_SELF 446
#define ASK_VERSION 1
#define RULE_PATH 1
#define RULE_PORT 2
#define VERSION_KNOWN 7 /* a newer kernel is used like this one */

enum file_right {
	RIGHT_EXECUTE = 1 << 0,
	RIGHT_WRITE_FILE = 1 << 1,
	RIGHT_READ_FILE = 1 << 2,
	RIGHT_READ_DIR = 1 << 3,
	RIGHT_REMOVE_DIR = 1 << 4,
	RIGHT_REMOVE_FILE = 1 << 5,
	RIGHT_MAKE_DIR = 1 << 7,
	RIGHT_MAKE_REG = 1 << 8,
	RIGHT_REFER = 1 << 13,	   /* version 2: rename and link into another folder */
	RIGHT_TRUNCATE = 1 << 14,  /* version 3 */
	RIGHT_IOCTL_DEV = 1 << 15, /* version 5: ioctl() of devices */
	RIGHTS_V2 = (1 << 14) - 1, /* all up to RIGHT_REFER */
};

enum { PORT_BIND = 1 << 0, PORT_CONNECT = 1 << 1 };
enum { SCOPE_ABSTRACT_SOCKET = 1 << 0, SCOPE_SIGNAL = 1 << 1 };

struct ruleset_attributes {
	uint64_t files, ports, scopes; /* what is handled; older kernels take the longer struct where the rest is zero */
};

struct path_rule {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

struct port_rule {
	uint64_t allowed, port;
};

static const struct {
	const char *path;
	enum sandbox_access access;
} always[] = {
	{"/etc", SANDBOX_READ},
	{"/lib", SANDBOX_READ}, /* modules of the name service and of OpenSSL are loaded when they are needed */
	{"/lib64", SANDBOX_READ},
	{"/usr/lib", SANDBOX_READ},
	{"/usr/lib64", SANDBOX_READ},
	{"/usr/local/lib", SANDBOX_READ},
	{"/nix/store", SANDBOX_READ},
	{"/gnu/store", SANDBOX_READ},
	{"/usr/share/ca-certificates", SANDBOX_READ},
	{"/usr/local/share/ca-certificates", SANDBOX_READ},
	{"/usr/share/pki", SANDBOX_READ},
	{"/var/lib/ca-certificates", SANDBOX_READ},
	{"/usr/share/zoneinfo", SANDBOX_READ},
	{"/run/systemd/resolve", SANDBOX_READ}, /* where /etc/resolv.conf may lead */
	{"/run/NetworkManager", SANDBOX_READ},
	{"/run/resolvconf", SANDBOX_READ},
	{"/run/connman", SANDBOX_READ},
	{"/dev/urandom", SANDBOX_READ},
	{"/dev/null", SANDBOX_WRITE},
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	{"/proc", SANDBOX_READ}, /* their run-time libraries look at the process */
#endif
};

static uint64_t handled_files(int version)
{
	uint64_t rights = RIGHTS_V2;

	if (version >= 3)
		rights |= RIGHT_TRUNCATE;
	if (version >= 5)
		rights |= RIGHT_IOCTL_DEV;
	return rights;
}

static uint64_t rights_of(enum sandbox_access access, mode_t mode)
{
	uint64_t rights = 0;

	if (access >= SANDBOX_READ)
		rights |= RIGHT_READ_FILE;
	if (access >= SANDBOX_WRITE)
		rights |= RIGHT_WRITE_FILE | RIGHT_TRUNCATE;
	if (!S_ISDIR(mode)) /* the kernel refuses rights that only folders have */
		return rights;
	rights |= RIGHT_READ_DIR;
	if (access >= SANDBOX_WRITE)
		rights |= RIGHT_MAKE_REG | RIGHT_MAKE_DIR | RIGHT_REMOVE_FILE | RIGHT_REMOVE_DIR | RIGHT_REFER;
	return rights;
}

static int allow_path(int ruleset, uint64_t handled, const char *path, enum sandbox_access access)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct path_rule rule = {.fd = fd};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0; /* what cannot be reached needs no rule */
	rule.allowed = rights_of(access, st.st_mode) & handled;
	return rule.allowed && syscall(NR_ADD_RULE, ruleset, RULE_PATH, &rule, 0) < 0 ? -errno : 0;
}

static int allow_port(int ruleset, uint16_t port)
{
	struct port_rule rule = {.allowed = PORT_CONNECT, .port = port};

	return syscall(NR_ADD_RULE, ruleset, RULE_PORT, &rule, 0) < 0 ? -errno : 0;
}

static int add_rules(int ruleset, const struct ruleset_attributes *a, const struct sandbox_rules *rules)
{
	int r = 0;

	for (size_t i = 0; !r && i < sizeof(always) / sizeof(always[0]); i++)
		r = allow_path(ruleset, a->files, always[i].path, always[i].access);
	for (size_t i = 0; !r && i < rules->path_count; i++)
		r = allow_path(ruleset, a->files, rules->paths[i].path, rules->paths[i].access);
	for (size_t i = 0; !r && a->ports & PORT_CONNECT && i < rules->port_count; i++)
		r = allow_port(ruleset, rules->ports[i]);
	return r;
}

int landlock_enter(const struct sandbox_rules *rules)
{
	long version = syscall(NR_CREATE_RULESET, NULL, (size_t)0, ASK_VERSION);
	struct ruleset_attributes a = {0};
	_cleanup_close_ int ruleset = -1;
	int r;

	if (version < LANDLOCK_LEAST)
		return 0;
	if (version > VERSION_KNOWN)
		version = VERSION_KNOWN;
	a.files = handled_files((int)version);
	if (version >= LANDLOCK_PORTS)
		a.ports = rules->any_port ? PORT_BIND : PORT_BIND | PORT_CONNECT;
	if (version >= LANDLOCK_SCOPES)
		a.scopes = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
	ruleset = (int)syscall(NR_CREATE_RULESET, &a, sizeof(a), 0);
	if (ruleset < 0)
		return -errno;
	r = add_rules(ruleset, &a, rules);
	if (!r && syscall(NR_RESTRICT_SELF, ruleset, 0) < 0)
		r = -errno;
	return r < 0 ? r : (int)version;
}
