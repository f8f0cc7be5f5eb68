/* The two lines that people get about trouble: one when no mirror has answered a request for TROUBLE_MS, one when an
 * answer came and nobody waits any more. Once per origin, however many requests wait. Internal to fetch/. */
#ifndef FETCH_TROUBLE_H
#define FETCH_TROUBLE_H

#include "fetch/quest.h"

#define TROUBLE_MS 1000

void trouble_tell(struct quest *q, const char *url, const char *text);
void trouble_tell_end(struct origin *o, const char *url);

#endif
