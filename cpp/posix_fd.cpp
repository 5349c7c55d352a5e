#include "posix_fd.h"

#include "posix_clock.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <vector>

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
    const auto deadline = deadlineIn(timeoutMs);
    for (;;) {
        pollfd poller{fd, events, 0};
        const int ready = ::poll(&poller, 1, remainingMs(deadline));
        if (ready > 0)
            return true;
        if (ready == 0 || errno != EINTR)
            return false;
    }
}

bool canOpen(int count, int likeFd) {
    std::vector<UniqueFd> probes;
    for (int i = 0; i < count; ++i) {
        probes.emplace_back(::fcntl(likeFd, F_DUPFD_CLOEXEC, 0));
        if (!probes.back())
            return false;
    }
    return true;
}

} // namespace uds
