#!/usr/bin/env python3
"""prefork.py: bench/connections.tcl's job in Python.

    prefork.py pass|shared WORKERS

pass: the parent accepts and passes each connection with socket.send_fds.
shared: each worker accepts on one listener.
Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
file on standard input.
"""
import os
import select
import signal
import socket
import sys


def serve(connection):
    data = b""
    while not data.endswith(b"\n"):
        more = connection.recv(65536)
        if not more:
            break
        data += more
    connection.sendall(data)
    connection.close()


def work_on_queue(queue):
    while True:
        _, descriptors, _, _ = socket.recv_fds(queue, 40, 1)
        if not descriptors:
            return
        serve(socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptors[0]))


def work_on_listener(listener):
    while True:
        serve(listener.accept()[0])


def accept_and_pass(listener, queue):
    listener.setblocking(False)
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    poller.register(0, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == 0:
                return
        try:
            for _ in range(64):
                connection, _ = listener.accept()
                connection.setblocking(True)
                socket.send_fds(queue, [b"0" * 40], [connection.fileno()])
                connection.close()
        except BlockingIOError:
            pass


def main():
    mode, workers = sys.argv[1], int(sys.argv[2])
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pids = []
    for _ in range(workers):
        pid = os.fork()
        if pid == 0:
            if mode == "pass":
                sender.close()
                listener.close()
                work_on_queue(receiver)
            else:
                work_on_listener(listener)
            os._exit(0)
        pids.append(pid)
    print("ready", listener.getsockname()[1], os.getpid(), *pids, flush=True)
    if mode == "pass":
        accept_and_pass(listener, sender)
    else:
        sys.stdin.read()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


main()
