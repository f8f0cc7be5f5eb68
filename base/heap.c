/* The heap: see heap.h. The GNU C library would have eight arenas for each processor, raise the size from which blocks have pages of
 * their own up to 32 MiB as it sees them come and go, and give threads 8 MiB of stack. */
#include "base/heap.h"

#include <malloc.h>
#include <pthread.h>

#define ARENAS 2
#define TRIM_FROM (1 << 20)   /* bytes that are free at the top before they are given back */
#define STACK (512u << 10) /* bytes */

void heap_tune(void)
{
	pthread_attr_t attr;

#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, ARENAS);
	mallopt(M_MMAP_THRESHOLD, HEAP_MAP_FROM);
	mallopt(M_TRIM_THRESHOLD, TRIM_FROM);
#endif
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
}
