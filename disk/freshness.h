/* Is a version that is signed right still the one to use? Its publisher may have said until when (`expires`); this machine's clock may
 * be wrong. */
#ifndef DISK_FRESHNESS_H
#define DISK_FRESHNESS_H

#include <stdbool.h>

#include "base/err.h"
#include "format/manifest.h"

/* Warns about a version that has expired, and about a clock that shows a time before the version was made. strict: an error (-EKEYEXPIRED)
 * where it has expired, and where that cannot be told: the clock is wrong, or the version comes from a copy because no server answered,
 * and has no date of expiry. */
int freshness_check(const struct manifest *m, bool from_copy, bool strict, struct err *e);

#endif
