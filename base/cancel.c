#include "base/cancel.h"

#include <stdatomic.h>

static atomic_bool requested;

void cancel_request(void)
{
	requested = true;
}

bool cancel_requested(void)
{
	return requested;
}
