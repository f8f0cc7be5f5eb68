/* Children of this process: see child.h. */
#include "base/child.h"

#include <sys/wait.h>

bool child_ended(pid_t pid)
{
	siginfo_t ended = {0};

	return pid > 0 && !waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) && ended.si_pid;
}
