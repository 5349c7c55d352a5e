// keep: bench/idle.tcl's job without Tcl: workers that keep connections and echo lines.
//
//   keep WORKERS
//
// Each worker has a listener of its own on the same port (SO_REUSEPORT, so that they get
// about as many connections), and waits for all with epoll. Prints "ready PORT PID ..."
// with the pids, the parent's first, and ends at end of file on standard input.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

// Port 0 is a free one; returns it.
int listenOn(uint16_t &port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    socklen_t length = sizeof address;
    if (::bind(fd, reinterpret_cast<sockaddr *>(&address), length) < 0 || ::listen(fd, 1024) < 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length) < 0) {
        perror("listen");
        exit(1);
    }
    port = ntohs(address.sin_port);
    return fd;
}

void watch(int epoll, int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

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
    watch(epoll, listener, EPOLLIN);
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
                watch(epoll, fd, EPOLLIN);
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
    uint16_t port = 0;
    const pid_t parent = ::getpid();
    std::vector<pid_t> pids;
    while (static_cast<int>(pids.size()) < workers) {
        const int listener = listenOn(port);
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::getppid() == parent)
                work(listener);
            _exit(0);
        }
        ::close(listener);
        pids.push_back(pid);
    }
    printf("ready %d %d", port, static_cast<int>(parent));
    for (pid_t pid : pids)
        printf(" %d", static_cast<int>(pid));
    printf("\n");
    fflush(stdout);
    char byte;
    while (::read(STDIN_FILENO, &byte, 1) > 0) {
    }
    for (pid_t pid : pids)
        ::kill(pid, SIGKILL);
    for (pid_t pid : pids)
        ::waitpid(pid, nullptr, 0);
    return 0;
}
