// accepting.h: servers whose workers accept connections themselves.

#ifndef BENCH_ACCEPTING_H
#define BENCH_ACCEPTING_H

#include "workers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

// On the loopback. Port 0 is a free one, and is set.
inline int listenOn(uint16_t &port, bool reusePort, int flags = 0) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    const int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (reusePort)
        ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    socklen_t length = sizeof address;
    if (::bind(fd, reinterpret_cast<sockaddr *>(&address), length) < 0 || ::listen(fd, 1024) < 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length) < 0)
        die("listen");
    port = ntohs(address.sin_port);
    return fd;
}

// The work of one that serves one connection at a time.
template <void (*serve)(int fd)> void workOnListener(int listener) {
    for (;;) {
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0)
            serve(fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

// One listener for all workers, which do work(listener).
template <class Work> void runShared(int count, Work work) {
    uint16_t port = 0;
    const int listener = listenOn(port, false);
    std::vector<pid_t> workers;
    while (static_cast<int>(workers.size()) < count)
        workers.push_back(forkWorker([&] { work(listener); }));
    announce(port, workers);
    awaitEnd();
    endWorkers(workers);
}

// Each worker has a listener of its own on the same port.
template <class Work> void runReusePort(int count, Work work, int flags = 0) {
    uint16_t port = 0;
    std::vector<pid_t> workers;
    while (static_cast<int>(workers.size()) < count) {
        const int listener = listenOn(port, true, flags);
        workers.push_back(forkWorker([&] { work(listener); }));
        ::close(listener);
    }
    announce(port, workers);
    awaitEnd();
    endWorkers(workers);
}

#endif
