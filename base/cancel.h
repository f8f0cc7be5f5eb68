/* "Stop what you are doing", said by a signal's handler, once for the whole process. Work that may
 * take long asks for it in between, and what waits in a system call gives up when the signal
 * interrupts that (install handlers without SA_RESTART). */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <stdbool.h>

void cancel_request(void);   /* may be called from a signal handler */
void cancel_on(int signal);  /* this one requests it from now on; the second of its kind ends the process as ever */
bool cancel_requested(void); /* any thread */

#endif
