"""For the store tests beside this: an empty folder to work in, the program, images with holes, and a second reader of the store
format that shares no code with the first: it knows docs/format.md, json and the zstd program."""
import hashlib, json, os, random, shutil, struct, subprocess, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

INETBOOT = os.path.abspath(sys.argv[1])
MAIN = os.getpid()
DIR = tempfile.mkdtemp(prefix="functional.", dir=os.environ.get("TMPDIR", "/tmp"))
os.chdir(DIR)


def skip(reason):
    print("skipped:", reason)
    done(77)


at_end = []  # functions to call before the folder goes


def clean_up():
    while at_end:
        at_end.pop()()
    # `small` is a file system that one of the tests mounts.
    subprocess.run(["umount", "-lq", "small"], stderr=subprocess.DEVNULL)
    os.chdir("/")
    subprocess.run(["chmod", "-R", "u+rwX", DIR])
    shutil.rmtree(DIR)


def done(status=0):
    clean_up()
    sys.exit(status)


def on_exception(kind, value, trace):
    sys.__excepthook__(kind, value, trace)
    done(1)


sys.excepthook = on_exception


class Failed(Exception):
    """In a child: told to the parent, which cleans up."""


def fail(text):
    if os.getpid() != MAIN:
        raise Failed(text)
    print("failed:", text, file=sys.stderr)
    done(1)


def need(*programs):
    for program in programs:
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            skip(f"{program} is not installed (tools/install-deps test)")


def need_medium_parts():
    """The folder of the medium's programs."""
    parts = os.path.join(os.path.dirname(INETBOOT), "../medium/parts")
    if not os.path.exists(f"{parts}/inetboot"):
        skip("the medium's programs are not built (make medium-parts)")
    return parts


def check(condition, text):
    if not condition:
        fail(text)


def run(*args, status=0, **more):
    """Runs inetboot; returns what it printed, both streams."""
    p = subprocess.run([INETBOOT, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, **more)
    text = p.stdout.decode(errors="replace")
    check(p.returncode == status, f"status {p.returncode} instead of {status} of {args}: {text}")
    return text


def publish(image, name="image", *args, store="store", key="key", **more):
    return run("publish", image, store, "--name", name, "--key", key, "--level", "1", *args, **more)


def make_key(name="key"):
    return run("key", name).strip()


def make_image(path, size, seed, holes=True):
    """Random text, random bytes and zeros in turns; the zeros are holes of the file, or written."""
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randrange(2, 9)).hex().encode() for _ in range(500)]
    with open(path, "wb") as f:
        while f.tell() < size:
            n = min(rng.choice([1000, 4096, 70000, 500000]), size - f.tell())
            kind = rng.randrange(3)
            if kind == 0 and holes:
                f.seek(n, 1)
            elif kind == 0:
                f.write(bytes(n))
            elif kind == 1:
                f.write(rng.randbytes(n))
            else:
                f.write(b" ".join(rng.choices(words, k=n // 4 + 1))[:n])
        f.truncate(size)


def manifest(name="image", store="store", file="manifest"):
    with open(f"{store}/{name}/{file}") as f:
        return json.loads(f.read().split("\n", 2)[2])


def write_trace(path, runs, name="image", store="www", **other):
    """runs: [(first page, pages)]"""
    m = manifest(name, store)
    head = {"name": name, "version": m["version"], "root": m["index"]["root"], "size": m["size"], **other}
    with open(path, "w") as f:
        f.write("inetboot-trace 1\nimage {name} {version} {root} {size}\n".format(**head))
        for ms, (page, n) in enumerate(runs):
            f.write(f"{ms} {page} {n}\n")


def block_file(store, digest):
    return f"{store}/blocks/{digest[:2]}/{digest}"


def unzstd(paths):
    return subprocess.run(["zstd", "-qdc", *paths], stdout=subprocess.PIPE, check=True).stdout if paths else b""


def leaves(store, root, level, span):
    """(length, digest or None for a hole) of every entry of a tree."""
    data = unzstd([block_file(store, root)])
    check(hashlib.sha256(data).hexdigest() == root, f"index node {root} has another hash")
    magic, at_level, count = struct.unpack_from("<4sB3xI", data)
    check(magic == b"IBN1" and at_level == level and len(data) == 12 + 40 * count, f"index node {root} is wrong")
    for i in range(count):
        length, digest = struct.unpack_from("<Q32s", data, 12 + 40 * i)
        span -= length
        if level:
            yield from leaves(store, digest.hex(), level - 1, length)
        else:
            yield length, None if digest == bytes(32) else digest.hex()
    check(span == 0, f"index node {root} spans {span} bytes less than its parent says")


def tree_bytes(tree, size, store="store"):
    entries = list(leaves(store, tree["root"], tree["depth"] - 1, size))
    data = unzstd([block_file(store, digest) for _, digest in entries if digest])
    out, at = [], 0
    for length, digest in entries:
        if digest:
            check(hashlib.sha256(data[at:at + length]).hexdigest() == digest, f"block {digest} has another hash")
            out.append(data[at:at + length])
            at += length
        else:
            out.append(bytes(length))
    return b"".join(out)


def image_bytes(name="image", store="store", file="manifest"):
    m = manifest(name, store, file)
    return tree_bytes(m["index"], m["size"], store)


def content(path):
    with open(path, "rb") as f:
        return f.read()


def all_blocks(store="store"):
    """Every file below blocks/, by path."""
    return sorted(os.path.join(d, f) for d, _, files in os.walk(f"{store}/blocks") for f in files)


def root(name="image", store="store"):
    return manifest(name, store)["index"]["root"]
