/* A cage for a process that parses what comes from outside: after sandbox_enter() it can compute, use the files and the network that
 * the rules name, and nothing else. Four layers, each of which holds when another one fails, and each left out (with a line for
 * --verbose) where the kernel has it not:
 *
 *	no_new_privs	no program gains rights by being started
 *	capabilities	all dropped, from the bounding set, too. One exception: who has CAP_DAC_OVERRIDE and cannot reach a folder
 *			of the rules without it (root with the folders of somebody else) keeps that
 *	seccomp		an allow list of system calls: see syscall_filter.h
 *	Landlock	files, TCP ports, signals and abstract sockets by name: see landlock.h
 *
 * There is no way back. INETBOOT_NO_SANDBOX in the environment (any value but the empty one) makes sandbox_enter() do nothing. */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SANDBOX_PATHS_MAX 32
#define SANDBOX_PORTS_MAX 128

enum sandbox_access {
	SANDBOX_LIST,  /* a folder: names in it, no file's content */
	SANDBOX_READ,  /* a file, or a folder with all below it */
	SANDBOX_WRITE, /* a folder with all below it: read, make, replace and remove files and folders */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* their run-time libraries fork, trace, look around when the program ends, and take all memory */
#else
#define SANITIZED 0
#endif

struct sandbox_rules { /* initialise with {0} */
	struct {
		char *path; /* owned */
		enum sandbox_access access;
	} paths[SANDBOX_PATHS_MAX];
	size_t path_count;
	bool network; /* may make sockets at all */
	bool any_port; /* with network: TCP connections to all ports, and ICMP echo: what a gateway for others needs */
	bool unix_sockets; /* may connect to Unix sockets, which Landlock does not tell apart */
	bool serve;   /* may take connections at sockets that listen already */
	uint16_t ports[SANDBOX_PORTS_MAX]; /* to which TCP connections may be made */
	size_t port_count;
	bool incomplete; /* there was no memory for one of them: sandbox_enter() then fails, or a server could seem gone for ever */
};

/* Both take what does not fit, or a NULL path, as nothing to add: then less is allowed. A path need not exist; if it is a
 * symbolic link, what it leads to now counts. */
void sandbox_add_path(struct sandbox_rules *rules, const char *path, enum sandbox_access access);
void sandbox_add_port(struct sandbox_rules *rules, unsigned port);
void sandbox_rules_free(struct sandbox_rules *rules);

/* Enters. What every program needs comes in addition to the rules: to read /etc (the resolver's and the certificates' files are replaced
 * while we run, so single files would not do), the libraries, certificate authorities and time zones.
 * Call it before there are threads: capabilities and Landlock are the calling thread's, and those it starts later. Files that are
 * open stay usable. Fails only where the process would go on with rights that it must not have. A second call does nothing. */
int sandbox_enter(const struct sandbox_rules *rules, struct err *e);

/* What is in force, for people: "capabilities dropped, seccomp, landlock 7", or "none". Any thread. */
const char *sandbox_status(void);

/* May a TCP connection be made to this port? True outside. Any thread. */
bool sandbox_port_allowed(unsigned port);

#endif
