/* Children of this process. Any thread. */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

/* Has this child ended, and nobody waited for it yet? False for what is no child; 0 and -1 are none. Somebody can still wait for it. */
bool child_ended(pid_t pid);

#endif
