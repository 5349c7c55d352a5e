// pair.h: a measurement between two processes with a socket pair, and what they say of it.

#ifndef BENCH_PAIR_H
#define BENCH_PAIR_H

#include "clock.h"
#include "failure.h"

#include <sys/socket.h>
#include <unistd.h>

// Forks: the child's end of a socket pair is given to `child`, ours is returned.
template <class Child> int withChild(Child child) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair");
    const pid_t pid = ::fork();
    if (pid < 0)
        die("fork");
    ::close(ends[pid == 0 ? 0 : 1]);
    if (pid != 0)
        return ends[0];
    child(ends[1]);
    _exit(0);
}

// What the child has to say in the end.
struct Received {
    unsigned long long count;
    double cpu;
};

inline void tell(int fd, unsigned long long count) {
    const Received received{count, processorSeconds()};
    if (::send(fd, &received, sizeof received, MSG_NOSIGNAL) < 0)
        die("send");
}

// The child's processor time, once nothing more comes from here.
inline double ask(int fd, unsigned long long sent) {
    ::shutdown(fd, SHUT_WR);
    Received received{};
    if (::recv(fd, &received, sizeof received, MSG_WAITALL) != sizeof received ||
        received.count != sent)
        wrong("not all has arrived");
    return received.cpu;
}

// As a dictionary; `cpu` is that of the child.
inline void report(const char *what, unsigned long long count, double seconds, double cpu = 0) {
    printf("%s %llu seconds %.6f cpu %.6f\n", what, count, seconds, processorSeconds() + cpu);
}

#endif
