#include "base/cancel.h"

#include <signal.h>
#include <stdatomic.h>

static atomic_bool requested;

void cancel_request(void)
{
	requested = true;
}

static void on_signal(int number)
{
	cancel_request();
}

void cancel_on(int signal)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};

	sigaction(signal, &action, NULL);
}

bool cancel_requested(void)
{
	return requested;
}
