"""Open files from one process to another in Python, for bench/passing.tcl:

    passing.py flood|pingpong BATCH SECONDS

does and says the same as programs/passing.cpp.
"""

import os
import socket
import sys
import tempfile
import time

FILES = 4
MOST = 253


def open_files():
    files = [tempfile.TemporaryFile() for _ in range(FILES)]
    return files, [os.fstat(file.fileno()).st_ino for file in files]


def batch_from(files, first, count):
    return [files[(first + i) % FILES].fileno() for i in range(count)]


def receive(channel):
    """The descriptors of one message, none at the end."""
    data, descriptors, flags, _ = socket.recv_fds(channel, 1, MOST)
    if flags & socket.MSG_CTRUNC:
        sys.exit("passing.py: descriptors were lost")
    return descriptors if data else []


def check(inodes, descriptors, message):
    which = message // 64 % len(descriptors)
    if os.fstat(descriptors[which]).st_ino != inodes[(message + which) % FILES]:
        sys.exit("passing.py: a descriptor is not that of its file")


def close_all(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def tell(channel, received):
    channel.send(b"%d %f" % (received, time.process_time()))


def ask(channel, sent):
    """The other process's processor time, once nothing more comes from here."""
    channel.shutdown(socket.SHUT_WR)
    received, cpu = channel.recv(100).split()
    if int(received) != sent:
        sys.exit("passing.py: descriptors were lost")
    return float(cpu)


def take_all(channel, inodes):
    received = messages = 0
    while descriptors := receive(channel):
        if messages % 64 == 0:
            check(inodes, descriptors, messages)
        close_all(descriptors)
        received += len(descriptors)
        messages += 1
    tell(channel, received)


def give_back(channel, _):
    received = 0
    while descriptors := receive(channel):
        socket.send_fds(channel, [b"\0"], descriptors)
        close_all(descriptors)
        received += len(descriptors)
    tell(channel, received)


def flood(channel, files, _, count, seconds):
    batches = [batch_from(files, first, count) for first in range(FILES)]
    cpu = time.process_time()
    began = time.monotonic()
    sent = messages = 0
    while time.monotonic() < began + seconds:
        socket.send_fds(channel, [b"\0"], batches[messages % FILES])
        messages += 1
        sent += count
    child_cpu = ask(channel, sent)
    took = time.monotonic() - began
    cpu = time.process_time() - cpu + child_cpu
    print(f"descriptors {sent} seconds {took:.6f} cpu {cpu:.6f}")


def pingpong(channel, files, inodes, count, seconds):
    rounds = 0
    cpu = time.process_time()
    began = ended = time.monotonic()
    while ended < began + seconds:
        socket.send_fds(channel, [b"\0"], batch_from(files, rounds, count))
        descriptors = receive(channel)
        if len(descriptors) != count:
            sys.exit("passing.py: descriptors were lost")
        if rounds % 64 == 0:
            check(inodes, descriptors, rounds)
        close_all(descriptors)
        rounds += 1
        ended = time.monotonic()
    cpu = time.process_time() - cpu + ask(channel, rounds * count)
    print(f"descriptors {2 * rounds * count} seconds {ended - began:.6f} cpu {cpu:.6f}")


def main():
    mode, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    work = {"flood": (flood, take_all), "pingpong": (pingpong, give_back)}[mode]
    files, inodes = open_files()
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        work[1](theirs, inodes)
        os._exit(0)
    theirs.close()
    work[0](ours, files, inodes, count, seconds)


main()
