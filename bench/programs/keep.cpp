// keep: bench/idle.tcl's job without Tcl: workers that keep connections and echo lines.
//
//   keep WORKERS
//
// Each worker has a listener of its own on the same port (SO_REUSEPORT, so that they get
// about as many connections), and waits for all with epoll. Prints "ready PORT PID ..."
// with the pids, the parent's first, and ends at end of file on standard input.

#include "accepting.h"
#include "events.h"

namespace {

void echo(int fd) {
    char buffer[4096];
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0)
        ::close(fd);
    else
        ::send(fd, buffer, static_cast<size_t>(got), MSG_NOSIGNAL);
}

void work(int listener) {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener);
    for (;;) {
        epoll_event events[256];
        const int count = ::epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; ++i) {
            if (events[i].data.fd != listener) {
                echo(events[i].data.fd);
                continue;
            }
            const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd >= 0)
                watch(epoll, fd);
        }
    }
}

} // namespace

int main(int argc, char **argv) {
    const int workers = argc == 2 ? atoi(argv[1]) : 0;
    if (workers < 1) {
        fprintf(stderr, "usage: keep WORKERS\n");
        return 2;
    }
    runReusePort(workers, work, SOCK_NONBLOCK);
    return 0;
}
