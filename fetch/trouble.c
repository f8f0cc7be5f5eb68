/* Telling of trouble: see trouble.h. */
#include "fetch/trouble.h"

#include "base/clock.h"
#include "base/log.h"

void trouble_tell(struct quest *q, const char *url, const char *text)
{
	struct origin *o = q->origin;
	uint64_t limit_ms = q->deadline_ms ? q->deadline_ms - q->start_ms : 0;
	char others[64] = "";
	bool first;

	pthread_mutex_lock(&o->lock);
	first = !o->trouble;
	if (first) {
		o->trouble = true;
		o->trouble_since_ms = q->failing_since_ms;
		snprintf(o->trouble_text, sizeof(o->trouble_text), "%.180s: %s", url, text);
	}
	if (o->count > 1)
		snprintf(others, sizeof(others), " (and %zu other mirrors do not help)", o->count - 1);
	pthread_mutex_unlock(&o->lock);
	if (first && limit_ms)
		log_warning("%s: %s%s; trying again for %.1f s", url, text, others, (double)limit_ms / 1000.0);
	else if (first)
		log_warning("%s: %s%s; waiting for it to return", url, text, others);
}

void trouble_tell_end(struct origin *o, const char *url)
{
	uint64_t since = 0;

	pthread_mutex_lock(&o->lock);
	if (o->trouble && !o->stats.gone) {
		o->trouble = false;
		since = o->trouble_since_ms;
	}
	pthread_mutex_unlock(&o->lock);
	if (since)
		log_info("%s answers again, after %.1f s", url, (double)(clock_ms() - since) / 1000.0);
}
