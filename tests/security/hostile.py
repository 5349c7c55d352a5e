"""A peer that sends descriptors that nobody asked for, through the socket on its stdin.

hostile.py send ?KIND ...?     one in a message with the name of its kind, of all kinds that
                               there are here
hostile.py both                a listener for IPv6 and IPv4, as systemd opens one; prints its port
hostile.py cycles COUNT        so many socket pairs that are only in flight in themselves
"""

import ctypes
import os
import select
import socket
import sys
import tempfile

libc = ctypes.CDLL(None, use_errno=True)


def call(number, *words):
    result = libc.syscall(number, *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def closed_pipe():
    reader, writer = os.pipe()
    os.close(writer)
    return reader


def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def empty_fifo():
    path = os.path.join(tempfile.mkdtemp(), "fifo")
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)  # without a writer's end of its own it would wait
    reader = os.open(path, os.O_RDONLY)
    os.unlink(path)
    os.rmdir(os.path.dirname(path))
    KEPT.append(fd)
    return reader


def listening():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener.detach()


def dead_listener():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen()
    listener.shutdown(socket.SHUT_RDWR)
    return listener.detach()


def epoll_of_itself():
    epoll = select.epoll()
    epoll.register(0)
    KEPT.append(epoll)
    return epoll.fileno()


def io_uring():
    return call(425, 4, ctypes.create_string_buffer(120))


KEPT = []
KINDS = {
    "directory": lambda: os.open("/", os.O_RDONLY),
    "path": lambda: os.open("/etc/passwd", os.O_PATH),
    "path-directory": lambda: os.open("/root", os.O_PATH | os.O_DIRECTORY),
    "epoll": epoll_of_itself,
    "listener": listening,
    "dead-listener": dead_listener,
    "closed-pipe": closed_pipe,
    "broken-pipe": broken_pipe,
    "empty-fifo": empty_fifo,
    "proc-file": lambda: os.open("/proc/self/maps", os.O_RDONLY),
    "proc-directory": lambda: os.open("/proc/self/fd", os.O_RDONLY),
    "memory": lambda: os.open("/proc/self/mem", os.O_RDWR),
    "terminal": lambda: os.openpty()[0],
    "packet": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
    "unconnected": lambda: socket.socket().detach(),
    "seqpacket": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0].detach(),
    "datagrams": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].detach(),
    "pidfd": lambda: os.pidfd_open(os.getpid()),
    "memfd": lambda: os.memfd_create("hostile"),
    "eventfd": lambda: os.eventfd(0, os.EFD_NONBLOCK),
    "userfaultfd": lambda: call(323, 1),
    "io_uring": io_uring,
    "itself": lambda: os.dup(0),
}


def send(kinds):
    carrier = socket.socket(fileno=os.dup(0))
    for kind in kinds:
        try:
            socket.send_fds(carrier, [kind.encode()], [KINDS[kind]()])
        except OSError:
            pass  # the system has none, or does not let it travel


def both():
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 0))
    listener.listen()
    socket.send_fds(socket.socket(fileno=os.dup(0)), [b"x"], [listener.fileno()])
    print(listener.getsockname()[1])


def cycles(count):
    for _ in range(count):
        one, other = socket.socketpair()
        try:
            socket.send_fds(one, [b"x"], [other.fileno(), one.fileno()])
            socket.send_fds(other, [b"x"], [other.fileno(), one.fileno()])
        except OSError:
            pass  # too many in flight
    carrier = socket.socket(fileno=os.dup(0))
    one, other = socket.socketpair()
    socket.send_fds(one, [b"x"], [one.fileno(), other.fileno(), carrier.fileno()])
    socket.send_fds(carrier, [b"x"], [other.fileno(), carrier.fileno()])
    print("sent")


def main(verb, *words):
    if verb == "send":
        send(words or KINDS)
    elif verb == "both":
        both()
    else:
        cycles(int(words[0]))


main(*sys.argv[1:])
