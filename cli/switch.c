/* inetboot switch: the Ethernet switch of a network of machines. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/background.h"
#include "cli/cli.h"
#include "network/meeting.h"
#include "network/switch.h"

static const char help[] =
	"Usage: inetboot switch [OPTION]...\n\n"
	"An Ethernet switch for the machines of `inetboot boot`, without privileges: they get "
	"addresses by DHCP, reach each other by\n"
	"name (NAME.inetboot) and this host as host.inetboot, and the networks that this host "
	"reaches. `boot` starts one by itself\n"
	"where none runs; this command is for those who want other settings.\n\n"
	"  --network NAME       the network's name, for boot's --network (default: " NETWORK_DEFAULT
	")\n"
	"  --isolated           for the machines among themselves: no way to this host and out\n"
	"  --forward PROTOCOL:ADDRESS:PORT=GUEST:PORT\n"
	"                       PROTOCOL is tcp or udp: what comes to that address and port of "
	"this host goes to the guest of that name;\n"
	"                       may be repeated\n"
	"  --on-demand          end when the last machine has left\n"
	"  --detach             run in the background\n"
	"  --help               this text\n\n"
	"Ends at SIGINT (Ctrl-C) or SIGTERM. Prints the socket's path.\n\n"
	"Example: inetboot switch --network lab --isolated --forward tcp:127.0.0.1:8080=web:80\n";

enum { OPT_NETWORK = 256, OPT_ISOLATED, OPT_FORWARD, OPT_ON_DEMAND, OPT_DETACH };

static const struct option options[] = {
	{"network", required_argument, NULL, OPT_NETWORK},
	{"isolated", no_argument, NULL, OPT_ISOLATED},
	{"forward", required_argument, NULL, OPT_FORWARD},
	{"on-demand", no_argument, NULL, OPT_ON_DEMAND},
	{"detach", no_argument, NULL, OPT_DETACH},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static bool parse_port(const char *text, uint16_t *out)
{
	uint64_t number;

	if (text_to_u64(text, &number) < 0 || !number || number > UINT16_MAX)
		return false;
	*out = (uint16_t)number;
	return true;
}

/* PROTOCOL:ADDRESS:PORT=GUEST:PORT; the text is cut into pieces. */
static bool parse_forward(char *text, struct switch_forward *out)
{
	char *guest = text, *host, *protocol, *address, *name;
	struct in_addr in;

	host = strsep(&guest, "=");
	protocol = strsep(&host, ":");
	address = strsep(&host, ":");
	name = strsep(&guest, ":");
	if (!host || !guest || !address || inet_pton(AF_INET, address, &in) != 1 ||
		strlen(name) > NAME_MAX_LEN || !name_valid(name))
		return false;
	out->f.udp = !strcmp(protocol, "udp");
	out->f.host = ntohl(in.s_addr);
	snprintf(out->guest, sizeof(out->guest), "%s", name);
	return (out->f.udp || !strcmp(protocol, "tcp")) && parse_port(host, &out->f.host_port) &&
	       parse_port(guest, &out->f.guest_port);
}

static int add_forward(struct switch_options *o, char *text)
{
	if (o->forward_count == SWITCH_FORWARDS_MAX)
		return cli_usage("switch", "more than %d times --forward", SWITCH_FORWARDS_MAX);
	if (!parse_forward(text, &o->forwards[o->forward_count]))
		return cli_usage("switch", "--forward takes tcp:ADDRESS:PORT=GUEST:PORT, like "
					   "tcp:127.0.0.1:8080=web:80");
	o->forward_count++;
	return 0;
}

struct switching {
	struct switch_options o;
	struct background background;
	bool detach;
};

static void ready(void *context, const char *path)
{
	struct switching *s = context;

	printf("%s\n", path);
	fflush(stdout);
	if (s->detach)
		background_ready(&s->background, NULL);
}

static int take_option(void *context, int code, char *value)
{
	struct switching *s = context;

	switch (code) {
	case OPT_NETWORK:
		s->o.network = value;
		return cli_network("switch", value);
	case OPT_ISOLATED:
		s->o.isolated = true;
		return 0;
	case OPT_FORWARD:
		return add_forward(&s->o, value);
	case OPT_ON_DEMAND:
		s->o.on_demand = true;
		return 0;
	default:
		s->detach = true;
		return 0;
	}
}

int cmd_switch(int argc, char **argv)
{
	struct switching s = {.o = {.network = NETWORK_DEFAULT, .ready = ready, .context = &s}};
	struct err e = ERR_INIT;
	int r;

	r = cli_options(argc, argv, "h", options, help, take_option, &s);
	if (r >= 0)
		return r;
	if (argc != optind)
		return cli_usage("switch", "it takes no arguments");
	for (size_t i = 0; s.o.isolated && i < s.o.forward_count; i++)
		if (s.o.forwards[i].f.udp)
			return cli_usage("switch", "--isolated lets no answer to --forward udp:... out");
	if (s.detach) {
		r = background_start(&s.background);
		if (r >= 0)
			return r;
	}
	prctl(PR_SET_NAME, "inetboot-switch"); /* boot starts it by a path that says nothing */
	if (switch_run(&s.o, &e) < 0) {
		err_add(&e, "no switch for the network %s", s.o.network);
		return cli_fail(&e);
	}
	return EXIT_OK;
}
