/* Looking for programs. Any thread. */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

/* The path of a program by its name, in the folders of PATH (or the usual ones). Allocated; NULL: it is in none of them. */
char *program_path(const char *name);

#endif
