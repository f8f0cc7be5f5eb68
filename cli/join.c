/* inetboot join: another program as a guest of a network. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/unix_socket.h"
#include "cli/cli.h"
#include "cli/start_switch.h"
#include "network/meeting.h"

#define GUEST_FD 3 /* what the program gets */

static const char help[] =
	"Usage: inetboot join [--network NAME] COMMAND [ARGUMENT]...\n\n"
	"Runs a program as a guest of a network of machines: with a connection to the network's switch as its descriptor 3, on which each\n"
	"message is an Ethernet frame. The switch is started where none runs, and stays as long as the program does.\n\n"
	"  --network NAME       the network (default: " NETWORK_DEFAULT ")\n"
	"  --help               this text\n\n"
	"Example, a machine of qemu (from 7.2 on):\n"
	"  inetboot join qemu-system-x86_64 -m 1G -hda disk.img -netdev dgram,id=n,local.type=fd,local.str=3 -device virtio-net,netdev=n\n";

/* Joins, and makes it the descriptor that the program expects. The membership is the program's from then on: both outlive exec. */
static int become_guest(const char *network, struct err *e)
{
	struct membership m = MEMBERSHIP_INIT;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	int r = meeting_join(&m, network, cli_start_switch, e);

	if (r < 0) {
		membership_end(&m);
		return r;
	}
	path = file_path("%s/" NETWORK_SOCKET, m.folder);
	fd = path ? unix_connect(path, SOCK_SEQPACKET) : -1;
	if (fd < 0) {
		r = err_errno(e, "cannot connect to the network's switch at %s/" NETWORK_SOCKET, m.folder);
		membership_end(&m);
		return r;
	}
	/* Not below another's number: either may have this one. */
	m.lock = fcntl(m.lock, F_DUPFD, GUEST_FD + 1);
	r = fcntl(fd, F_DUPFD_CLOEXEC, GUEST_FD + 1);
	if (m.lock < 0 || r < 0 || dup2(r, GUEST_FD) < 0)
		return err_errno(e, "cannot hand the connection on");
	if (fd == GUEST_FD)
		fd = -1;
	return 0;
}

int cmd_join(int argc, char **argv)
{
	static const struct option options[] = {{"network", required_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *network = NETWORK_DEFAULT;
	struct err e = ERR_INIT;
	int code;

	while ((code = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		if (code == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (code == '?')
			return cli_bad_option("join", argv);
		network = optarg;
		if (cli_network("join", network))
			return EXIT_USAGE;
	}
	if (argc == optind)
		return cli_usage("join", "a command is needed");
	if (become_guest(network, &e) < 0)
		return cli_fail(&e);
	execvp(argv[optind], argv + optind);
	err_errno(&e, "cannot run %s", argv[optind]);
	return cli_fail(&e);
}
