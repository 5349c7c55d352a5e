#include "posix_fd.h"

#include "posix_clock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

namespace uds {

UniqueFd &UniqueFd::operator=(UniqueFd &&other) noexcept {
    if (this != &other) {
        reset();
        fd_ = other.release();
    }
    return *this;
}

void UniqueFd::reset() {
    if (fd_ < 0)
        return;
    const int saved = errno;
    // Not repeated after EINTR: Linux has freed the number already, and a
    // second close could hit a descriptor that another thread just got.
    ::close(std::exchange(fd_, -1));
    errno = saved;
}

Error systemError(std::string what, int code) {
    Error error;
    error.what = std::move(what);
    error.code = code;
    return error;
}

Error systemError(std::string what) {
    return systemError(std::move(what), errno);
}

Error ownError(const char *kind, std::string what, std::string reason, std::string detail) {
    Error error;
    error.what = std::move(what);
    error.kind = kind;
    error.reason = std::move(reason);
    error.detail = std::move(detail);
    return error;
}

bool isWouldBlock(int code) {
    return code == EAGAIN || code == EWOULDBLOCK;
}

bool isOutOfDescriptors(int code) {
    return code == EMFILE || code == ENFILE;
}

bool waitFor(int fd, short events, int timeoutMs) {
    constexpr useconds_t kPauseUs = 1000;
    const auto deadline = deadlineIn(timeoutMs);
    for (;;) {
        pollfd poller{fd, events, 0};
        const int ready = ::poll(&poller, 1, remainingMs(deadline));
        if (ready > 0)
            return true;
        if (ready == 0)
            return false;
        if (errno != EINTR)
            ::usleep(kPauseUs); // no memory: no answer, and not the end of the time either
    }
}

namespace {

// The limit may have been lowered meanwhile, also by another process.
bool isFree(int number) {
    struct rlimit limit {};
    return number >= 0 && ::getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
           static_cast<rlim_t>(number) < limit.rlim_cur && ::fcntl(number, F_GETFD) < 0;
}

} // namespace

bool canOpen(int count, int likeFd) {
    // A number that was free the last time is so again when what got it has been
    // closed since: that is cheaper to see than a probe to open and close.
    thread_local int lastFree = -1;
    if (count == 1 && isFree(lastFree))
        return true;
    const UniqueFd probe(::fcntl(likeFd, F_DUPFD_CLOEXEC, 0));
    const bool enough = probe && (count <= 1 || canOpen(count - 1, likeFd));
    lastFree = enough ? probe.get() : -1;
    return enough;
}

} // namespace uds
