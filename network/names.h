/* Names of guests, and questions about them. No I/O, no allocation. */
#ifndef NETWORK_NAMES_H
#define NETWORK_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define NAME_MAX_LEN 63 /* of a label in DNS */
#define NAMES_DOMAIN "inetboot"

/* Makes a name of bytes that may be anything: letters become small, a name ends at its first dot,
 * and what is neither letter, digit nor
 * '-' is left out, as is a '-' at either end. out has room for NAME_MAX_LEN + 1 bytes and is ""
 * where nothing is left. */
void name_clean(char *out, const char *text, size_t len);

/* Is it what name_clean() makes of itself, and not empty? */
bool name_valid(const char *text);

#endif
