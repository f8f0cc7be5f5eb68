/* The parts of the switch that do no I/O: names, addresses of stations, frames, DHCP and DNS. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "network/address_table.h"
#include "network/dhcp.h"
#include "network/dns.h"
#include "network/ethernet.h"
#include "network/ipv6.h"
#include "network/names.h"

static const uint8_t one[ETHERNET_ADDRESS] = {2, 0, 0, 0, 0, 1},
		     two[ETHERNET_ADDRESS] = {2, 0, 0, 0, 0, 2};

static void test_names(void **state)
{
	static const struct {
		const char *given, *clean;
	} cases[] = {{"Debian", "debian"}, {"a.example.org", "a"}, {"-a_b-", "ab"}, {"", ""},
		{"---", ""}, {".a", ""}, {"a b\n", "ab"}};
	char name[NAME_MAX_LEN + 1], long_name[200];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		name_clean(name, cases[i].given, strlen(cases[i].given));
		assert_string_equal(name, cases[i].clean);
		assert_int_equal(name_valid(cases[i].given),
			*cases[i].given && !strcmp(cases[i].given, cases[i].clean));
	}
	memset(long_name, 'x', sizeof(long_name));
	name_clean(name, long_name, sizeof(long_name));
	assert_int_equal(strlen(name), NAME_MAX_LEN);
	name_clean(name, "ab\0cd", 5);
	assert_string_equal(name, "ab");
}

static void test_stations(void **state)
{
	struct address_table t = {0};
	uint8_t many[ETHERNET_ADDRESS] = {2, 1};

	assert_int_equal(address_table_find(&t, one, ETHERNET_ADDRESS), -1);
	assert_int_equal(address_table_learn(&t, 3, one, ETHERNET_ADDRESS, 1), 0);
	assert_int_equal(address_table_find(&t, one, ETHERNET_ADDRESS), 3);
	assert_int_equal(address_table_learn(&t, 4, one, ETHERNET_ADDRESS, 2), -EADDRINUSE);
	for (unsigned i = 1; i < ADDRESSES_PER_PORT; i++) {
		many[5] = (uint8_t)i;
		assert_int_equal(address_table_learn(&t, 3, many, ETHERNET_ADDRESS, 2), 0);
	}
	assert_int_equal(address_table_learn(&t, 3, two, ETHERNET_ADDRESS, 2), -ENOSPC);
	assert_int_equal(address_table_learn(&t, 3, one, ETHERNET_ADDRESS, ADDRESS_AGE_MS), 0);
	/* the others are old by now, and what is used is not */
	assert_int_equal(address_table_learn(&t, 3, two, ETHERNET_ADDRESS, ADDRESS_AGE_MS + 2), 0);
	assert_int_equal(address_table_find(&t, one, ETHERNET_ADDRESS), 3);
	/* nobody else's, however long it is silent, until its place was needed */
	assert_int_equal(address_table_find(&t, many, ETHERNET_ADDRESS), 3);
	assert_int_equal(address_table_learn(&t, 4, many, ETHERNET_ADDRESS, 3 * ADDRESS_AGE_MS), -EADDRINUSE);
	many[5] = 1;
	assert_int_equal(address_table_find(&t, many, ETHERNET_ADDRESS), -1);
	assert_int_equal(address_table_learn(&t, 4, many, ETHERNET_ADDRESS, ADDRESS_AGE_MS + 2), 0);
	address_table_forget(&t, 3);
	assert_int_equal(address_table_find(&t, one, ETHERNET_ADDRESS), -1);
	assert_int_equal(address_table_find(&t, many, ETHERNET_ADDRESS), 4);
}

static size_t frame_of(uint8_t *frame, const char *text)
{
	struct datagram d = {.source = 0x0a00020f,
		.destination = 0x0a000203,
		.source_port = 1,
		.destination_port = 2,
		.len = strlen(text)};

	memcpy(frame + UDP_HEADS, text, strlen(text));
	return datagram_frame(frame, &d, one, two);
}

static void test_frames(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} wrong[] = {
		{12, 0x86},                /* not IPv4 */
		{ETHERNET_HEAD, 0x65},     /* version 6 */
		{ETHERNET_HEAD, 0x44},     /* a head that is too short */
		{ETHERNET_HEAD, 0x4f},     /* one that is longer than the packet */
		{ETHERNET_HEAD + 3, 27},   /* a packet that is shorter than its heads */
		{ETHERNET_HEAD + 3, 200},  /* longer than the frame */
		{ETHERNET_HEAD + 6, 0x20}, /* the first fragment */
		{ETHERNET_HEAD + 7, 1},    /* another one */
		{ETHERNET_HEAD + 9, 6},    /* TCP */
		{ETHERNET_HEAD + 25, 7},   /* a datagram that is shorter than its head */
		{ETHERNET_HEAD + 25, 200}, /* longer than the packet */
	};
	uint8_t frame[200], changed[200];
	size_t len = frame_of(frame, "text");
	struct datagram d;
	uint32_t address;

	assert_true(ethernet_valid(frame, len));
	assert_true(ethernet_claim(frame, len, &address));
	assert_int_equal(address, 0x0a00020f);
	assert_true(datagram_parse(&d, frame, len));
	assert_int_equal(d.len, 4);
	assert_memory_equal(d.data, "text", 4);
	assert_int_equal(d.destination, 0x0a000203);
	assert_true(datagram_parse(&d, frame, len + 20)); /* padding */
	assert_int_equal(d.len, 4);
	for (size_t cut = 0; cut < len; cut++)
		assert_false(datagram_parse(&d, frame, cut));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memcpy(changed, frame, sizeof(changed));
		changed[wrong[i].at] = wrong[i].value;
		assert_false(datagram_parse(&d, changed, len));
	}
	memcpy(changed, frame, sizeof(changed));
	memcpy(changed + 12, (uint8_t[]){0x81, 0}, 2); /* a VLAN's tag would hide the rest */
	assert_false(ethernet_valid(changed, len));
	memcpy(changed + 12, (uint8_t[]){0x08, 0x06}, 2); /* ARP of another station */
	assert_false(ethernet_valid(changed, len));
	memcpy(changed + ETHERNET_HEAD + 8, one, ETHERNET_ADDRESS);
	assert_true(ethernet_valid(changed, len));
	assert_false(ethernet_valid(frame, ETHERNET_HEAD - 1));
	assert_false(ethernet_valid(frame, ETHERNET_MOST + 1));
	memset(frame + ETHERNET_ADDRESS, 0, ETHERNET_ADDRESS);
	assert_false(ethernet_valid(frame, len));
	frame[ETHERNET_ADDRESS] = 0xff;
	assert_false(ethernet_valid(frame, len));
}

/* What only the switch and its uplink may say. */
static void test_services(void **state)
{
	uint8_t frame[300];
	struct datagram d = {.source = 1, .destination = 2, .source_port = 67, .destination_port = 68, .len = 4};
	size_t len = datagram_frame(frame, &d, one, two);

	assert_true(ethernet_is_service(frame, len));
	assert_true(ethernet_may_leave(frame, len));
	frame[ETHERNET_HEAD + 6] = 0x20; /* the first fragment */
	assert_true(ethernet_is_service(frame, len));
	assert_false(ethernet_may_leave(frame, len));
	frame[ETHERNET_HEAD + 7] = 1; /* another one has no ports */
	assert_false(ethernet_is_service(frame, len));
	d.source_port = 68;
	assert_false(ethernet_is_service(frame, datagram_frame(frame, &d, one, two)));
}

/* Behind heads (how many, which): a router's advertisement, a redirect, an answer of DHCPv6, which are the uplink's; a packet of
 * neither kind. */
static void test_ipv6_services(void **state)
{
	static const uint8_t heads[][9] = {
		{0, 0}, {1, 0}, {1, 60}, {2, 0, 43}, {3, 44, 0, 60},
	};
	uint8_t frame[300] = {0, [12] = 0x86, 0xdd};
	struct ipv6_claims claims;

	memcpy(frame + ETHERNET_ADDRESS, one, sizeof(one));
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		for (int what = 0; what < 4; what++) {
			uint8_t *ip = frame + ETHERNET_HEAD, *next = ip + 6, *at = ip + 40;
			size_t len;

			memset(ip, 0, sizeof(frame) - ETHERNET_HEAD);
			for (unsigned k = 1; k <= heads[i][0]; k++) {
				*next = heads[i][k];
				next = at;
				at[1] = heads[i][k] == 44 ? 77 : k == 1;
				at += heads[i][k] == 44 || k > 1 ? 8 : 16;
			}
			*next = what == 2 ? 17 : 58;
			at[0] = what == 0 ? 134 : what == 1 ? 137 : what == 2 ? 547 >> 8 : 128;
			at[1] = what == 2 ? 547 & 0xff : 0;
			len = (size_t)(at + 8 - frame);
			assert_int_equal(ipv6_parse(&claims, frame, len), what == 3);
			assert_true(ethernet_may_leave(frame, len));
			for (const uint8_t *cut = frame + ETHERNET_HEAD; cut < at; cut++)
				assert_false(ipv6_parse(&claims, frame, (size_t)(cut - frame)));
		}
}

#define ND 54 /* where it begins in a frame */

/* A message with an option about a station: frame is from `one`. Returns the frame's length. */
static size_t discovery(uint8_t *frame, unsigned kind, uint8_t source, uint8_t target, unsigned option, const uint8_t *station)
{
	size_t head = kind == 133 ? 8 : 24;

	memset(frame, 0, 120);
	memcpy(frame + ETHERNET_ADDRESS, one, sizeof(one));
	store_be16(frame + 12, ETHERNET_IPV6);
	frame[14] = 0x60;
	store_be16(frame + 18, (uint16_t)(head + 8));
	frame[20] = 58;
	frame[14 + 8 + 15] = source;
	frame[ND] = (uint8_t)kind;
	frame[ND + 8 + 15] = target;
	frame[ND + head] = (uint8_t)option;
	frame[ND + head + 1] = 1;
	memcpy(frame + ND + head + 2, station, sizeof(one));
	return ND + head + 8;
}

static void test_discovery(void **state)
{
	uint8_t frame[120];
	struct ipv6_claims c;
	size_t len = discovery(frame, 136, 7, 8, 2, one);

	assert_true(ipv6_parse(&c, frame, len));
	assert_true(c.discovery && c.source == frame + 22 && c.target == frame + ND + 8);
	for (size_t cut = ETHERNET_HEAD; cut < len; cut++)
		assert_int_equal(ipv6_parse(&c, frame, cut), cut == len - 8); /* it may be without the option */
	frame[ND + 25] = 0; /* an option without a length, one that goes beyond the end */
	assert_false(ipv6_parse(&c, frame, len));
	frame[ND + 25] = 2;
	assert_false(ipv6_parse(&c, frame, len));
	assert_false(ipv6_parse(&c, frame, discovery(frame, 136, 7, 8, 2, two)));
	assert_false(ipv6_parse(&c, frame, discovery(frame, 136, 0, 8, 2, one))); /* from nobody */
	assert_false(ipv6_parse(&c, frame, discovery(frame, 135, 7, 8, 1, two)));
	assert_false(ipv6_parse(&c, frame, discovery(frame, 133, 7, 0, 1, two)));
	assert_true(ipv6_parse(&c, frame, discovery(frame, 133, 7, 0, 1, one)));
	assert_true(c.discovery && c.source && !c.target);
	assert_true(ipv6_parse(&c, frame, discovery(frame, 135, 7, 8, 1, one))); /* who looks for another one claims only what is his */
	assert_true(c.source && !c.target);
	assert_true(ipv6_parse(&c, frame, discovery(frame, 135, 0, 8, 1, one)));
	assert_true(!c.source && c.target == frame + ND + 8);
	/* In a fragment it would have to be put together first. */
	len = discovery(frame, 136, 7, 8, 2, one);
	memmove(frame + ND + 8, frame + ND, len - ND);
	memcpy(frame + ND, (uint8_t[]){58, 0, 0, 1, 0, 0, 0, 0}, 8);
	frame[20] = 44;
	store_be16(frame + 18, (uint16_t)(len + 8 - ND));
	assert_false(ipv6_parse(&c, frame, len + 8));
}

static void test_dhcp(void **state)
{
	static const struct dhcp_answer answer = {.address = 0x0a00020f,
		.server = 0x0a000202,
		.mask = 0xffffff00,
		.resolver = 1,
		.domain = "d",
		.name = "n"};
	uint8_t request[260] = {1, 1, 6, [236] = 0x63, 0x82, 0x53, 0x63, 53, 1, DHCP_REQUEST, 0, 12,
		3, 'A', '.', 'b', 50, 4, 10, 0, 2, 15, 255};
	uint8_t out[DHCP_ANSWER_MAX];
	struct dhcp_request r;

	assert_true(dhcp_parse(&r, request, sizeof(request)));
	assert_int_equal(r.kind, DHCP_REQUEST);
	assert_int_equal(r.wanted, answer.address);
	assert_string_equal(r.name, "a");
	dhcp_reply(out, &r, &answer);
	assert_int_equal(out[0], 2);
	assert_int_equal(load_be32(out + 16), answer.address);
	assert_int_equal(out[242], DHCP_ACK);
	r.wanted++;
	dhcp_reply(out, &r, &answer);
	assert_int_equal(out[242], DHCP_NAK);
	assert_int_equal(load_be32(out + 16), 0);
	r.kind = DHCP_DISCOVER;
	dhcp_reply(out, &r, &answer);
	assert_int_equal(out[242], DHCP_OFFER);
	assert_false(dhcp_parse(&r, request, 239));
	request[245] = 200; /* a name that goes beyond the end */
	assert_false(dhcp_parse(&r, request, sizeof(request)));
	request[242] = DHCP_RELEASE;
	request[245] = 3;
	assert_false(dhcp_parse(&r, request, sizeof(request)));
}

static bool ask(struct dns_question *q, const char *name, size_t len)
{
	static uint8_t message[400];

	memset(message, 0, 12);
	message[5] = 1;
	memcpy(message + 12, name, len);
	memcpy(message + 12 + len, "\0\1\0\1", 4);
	return dns_parse(q, message, 16 + len);
}

#define ASK(name) ask(&q, name, sizeof(name))

static void test_dns(void **state)
{
	uint8_t out[DNS_ANSWER_MAX];
	struct dns_question q;
	char longest[301];

	assert_true(ASK("\1A\10inetBoot"));
	assert_true(q.ours && q.address);
	assert_string_equal(q.name, "a");
	assert_int_equal(dns_answer(out, &q, DNS_FOUND, 0x0a00020f), q.len + 16);
	assert_int_equal(load_be32(out + q.len + 12), 0x0a00020f);
	assert_int_equal(dns_answer(out, &q, DNS_NO_SUCH_NAME, 0), q.len);
	assert_int_equal(out[3] & 15, DNS_NO_SUCH_NAME);
	assert_true(ASK("\1b\1a\10inetboot") && q.ours && !*q.name);
	assert_true(ASK("\10inetboot") && q.ours && !*q.name);
	assert_true(ASK("\3a_b\10inetboot") && q.ours && !*q.name);
	assert_true(ASK("\1a\7example") && !q.ours && !*q.name);
	assert_true(ASK("") && !q.ours);
	assert_false(ASK("\300\14"));     /* a reference, to itself */
	assert_false(ask(&q, "\77a", 2)); /* a label that goes beyond the end */
	memset(longest, 1, sizeof(longest) - 1);
	longest[300] = 0;
	assert_false(ask(&q, longest, sizeof(longest)));
	for (size_t len = 0; len < 16; len++)
		assert_false(
			dns_parse(&q, (const uint8_t *)"\0\1\0\0\0\1\0\0\0\0\0\0\0\0\1\0\1", len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_stations),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_services),
		cmocka_unit_test(test_ipv6_services),
		cmocka_unit_test(test_discovery),
		cmocka_unit_test(test_dhcp),
		cmocka_unit_test(test_dns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
