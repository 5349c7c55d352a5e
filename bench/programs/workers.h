// workers.h: the worker processes of a server, and what it says of them.

#ifndef BENCH_WORKERS_H
#define BENCH_WORKERS_H

#include "failure.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

// Ends with this process.
template <class Work> pid_t forkWorker(Work work) {
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() == parent)
            work();
        _exit(0);
    }
    return pid;
}

// Prints "ready PORT PID ..." with the pids, the parent's first.
inline void announce(uint16_t port, const std::vector<pid_t> &workers) {
    printf("ready %d %d", port, static_cast<int>(::getpid()));
    for (pid_t pid : workers)
        printf(" %d", static_cast<int>(pid));
    printf("\n");
    fflush(stdout);
}

// Waits for the end of standard input.
inline void awaitEnd() {
    char byte;
    while (::read(STDIN_FILENO, &byte, 1) > 0) {
    }
}

inline void endWorkers(const std::vector<pid_t> &workers) {
    for (pid_t pid : workers)
        ::kill(pid, SIGKILL);
    for (pid_t pid : workers)
        ::waitpid(pid, nullptr, 0);
}

#endif
