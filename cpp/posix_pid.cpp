#include "posix_pid.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

namespace uds {

namespace {

std::atomic<pid_t> known{0};

} // namespace

pid_t ownPid() {
    static const int registered =
        ::pthread_atfork(nullptr, nullptr, [] { known.store(0, std::memory_order_relaxed); });
    const pid_t pid = known.load(std::memory_order_relaxed);
    if (pid != 0 && registered == 0)
        return pid;
    const pid_t asked = ::getpid();
    known.store(asked, std::memory_order_relaxed);
    return asked;
}

} // namespace uds
