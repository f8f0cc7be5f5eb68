/* DNS: see dns.h. */
#include "network/dns.h"

#include <string.h>
#include <strings.h>

#include "base/bytes.h"

#define HEAD 12
#define LABEL_MAX 63
#define NAME_BYTES_MAX 255
#define TYPE_ADDRESS 1
#define CLASS_INTERNET 1
#define RECORD 16              /* bytes of an address, with its name as a reference */
#define FLAG_QUERY_MASK 0xf800 /* an answer, or another operation */
#define FLAG_ANSWER 0x8400     /* by who is responsible for it */
#define FLAG_RECURSION_WANTED 0x0100
#define FLAG_RECURSION 0x0080
#define LIFE_S 5 /* guests come and go */

/* The last two labels decide: they are remembered. A question has no reason for references. Returns
 * what is behind the name, or 0. */
static size_t read_name(struct dns_question *q, const uint8_t *data, size_t len)
{
	const uint8_t *last = NULL, *before = NULL;
	size_t at = HEAD, labels = 0;

	while (at < len && data[at]) {
		if (data[at] > LABEL_MAX || data[at] >= len - at ||
			at + data[at] - HEAD > NAME_BYTES_MAX)
			return 0;
		before = last;
		last = data + at;
		labels++;
		at += 1 + (size_t)data[at];
	}
	if (at >= len)
		return 0;
	q->ours = last && last[0] == strlen(NAMES_DOMAIN) &&
		  !strncasecmp((const char *)last + 1, NAMES_DOMAIN, last[0]);
	if (q->ours && labels == 2)
		name_clean(q->name, (const char *)before + 1, before[0]);
	/* a name that had to be changed is nobody's */
	if (strlen(q->name) != (q->ours && labels == 2 ? before[0] : 0))
		q->name[0] = 0;
	return at + 1;
}

bool dns_parse(struct dns_question *q, const uint8_t *data, size_t len)
{
	size_t end;

	*q = (struct dns_question){.data = data};
	if (len < HEAD || load_be16(data + 2) & FLAG_QUERY_MASK || load_be16(data + 4) != 1)
		return false;
	end = read_name(q, data, len);
	if (!end || len - end < 4)
		return false;
	q->address = load_be16(data + end) == TYPE_ADDRESS &&
		     load_be16(data + end + 2) == CLASS_INTERNET;
	q->len = end + 4;
	return true;
}

size_t dns_answer(
	uint8_t *out, const struct dns_question *q, enum dns_result result, uint32_t address)
{
	bool found = result == DNS_FOUND && q->address;
	uint8_t *record = out + q->len;

	memcpy(out, q->data, q->len);
	store_be16(
		out + 2, (uint16_t)(FLAG_ANSWER | (load_be16(q->data + 2) & FLAG_RECURSION_WANTED) |
				    FLAG_RECURSION | (unsigned)result));
	store_be16(out + 6, found);
	memset(out + 8, 0, 4);
	if (!found)
		return q->len;
	store_be16(record, 0xc000 | HEAD); /* the question's name */
	store_be16(record + 2, TYPE_ADDRESS);
	store_be16(record + 4, CLASS_INTERNET);
	store_be32(record + 6, LIFE_S);
	store_be16(record + 10, 4);
	store_be32(record + 12, address);
	return q->len + RECORD;
}
