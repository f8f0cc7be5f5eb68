/* Changes of the network: see network_watch.h. */
#include "fetch/network_watch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define SETTLE_US 100000 /* a change comes as a heap of events */
#define QUIET_US 2000000 /* between two tellings: a host that starts containers has events all the time */
#define SLEPT_US 2000000

static int64_t time_asleep(void)
{
	struct timespec boot, awake;

	if (clock_gettime(CLOCK_BOOTTIME, &boot) < 0 || clock_gettime(CLOCK_MONOTONIC, &awake) < 0)
		return 0;
	return ((int64_t)boot.tv_sec - awake.tv_sec) * 1000000 + (boot.tv_nsec - awake.tv_nsec) / 1000;
}

void network_watch_open(struct network_watch *w)
{
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};

	*w = (struct network_watch){.asleep_us = time_asleep()};
	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (w->fd >= 0 && bind(w->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		network_watch_close(w);
	if (w->fd < 0)
		log_debug("changes of this machine's addresses will not be noticed: %s", strerror(errno));
}

void network_watch_close(struct network_watch *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

/* Of links, only those that come up count: what goes down takes its addresses with it, or comes back. */
static bool matters(const struct nlmsghdr *m)
{
	const struct ifinfomsg *link = NLMSG_DATA(m);
	const struct rtmsg *route = NLMSG_DATA(m);

	switch (m->nlmsg_type) {
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return true;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return m->nlmsg_len >= NLMSG_LENGTH(sizeof(*route)) && route->rtm_type == RTN_UNICAST;
	case RTM_NEWLINK:
		return m->nlmsg_len >= NLMSG_LENGTH(sizeof(*link)) && (link->ifi_flags & IFF_RUNNING);
	default:
		return false;
	}
}

static bool read_events(struct network_watch *w)
{
	_Alignas(struct nlmsghdr) char data[16384];
	bool changed = false;
	ssize_t n;

	while (w->fd >= 0 && (n = recv(w->fd, data, sizeof(data), 0)) != 0) {
		size_t left = n < 0 ? 0 : (size_t)n;

		if (n < 0 && errno == ENOBUFS) { /* there were more than fit */
			changed = true;
			continue;
		}
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			network_watch_close(w);
		if (n < 0 && errno != EINTR)
			break;
		for (struct nlmsghdr *m = (struct nlmsghdr *)data; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left))
			changed |= matters(m);
	}
	return changed;
}

enum network_news network_watch_look(struct network_watch *w, uint64_t now_us)
{
	int64_t asleep = time_asleep();
	bool slept = asleep - w->asleep_us > SLEPT_US;

	w->asleep_us = asleep;
	if (read_events(w) && !w->due_us)
		w->due_us = w->told_us && now_us < w->told_us + QUIET_US ? w->told_us + QUIET_US : now_us + SETTLE_US;
	if (!slept && (!w->due_us || now_us < w->due_us))
		return NETWORK_SAME;
	w->due_us = 0;
	w->told_us = now_us;
	return slept ? NETWORK_SLEPT : NETWORK_CHANGED;
}

int network_watch_wait_ms(const struct network_watch *w, uint64_t now_us)
{
	if (!w->due_us)
		return -1;
	return w->due_us > now_us ? (int)((w->due_us - now_us) / 1000) + 1 : 0;
}
