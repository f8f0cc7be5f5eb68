/* Unix sockets at a path. Any thread. */
#ifndef BASE_UNIX_SOCKET_H
#define BASE_UNIX_SOCKET_H

/* type: as of socket(2), SOCK_CLOEXEC is added. A descriptor; or -errno (which is set, too): -ENAMETOOLONG for a path that does not fit into an
 * address. Whoever listens removes what was left at the path himself. */
int unix_listen(const char *path, int type, int backlog);
int unix_connect(const char *path, int type);

#endif
