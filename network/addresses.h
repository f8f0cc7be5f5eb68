/* The addresses of a network of guests: 10.0.2.0/24, the same in each, and seen inside only. As
 * numbers in the host's order. */
#ifndef NETWORK_ADDRESSES_H
#define NETWORK_ADDRESSES_H

#include <stdint.h>

#define NET_ADDRESS 0x0a000200U
#define NET_MASK 0xffffff00U
#define NET_GATEWAY (NET_ADDRESS + 2)  /* the way out, and the host's own loopback; DHCP */
#define NET_RESOLVER (NET_ADDRESS + 3) /* DNS */
#define NET_GUEST_FIRST (NET_ADDRESS + 15)
#define NET_GUEST_LAST (NET_ADDRESS + 199)
#define NET_KEPT_FIRST (NET_ADDRESS + 200) /* for guests whose names --forward gives */
#define NET_KEPT_LAST (NET_ADDRESS + 231)

#define NET_PREFIX6 0xfec0U /* of IPv6, /64: the gateway is ::2 in it and in fe80::, the resolver ::3 */

/* libslirp's stations have Ethernet addresses that start so: by IPv4 address, by IPv6 address. */
#define NET_UPLINK_MAC 0x5255U
#define NET_UPLINK_MAC6 0x5256U

#endif
