"""Clients of the soak: each thread goes on with one kind of traffic, and checks every
byte.

clients.py --noise FILE --idle SECONDS --kinds KIND=THREADS,... --targets POOL=ADDRESS,...

FILE has random bytes that the servers have too, SECONDS is their limit for silence. An
address is HOST:PORT, or a path. What can be asked for is in handler.tcl. Each line on
standard input is answered by one of JSON:

    report    what was done since the start, {"kind outcome": count}, errors in detail, and
              milliseconds of ordinary requests since the last report
    pause     when nothing is under way any more; resume: goes on
    stop      the same, and ends
"""

import argparse
import json
import mmap
import os
import random
import select
import socket
import struct
import sys
import threading
import time
import zlib

DEADLINE = 120.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset


class Failure(Exception):
    """What no client should see; its first word tells what."""


class Connection:
    def __init__(self, address=None, fd=None):
        if fd is not None:
            self.socket = socket.socket(fileno=fd)
        elif address.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET)
        self.socket.settimeout(DEADLINE)
        self.buffer = b""
        if fd is None:
            host, _, port = address.rpartition(":")
            self.socket.connect((host, int(port)) if host else address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @property
    def is_unix(self):
        return self.socket.family == socket.AF_UNIX

    def send(self, data):
        self.socket.sendall(data)

    def send_handles(self, data, fds):
        socket.send_fds(self.socket, [data], fds)
        for fd in fds:
            os.close(fd)

    def handle(self):
        data, fds, _, _ = socket.recv_fds(self.socket, 100, 10)
        if data != b"x" or len(fds) != 1:
            raise Failure(f"wrong message {data!r} with {len(fds)} descriptors")
        return fds[0]

    def bytes(self, size):
        parts = [self.buffer[:size]]
        self.buffer = self.buffer[size:]
        missing = size - len(parts[0])
        while missing > 0:
            part = self.socket.recv(min(missing, 262144))
            if not part:
                raise Failure(f"short by {missing} of {size} bytes")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def line(self):
        while b"\n" not in self.buffer:
            part = self.socket.recv(4096)
            if not part:
                raise Failure(f"short line {self.buffer!r}")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def expect(self, wanted):
        got = self.bytes(len(wanted))
        if got != wanted:
            at = next(i for i in range(len(got)) if got[i] != wanted[i])
            raise Failure(f"wrong byte {at} of {len(wanted)}: {got[at:at + 40]!r}")

    def bytes_until_end(self):
        parts = [self.buffer]
        while parts[-1] or len(parts) == 1:
            parts.append(self.socket.recv(4096))
        return b"".join(parts)

    def end(self):
        more = self.buffer + self.socket.recv(4096)
        if more:
            raise Failure(f"more {more[:40]!r}")

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        if not self.is_unix:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


class Clients:
    def __init__(self, arguments):
        with open(arguments.noise, "rb") as file:
            self.noise = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.idle = arguments.idle
        self.targets = dict(target.split("=", 1) for target in arguments.targets.split(","))
        self.lock = threading.Condition()
        self.running = True
        self.busy = 0
        self.counts = {}
        self.details = []
        self.times = []
        for spec in arguments.kinds.split(","):
            kind, threads = spec.split("=")
            for _ in range(int(threads)):
                threading.Thread(target=self.work, args=(kind,), daemon=True).start()

    # ---- threads ---------------------------------------------------------------------

    def work(self, kind):
        chance = random.Random()
        client = getattr(self, kind)
        while True:
            with self.lock:
                self.lock.wait_for(lambda: self.running)
                self.busy += 1
            outcome = self.attempt(kind, client, chance)
            with self.lock:
                key = f"{kind} {outcome}"
                self.counts[key] = self.counts.get(key, 0) + 1
                self.busy -= 1
                self.lock.notify_all()
            time.sleep(chance.uniform(0.002, 0.03))

    def attempt(self, kind, client, chance):
        address = None
        try:
            address = self.targets[chance.choice(TARGETS[kind])]
            return client(address, chance) or "ok"
        except Failure as failure:
            outcome, text = str(failure).split()[0], str(failure)
        except OSError as failure:
            outcome, text = type(failure).__name__, str(failure)
        except Exception as failure:  # a mistake in this program is to be seen, too
            outcome, text = "mistake", repr(failure)
        with self.lock:
            if len(self.details) < 20:
                self.details.append(f"{kind} at {address}: {outcome}: {text}")
        return outcome

    def control(self, verb):
        with self.lock:
            if verb == "report":
                times, self.times = self.times, []
                return {"counts": self.counts, "errors": self.details, "times": times}
            self.running = verb == "resume"
            self.lock.notify_all()
            if not self.running:
                self.lock.wait_for(lambda: self.busy == 0)
        return {}

    # ---- bytes -----------------------------------------------------------------------

    def payload(self, chance, most):
        size = chance.randint(1, most)
        start = chance.randrange(len(self.noise) - size)
        return self.noise[start:start + size]

    def range(self, chance, least, most):
        size = chance.randint(least, most)
        return chance.randrange(len(self.noise) - size), size

    # ---- kinds of traffic ------------------------------------------------------------

    def ordinary(self, address, chance):
        payload = self.payload(chance, chance.choice([100, 2000, 20000]))
        began = time.monotonic()
        with Connection(address) as server:
            echo(server, "one", payload)
            server.end()
        with self.lock:
            self.times.append(1000 * (time.monotonic() - began))

    def keep(self, address, chance):
        """Many requests over one connection."""
        with Connection(address) as server:
            for _ in range(chance.randint(1, 200)):
                echo(server, "echo", self.payload(chance, 2000))
                time.sleep(chance.uniform(0, 0.04))
                if not self.running:
                    break

    def slow(self, address, chance):
        """Sends a byte at a time, and reads so."""
        payload = self.payload(chance, 60)
        with Connection(address) as server:
            for byte in request("one", payload):
                server.send(bytes([byte]))
                time.sleep(chance.uniform(0, 0.04))
            wanted = answer(payload)
            for i in range(len(wanted)):
                server.expect(wanted[i:i + 1])
                time.sleep(chance.uniform(0, 0.01))
            server.end()

    def silent(self, address, chance):
        """Says nothing until the pool ends it."""
        began = time.monotonic()
        with Connection(address) as server:
            waited = 0
            while self.running or self.idle - waited < 2:
                readable, _, _ = select.select([server.socket], [], [], 0.1)
                waited = time.monotonic() - began
                if readable:
                    server.end()
                    if waited < 0.9 * self.idle:
                        raise Failure(f"early after {waited:.1f} s of silence")
                    return
                if waited > self.idle + DEADLINE:
                    raise Failure("forgotten")
        return "left"

    def half(self, address, chance):
        """Closes its sending side, and reads all after that."""
        with Connection(address) as server:
            if chance.random() < 0.5:
                payload = self.payload(chance, 50000)
                server.send(b"all\n" + payload)
                wanted = answer(payload)
            else:
                wanted = self.payload(chance, 50000)
                server.send(b"copy\n" + wanted)
            server.half_close()
            time.sleep(chance.uniform(0, 0.1))
            server.expect(wanted)
            server.end()

    def big(self, address, chance):
        start, size = self.range(chance, 500000, min(8000000, len(self.noise) // 2))
        data = self.noise[start:start + size]
        way = chance.choice(["put", "get", "copy"])
        with Connection(address) as server:
            if way == "put":
                server.send(b"put %d\n" % size + data)
                server.expect(b"%d\n" % zlib.crc32(data))
            elif way == "get":
                server.send(b"get %d %d\n" % (start, size))
                server.expect(b"%d\n" % zlib.crc32(data) + data)
            else:
                self.both_ways(server, data)
                server.end()

    @staticmethod
    def both_ways(server, data):
        def sender():
            try:
                server.send(b"copy\n" + data)
                server.half_close()
            except OSError:
                pass  # the reader sees what has come of it

        thread = threading.Thread(target=sender)
        thread.start()
        try:
            server.expect(data)
        finally:
            if sys.exc_info()[0]:
                server.socket.shutdown(socket.SHUT_RDWR)
            thread.join()

    def broken(self, address, chance):
        with Connection(address) as server:
            try:
                chance.choice(BROKEN)(self, server, chance)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server may close while there is more to read

    def resets_request(self, server, chance):
        payload = self.payload(chance, 2000)
        server.send(request("one", payload)[:-chance.randint(1, len(payload))])
        server.reset()

    def resets_answer(self, server, chance):
        start, size = self.range(chance, 1000000, 2000000)
        server.send(b"get %d %d\n" % (start, size))
        data = self.noise[start:start + size]
        server.expect(b"%d\n" % zlib.crc32(data) + data[:1000])
        server.reset()

    def half_a_request(self, server, chance):
        payload = self.payload(chance, 2000)
        whole = request("one", payload)
        server.send(whole[:chance.randrange(len(whole))])
        if chance.random() < 0.5:
            server.half_close()
            self.refused(server)

    def nothing(self, server, chance):
        if chance.random() < 0.5:
            server.reset()

    def garbage(self, server, chance):
        server.send(chance.choice([
            self.payload(chance, 5000), bytes(3000), b"x" * 60000, b"one\n", b"one -1 0\n",
            b"one 99999999999999999999 0\n", b"one {\n", b"put 1e3\n", b"get 0 [exit]\n",
            b"take file 1000\n", b"give nothing 0 1\n", b"\n", b"\r\n\r\n", b"\xff\xfe\n"]))
        server.half_close()
        self.refused(server)

    @staticmethod
    def refused(server):
        got = server.bytes_until_end()
        if got not in (b"", b"bad\n"):
            raise Failure(f"wrong answer {got[:40]!r} to what is no request")

    def misplaced_handles(self, server, chance):
        """Descriptors that nobody has asked for: the server is not to keep them."""
        payload = self.payload(chance, 2000)
        if server.is_unix:
            fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(chance.randint(1, 50))]
            server.send_handles(request("one", payload), fds)
        else:
            server.send(request("one", payload))
        server.expect(answer(payload))
        server.end()

    def passing(self, address, chance):
        with Connection(address) as server:
            chance.choice(PASSING)(self, server, chance)

    def takes_files(self, server, chance):
        ranges = [self.range(chance, 1, 100000) for _ in range(chance.choice([1, 2, 20, 200]))]
        server.send(b"take files %d\n" % len(ranges))
        server.expect(b"go\n")
        fds = []
        for start, size in ranges:
            fds.append(os.memfd_create("soak"))
            os.write(fds[-1], self.noise[start:start + size])
            os.lseek(fds[-1], 0, os.SEEK_SET)
        server.send_handles(b"x", fds)
        sums = [zlib.crc32(self.noise[start:start + size]) for start, size in ranges]
        if server.line() != " ".join(map(str, sums)):
            raise Failure("wrong sums of files")

    def takes_pipe(self, server, chance):
        start, size = self.range(chance, 1, 500000)
        server.send(b"take pipe %d %d\n" % (start, size))
        server.expect(b"go\n")
        reader, writer = os.pipe()
        with open(reader, "rb") as pipe:
            server.send_handles(b"x", [writer])
            if pipe.read() != self.noise[start:start + size]:
                raise Failure("wrong bytes in pipe")
        server.expect(b"done\n")

    def takes_socket(self, server, chance):
        server.send(b"take socket\n")
        server.expect(b"go\n")
        mine, theirs = socket.socketpair()
        server.send_handles(b"x", [theirs.detach()])
        self.talk(mine.detach(), chance)
        server.expect(b"done\n")

    def gives_file(self, server, chance):
        start, size = self.range(chance, 1, 500000)
        server.send(b"give file %d %d\n" % (start, size))
        with open(server.handle(), "rb") as file:
            if file.read(size) != self.noise[start:start + size]:
                raise Failure("wrong bytes in file")

    def gives_pipe(self, server, chance):
        start, size = self.range(chance, 1, 60000)
        server.send(b"give pipe %d %d\n" % (start, size))
        with open(server.handle(), "rb") as pipe:
            if pipe.read() != self.noise[start:start + size]:
                raise Failure("wrong bytes in pipe")

    def gives_socket(self, server, chance):
        server.send(b"give socket\n")
        self.talk(server.handle(), chance)

    def gives_connection(self, server, chance):
        server.send(b"give connection\n")
        self.talk(server.handle(), chance)

    def talk(self, fd, chance):
        with Connection(fd=fd) as other:
            echo(other, "echo", self.payload(chance, 20000))
            echo(other, "one", self.payload(chance, 20000))
            other.end()

    def hand(self, address, chance):
        """Another worker serves the rest."""
        with Connection(address) as server:
            server.send(b"hand\n")
            server.expect(b"here\n")
            echo(server, "echo", self.payload(chance, 20000))
            echo(server, "one", self.payload(chance, 20000))
            server.end()


def request(verb, payload):
    return b"%s %d %d\n" % (verb.encode(), len(payload), zlib.crc32(payload)) + payload


def answer(payload):
    return b"%d\n" % zlib.crc32(payload) + payload


def echo(server, verb, payload):
    server.send(request(verb, payload))
    server.expect(answer(payload))


BROKEN = [Clients.resets_request, Clients.resets_answer, Clients.half_a_request, Clients.nothing,
          Clients.garbage, Clients.misplaced_handles]
PASSING = [Clients.takes_files, Clients.takes_pipe, Clients.takes_socket, Clients.gives_file,
           Clients.gives_pipe, Clients.gives_socket, Clients.gives_connection]
EVERYWHERE = [f"{pool}.{family}" for pool in ("web", "steady", "events", "each")
              for family in ("tcp", "unix")]
# Those that keep a worker busy for long are rare where it serves nobody else meanwhile.
PATIENT = 3 * ["events.tcp", "events.unix", "each.tcp", "each.unix"] + ["web.tcp", "web.unix"]
# The other worker of `hand` and of `give connection` is one of the pool `steady`.
TARGETS = {"ordinary": EVERYWHERE, "broken": EVERYWHERE, "half": EVERYWHERE, "big": EVERYWHERE,
           "keep": ["events.tcp", "events.unix"], "slow": PATIENT,
           "silent": [target for target in PATIENT if target.endswith("tcp")],
           "passing": ["web.unix", "events.unix", "each.unix"],
           "hand": ["web.tcp", "web.unix", "each.tcp", "each.unix"]}


def main():
    parser = argparse.ArgumentParser()
    for name in ("noise", "kinds", "targets"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--idle", type=float, required=True)
    clients = Clients(parser.parse_args())
    for line in sys.stdin:
        print(json.dumps(clients.control(line.strip())), flush=True)
        if line.strip() == "stop":
            break


main()
