/* The heap, tuned for a process with a bound on its memory and many threads. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#define HEAP_MAP_FROM (260u << 10) /* bytes: larger blocks have pages of their own, and give them back at once */

/* Call before there are threads. Few arenas: each keeps what is free in it to itself. The stacks of threads that are started without a
 * size of their own become small: the deepest path is the resolver's. */
void heap_tune(void);

#endif
