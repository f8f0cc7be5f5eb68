/*
 * Can a file in $TMPDIR (default /dev/shm) be mapped executable? User-Mode Linux keeps the guest's memory in such a file.
 *
 * Exit status: 0 yes, 1 no, 77 there is no such directory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	const char *directory = getenv("TMPDIR") ? getenv("TMPDIR") : "/dev/shm";
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	void *map;

	if (fd < 0) {
		printf("no file can be made in %s: %s\n", directory, strerror(errno));
		return 77;
	}
	if (ftruncate(fd, 4096) < 0) {
		printf("%s is full: %s\n", directory, strerror(errno));
		return 1;
	}
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		printf("a file in %s cannot be mapped executable: %s\n", directory, strerror(errno));
		return 1;
	}
	printf("files in %s can be mapped executable\n", directory);
	return 0;
}
