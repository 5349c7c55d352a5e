// failure.h: how these programs end when something fails.

#ifndef BENCH_FAILURE_H
#define BENCH_FAILURE_H

#include <cerrno>
#include <cstdio>
#include <cstdlib>

// After a system call; errno says why.
[[noreturn]] inline void die(const char *what) {
    perror(what);
    exit(1);
}

[[noreturn]] inline void wrong(const char *what) {
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

#endif
