/* JSON with a bound: see json_bounded.h. In front of each value but the first stands a comma, a colon or an opening bracket. Those inside
 * of strings are counted, too: it is a bound, not a number. */
#include "format/json_bounded.h"

#include <errno.h>

static size_t values_most(const char *text, size_t len)
{
	size_t n = 1;

	for (size_t i = 0; i < len; i++)
		n += text[i] == ',' || text[i] == ':' || text[i] == '[' || text[i] == '{';
	return n;
}

int json_bounded(json_t **out, const char *text, size_t len, size_t most, struct err *e)
{
	json_error_t why;

	if (values_most(text, len) > most)
		return err_set(e, -EFBIG, "more than %zu values", most);
	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	return *out ? 0 : err_set(e, -EINVAL, "not JSON: line %d: %s", why.line, why.text);
}
