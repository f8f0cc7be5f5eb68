#!/usr/bin/env python3
"""Reads over a bad wide-area network (relay.c): slow and far, with loss, with a path that swallows long packets, and gone for a while:
right bytes in bounded time, and no reader that waits for ever."""
from netlib import *

need_fuse()
key = make_key()
make_image("image", 6_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
relay = Relay("delay 20", "rate 8e6")
server = FarServer("www")
link = f"{server.url}/image#{key}"


def check_wan(name, seconds, *orders, meanwhile=lambda: None):
    relay.order("delay 20", "rate 8e6", "loss 0", "hole 0", "on", "queue 262144", "seed 7")
    m = Mount(link, dir=name, cache=None)
    before = relay.order(*orders)
    start = time.monotonic()
    readers = [Child(read_all, m.disk, data), Child(read_randomly, m.disk, data, 3, 20)]
    meanwhile()
    for reader in readers:
        wrong = reader.result(seconds, f"{name}: a reader")
        check(not wrong, f"{name}: {wrong}: {m.said()}")
    after = relay.order()
    print(f"{name}: {time.monotonic() - start:.1f} s, {after[4] - before[4]} bytes came, {after[2] - before[2] + after[5] - before[5]} packets were lost")
    m.end()


check_wan("far", 40)
check_wan("lossy", 90, "loss 5")
check_wan("hole", 90, "hole 1300")
check_wan("slow", 90, "rate 1e6", "delay 150")
check_wan("short-queue", 60, "queue 16000")


def away():
    time.sleep(1)
    relay.order("off")
    time.sleep(20)  # longer than a silent server is waited for
    relay.order("on")


check_wan("away", 90, "rate 4e6", meanwhile=away)
done()
