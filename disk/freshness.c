/* Freshness: see freshness.h. */
#include "disk/freshness.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "base/log.h"

#define CLOCK_SLACK (24 * 3600) /* seconds between honest clocks: time zones that are set wrong, publishers that are ahead */

static int complain(bool strict, const struct err *what, struct err *e)
{
	if (!strict)
		log_warning("%s", what->text);
	return strict ? err_set(e, what->code, "%s", what->text) : 0;
}

int freshness_check(const struct manifest *m, bool from_copy, bool strict, struct err *e)
{
	int64_t now = time(NULL), until = m->expires[0] ? manifest_time(m->expires) : -1;
	struct err what = ERR_INIT;
	char shown[32] = "no time at all";

	manifest_time_text(shown, now);
	if (now + CLOCK_SLACK < manifest_time(m->created)) {
		err_set(&what, -EKEYEXPIRED, "this machine's clock is wrong: it shows %s, but version %" PRIu64 " of %s was made on %s%s", shown,
			m->version, m->name, m->created, until >= 0 ? ", so nobody can tell whether it has expired" : "");
		return complain(strict && until >= 0, &what, e);
	}
	if (until >= 0 && now > until) {
		err_set(&what, -EKEYEXPIRED, "version %" PRIu64 " of %s expired on %s (it is %s now); its publisher may have a newer one",
			m->version, m->name, m->expires, shown);
		return complain(strict, &what, e);
	}
	if (strict && from_copy && until < 0)
		return err_set(e, -EKEYEXPIRED,
			"no server answers, and version %" PRIu64 " of %s in the cache does not say until when it is good: without --strict "
			"it would be used",
			m->version, m->name);
	return 0;
}
