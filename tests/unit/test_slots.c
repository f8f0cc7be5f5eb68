/* Request slots, by a pipe in place of /dev/fuse; and a worker that is killed while it reads. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "disk/pin.h"
#include "export/slots.h"

struct device { /* datagrams: one read() gives one request, like the real one */
	int kernel, device;
};

static struct device open_device(void)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	return (struct device){fds[0], fds[1]};
}

static void close_device(struct device *d)
{
	close(d->kernel);
	close(d->device);
}

static void ask(const struct device *d, uint32_t opcode, uint64_t unique, uint64_t argument)
{
	struct {
		struct fuse_in_header head;
		uint64_t argument;
	} request = {.head = {.len = sizeof(request), .opcode = opcode, .unique = unique}, .argument = argument};

	assert_int_equal(send(d->kernel, &request, sizeof(request), 0), sizeof(request));
}

static struct slots *make_slots(void)
{
	struct slots *s;

	assert_int_equal(slots_create(&s, NULL), 0);
	return s;
}

static void test_read_and_answer(void **state)
{
	struct device d = open_device();
	struct slots *s = make_slots();
	const struct fuse_in_header *in = slots_request(s, 3);

	ask(&d, FUSE_READ, 10, 0);
	assert_int_equal(slots_read(s, 3, d.device), sizeof(*in) + 8);
	assert_int_equal(in->unique, 10);
	assert_int_equal(slots_left(s, 3), sizeof(*in) + 8);
	assert_false(slots_answered(s, 12));
	assert_int_equal(slots_served(s), 0);
	assert_true(slots_answered(s, 10));
	assert_int_equal(slots_served(s), 1);
	assert_false(slots_answered(s, 10));
	assert_int_equal(slots_left(s, 3), 0);
	/* A read that fails leaves nothing of what was there before. */
	ask(&d, FUSE_READ, 14, 0);
	assert_true(slots_read(s, 3, d.device) > 0);
	assert_int_equal(slots_read(s, 3, -1), -EBADF);
	assert_int_equal(slots_left(s, 3), 0);
	slots_close(s);
	close_device(&d);
}

static void test_what_has_no_answer(void **state)
{
	static const uint32_t opcodes[] = {FUSE_FORGET, FUSE_BATCH_FORGET, FUSE_INTERRUPT};
	struct device d = open_device();
	struct slots *s = make_slots();

	for (unsigned n = 0; n < 3; n++) {
		ask(&d, opcodes[n], 100 + n, 42);
		assert_true(slots_read(s, n, d.device) > 0);
		assert_int_equal(slots_left(s, n), 0);
	}
	/* But who was to be interrupted is known. */
	assert_true(slots_interrupted(s, 42));
	assert_false(slots_interrupted(s, 44));
	for (uint64_t unique = 1000; unique < 1255; unique++)
		slots_note_interrupt(s, unique);
	assert_true(slots_interrupted(s, 42));
	slots_note_interrupt(s, 1255);
	assert_false(slots_interrupted(s, 42));
	slots_close(s);
	close_device(&d);
}

/* What is in the memory may be anything. */
static void test_hostile(void **state)
{
	static const uint32_t lengths[] = {1, sizeof(struct fuse_in_header) - 1, SLOTS_WRITE_MAX + 4097, UINT32_MAX};
	struct slots *s = make_slots();
	struct fuse_in_header *in = slots_request(s, 0);

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		*in = (struct fuse_in_header){.len = lengths[i], .opcode = FUSE_READ, .unique = 2};
		assert_int_equal(slots_left(s, 0), 0);
	}
	in->len = sizeof(*in); /* an interrupt without its argument */
	in->opcode = FUSE_INTERRUPT;
	assert_int_equal(slots_left(s, 0), 0);
	slots_close(s);
}

static void test_short_request(void **state)
{
	struct device d = open_device();
	struct slots *s = make_slots();
	struct fuse_in_header head = {.len = 400, .opcode = FUSE_READ, .unique = 2};

	assert_int_equal(send(d.kernel, &head, sizeof(head), 0), sizeof(head));
	assert_int_equal(slots_read(s, 0, d.device), -EIO);
	assert_int_equal(send(d.kernel, &head, 10, 0), 10);
	assert_int_equal(slots_read(s, 0, d.device), -EIO);
	slots_close(s);
	close_device(&d);
}

static void test_init(void **state)
{
	struct device d = open_device();
	struct slots *s = make_slots();
	uint8_t init[SLOTS_INIT_MAX], big[SLOTS_INIT_MAX + 1] = {0};

	assert_int_equal(slots_init(s, init), 0);
	assert_false(slots_is_init(s, 0));
	ask(&d, FUSE_INIT, 2, 7);
	assert_true(slots_read(s, 0, d.device) > 0);
	slots_keep_init(s, 0, sizeof(struct fuse_in_header) + 8);
	assert_int_equal(slots_init(s, init), sizeof(struct fuse_in_header) + 8);
	assert_int_equal(((struct fuse_in_header *)init)->opcode, FUSE_INIT);
	assert_true(slots_is_init(s, 2));
	/* Until it is written, each answer is the first. */
	assert_int_equal(slots_init_answer(s, "one", 3), SLOTS_INIT_FIRST);
	assert_int_equal(slots_init_answer(s, "two", 3), SLOTS_INIT_FIRST);
	slots_init_written(s);
	assert_int_equal(slots_init_answer(s, "two", 3), SLOTS_INIT_SAME);
	assert_int_equal(slots_init_answer(s, "one", 3), SLOTS_INIT_OTHER);
	assert_int_equal(slots_init_answer(s, "twos", 4), SLOTS_INIT_OTHER);
	assert_int_equal(slots_init_answer(s, big, sizeof(big)), SLOTS_INIT_OTHER);
	slots_close(s);
	close_device(&d);
}

static void test_texts(void **state)
{
	struct slots *s = make_slots();
	_cleanup_free_ char *big = calloc(1, SLOTS_PIN_MAX + 1), *none = slots_text(s, SLOTS_PIN, NULL);
	char *text;
	size_t len = 1;

	assert_string_equal(none, "");
	assert_int_equal(slots_set_text(s, SLOTS_PIN, "a\0b", 3), 0);
	assert_int_equal(slots_set_text(s, SLOTS_REPORT, "report", 6), 0);
	text = slots_text(s, SLOTS_PIN, &len);
	assert_int_equal(len, 3);
	assert_memory_equal(text, "a\0b", 4);
	free(text);
	text = slots_text(s, SLOTS_REPORT, NULL);
	assert_string_equal(text, "report");
	free(text);
	assert_int_equal(slots_set_text(s, SLOTS_PIN, big, SLOTS_PIN_MAX + 1), -EFBIG);
	assert_int_equal(slots_set_text(s, SLOTS_PIN, big, SLOTS_PIN_MAX), 0);
	text = slots_text(s, SLOTS_PIN, &len);
	assert_int_equal(len, SLOTS_PIN_MAX);
	free(text);
	slots_close(s);
}

static void test_adopt(void **state)
{
	struct slots *s = make_slots(), *again;
	int copy = dup(slots_fd(s)), other = memfd_create("other", MFD_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct err e = ERR_INIT;

	slots_note_interrupt(s, 6);
	assert_true(ftruncate(copy, 4096) < 0); /* nobody can make it shorter */
	assert_int_equal(slots_adopt(&again, copy, &e), 0);
	assert_true(slots_interrupted(again, 6));
	assert_int_equal(slots_passthrough(again), 0);
	slots_set_passthrough(again, 7);
	slots_close(again);
	copy = dup(slots_fd(s));
	assert_int_equal(slots_adopt(&again, copy, &e), 0); /* another version's, for those who do not know of it */
	assert_int_equal(slots_passthrough(again), 7);
	slots_close(again);
	assert_int_equal(slots_adopt(&again, null, &e), -EINVAL);
	assert_int_equal(ftruncate(other, lseek(slots_fd(s), 0, SEEK_END)), 0);
	assert_int_equal(slots_adopt(&again, other, &e), -EINVAL); /* could be made shorter */
	assert_int_equal(slots_adopt(&again, -1, &e), -EINVAL);
	slots_close(s);
	close(other);
	close(null);
}

/* Killed while it reads, a process has either left the request in the device or put all of it into its slot. */
static void test_kill(void **state)
{
	struct device d = open_device();
	struct slots *s = make_slots();
	const struct fuse_in_header *in = slots_request(s, 0);
	unsigned taken = 0, left = 0;

	for (uint64_t unique = 2; unique < 400; unique += 2) {
		pid_t pid = fork();
		size_t len;

		if (!pid) {
			slots_read(s, 0, d.device);
			for (;;)
				pause();
		}
		ask(&d, FUSE_READ, unique, unique);
		if (unique % 4)
			usleep(unique);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		len = slots_left(s, 0);
		if (len) {
			taken++;
			assert_int_equal(len, in->len);
		} else {
			left++;
			assert_true(slots_read(s, 0, d.device) > 0);
		}
		assert_int_equal(in->unique, unique);
		assert_int_equal(*(const uint64_t *)(const void *)(in + 1), unique);
		assert_true(slots_answered(s, unique));
	}
	assert_int_equal(taken + left, 199);
	slots_close(s);
	close_device(&d);
}

static void check_pin(const struct pin *p)
{
	_cleanup_buf_ struct buf text = BUF_INIT(PIN_MAX);
	struct pin again;

	assert_int_equal(pin_write(p, &text), 0);
	assert_int_equal(pin_read(&again, text.data, text.len, NULL), 0);
	assert_int_equal(again.kind, p->kind);
	assert_int_equal(again.cloop, p->cloop);
	assert_int_equal(again.verified, p->verified);
	assert_true(!p->verified || public_key_equal(&again.signer, &p->signer));
	assert_int_equal(again.len, p->len);
	assert_true(!p->len || !memcmp(again.text, p->text, p->len));
	assert_memory_equal(&again.file, &p->file, sizeof(p->file));
	assert_int_equal(again.http.size, p->http.size);
	assert_string_equal(again.http.etag, p->http.etag);
}

static void test_pins(void **state)
{
	static const char *const bad[] = {"", "\n", "manifest\n", "manifest RWQ\n", "manifest unsigned", "file raw 1 2\n", "file wrong 1 2 3\n",
		"http raw\n", "http wrong 1 x\n", "other raw 1\n"};
	struct pin p = {.kind = PIN_MANIFEST, .text = "text\nwith\nlines", .len = 15};

	check_pin(&p);
	p.verified = true;
	memcpy(p.signer.number, "12345678", 8);
	check_pin(&p);
	check_pin(&(struct pin){.kind = PIN_FILE, .file = {1ULL << 40, -5, 999999999}});
	check_pin(&(struct pin){.kind = PIN_FILE, .cloop = true, .file = {1, 2, 3}});
	check_pin(&(struct pin){.kind = PIN_HTTP, .http = {77, ""}});
	check_pin(&(struct pin){.kind = PIN_HTTP, .cloop = true, .http = {77, "\"an etag with spaces\""}});
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(pin_read(&p, bad[i], strlen(bad[i]), NULL), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_and_answer),
		cmocka_unit_test(test_what_has_no_answer),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_short_request),
		cmocka_unit_test(test_init),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_adopt),
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_pins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
