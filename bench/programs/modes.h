// modes.h: programs that are called as NAME MODE WORKERS.

#ifndef BENCH_MODES_H
#define BENCH_MODES_H

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

struct Mode {
    const char *name;
    std::function<void(int workers)> run;
};

// Returns the exit status.
inline int runMode(int argc, char **argv, const std::vector<Mode> &modes) {
    const int workers = argc == 3 ? atoi(argv[2]) : 0;
    std::string names;
    for (const Mode &mode : modes) {
        if (workers > 0 && mode.name == std::string(argv[1])) {
            mode.run(workers);
            return 0;
        }
        names += (names.empty() ? "" : "|") + std::string(mode.name);
    }
    fprintf(stderr, "usage: %s %s WORKERS\n", program_invocation_short_name, names.c_str());
    return 2;
}

#endif
