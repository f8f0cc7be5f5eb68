#!/usr/bin/env python3
"""kill -9 of the process that serves a mount, again and again: another one goes on, and readers notice nothing. The supervisor ends when it
is told to, and leaves nothing behind."""
import errno, mmap
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 6_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
killed = set()
rng = random.Random(int(os.environ.get("SEED", "1")))


def kill_worker(m, wait=0.0, number=signal.SIGKILL):
    """Kills one that was not killed here before, some time after it is there."""
    wait_for(lambda: m.process.poll() is not None or m.worker() not in killed | {None}, "a worker")
    worker = m.worker()
    check(worker, f"no worker: {m.said()}")
    killed.add(worker)
    time.sleep(wait)
    os.kill(worker, number)  # it is there, as nobody else kills it


def read_mapped(path, seed, count):
    rng = random.Random(seed)
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        for _ in range(count):
            at, length = rng.randrange(len(data)), rng.randrange(1, 100000)
            if m[at:at + length] != data[at:at + length]:
                return f"mapped bytes at {at} differ"


def read_directly(path, seed, count):
    rng = random.Random(seed)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, 262144)
    for _ in range(count):
        at = rng.randrange(len(data) // 4096) * 4096
        n = os.preadv(fd, [memoryview(buffer)[:rng.choice([4096, 65536, 262144])]], at)
        if buffer[:n] != data[at:at + n]:
            return f"direct bytes at {at} differ"
    os.close(fd)


def forget_pages(path):
    with open(path, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_for_ever(read, path, *args):
    """Until it is killed; text when something is wrong."""
    for seed in range(10 ** 9):
        forget_pages(path)
        wrong = read(path, *args) if read is read_all else read(path, *args, seed, 20)
        if wrong:
            return wrong


def start_readers(m):
    return [Child(read_for_ever, read_randomly, m.disk, data), Child(read_for_ever, read_all, m.disk, data),
            Child(read_for_ever, read_mapped, m.disk), Child(read_for_ever, read_directly, m.disk)]


def end_readers(readers):
    for reader in readers:
        if not reader.ended(0):
            reader.kill()
            check(reader.ended(10), "a reader cannot be killed")
            os.waitpid(reader.pid, 0)
        else:
            fail(f"a reader ended: {reader.result()}")


# Under readers of all kinds, at random moments; the numbers tell.
m = Mount(link)
open_status = open(f"{m.dir}/status")
readers = start_readers(m)
for _ in range(200):
    kill_worker(m, rng.random() * rng.choice([0.01, 0.05, 0.2]))
check_reads(m.disk, data, 1)
end_readers(readers)
status = m.status()
check(status["supervisor"] == m.process.pid, f"supervisor {status['supervisor']}")
check(status["worker"]["pid"] == m.worker() and status["worker"]["started"] > 200, f"worker: {status['worker']}")
check("signal 9" in status["worker"]["last_end"], f"worker: {status['worker']}")
check(json.load(open_status)["supervisor"] == m.process.pid, "an open status file does not outlive a worker")
open_status.close()
m.end()
done()
