#include "posix_connection.h"

#include <poll.h>
#include <sys/socket.h>

namespace uds {

namespace {

// Whether the peer has closed its side. Unread bytes hide that from recv(2).
bool peerHasEnded(int fd) {
#if defined(POLLRDHUP) && !defined(UDS_PORTABLE)
    pollfd poller{fd, POLLRDHUP, 0};
    return ::poll(&poller, 1, 0) > 0 && (poller.revents & POLLRDHUP) != 0;
#else
    static_cast<void>(fd);
    return false;
#endif
}

} // namespace

Result<Peeked> peekBytes(int fd, void *buffer, size_t size) {
    // Asked first: what it sent last would be missing otherwise.
    const bool hasEnded = peerHasEnded(fd);
    const ssize_t count = retry([&] { return ::recv(fd, buffer, size, MSG_PEEK | MSG_DONTWAIT); });
    if (count < 0 && errno == ECONNRESET)
        return Peeked{0, true};
    if (count < 0)
        return systemError("recv");
    const auto got = static_cast<size_t>(count);
    return Peeked{got, got == 0 || (hasEnded && got < size)};
}

} // namespace uds
