"""The other end of descriptor passing, without Tcl.

peer_fds.py send N            sends N descriptors in one message on its stdin
peer_fds.py send-each N       the same, one in a message, data "0", "1", ...
peer_fds.py send-long SIZE    one descriptor with SIZE bytes of data
peer_fds.py send-udp          a UDP socket
peer_fds.py receive N         receives up to N on its stdin and tells what they hold
peer_fds.py credentials 1     has the kernel add the sender's credentials to what its
                              stdin receives
peer_fds.py exec-with-fd ...  runs a program with an inheritable descriptor, whose
                              number is the last argument
"""

import os
import socket
import sys
import tempfile


def text_file(text):
    file = tempfile.TemporaryFile()
    file.write(text.encode())
    file.flush()
    file.seek(0)
    return file


def send(count):
    files = [text_file(f"file {i}") for i in range(count)]
    socket.send_fds(carrier(), [b"data"], [file.fileno() for file in files])


def send_each(count):
    for i in range(count):
        file = text_file(f"file {i}")
        socket.send_fds(carrier(), [str(i).encode()], [file.fileno()])


def send_long(size):
    socket.send_fds(carrier(), [b"x" * size], [0])


def send_udp():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    socket.send_fds(carrier(), [b"udp"], [udp.fileno()])


def receive(count):
    data, fds, _, _ = socket.recv_fds(carrier(), 65536, count)
    texts = [os.pread(fd, 1000, 0).decode() for fd in fds]
    print(data.decode(), *texts, sep="|")


def credentials(switch):
    carrier().setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, switch)


def carrier():
    return socket.socket(fileno=os.dup(0))


def main(verb, *words):
    if verb == "exec-with-fd":
        fd = os.open("/dev/null", os.O_RDWR)
        os.set_inheritable(fd, True)
        os.execv(words[0], [*words, str(fd)])
    elif verb == "send-udp":
        send_udp()
    else:
        verbs = {"send": send, "send-each": send_each, "send-long": send_long,
                 "receive": receive, "credentials": credentials}
        verbs[verb](int(words[0]))


main(*sys.argv[1:])
