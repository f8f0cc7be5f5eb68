/* Notices that this machine's way to the network has changed: an address came or went, a link came up, a route changed (rtnetlink), or the
 * machine slept (the clock that counts sleep went ahead of the one that does not). Where netlink cannot be used, sleep alone is
 * noticed. One thread. Internal to fetch/. */
#ifndef FETCH_NETWORK_WATCH_H
#define FETCH_NETWORK_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct network_watch {
	int fd; /* readable when there is news; -1: no netlink */
	uint64_t due_us; /* when the news that came is told; 0: none came */
	uint64_t told_us;
	int64_t asleep_us; /* of CLOCK_BOOTTIME, ahead of CLOCK_MONOTONIC */
};

enum network_news { NETWORK_SAME, NETWORK_CHANGED, NETWORK_SLEPT };

void network_watch_open(struct network_watch *w);
void network_watch_close(struct network_watch *w);

/* Has something changed? Events come in heaps, and are told once, some 100 ms after the first. now_us: clock_us(). */
enum network_news network_watch_look(struct network_watch *w, uint64_t now_us);

/* In how many ms to look again although fd is not readable; -1: no need to. */
int network_watch_wait_ms(const struct network_watch *w, uint64_t now_us);

#endif
