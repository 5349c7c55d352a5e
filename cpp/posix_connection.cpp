#include "posix_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>

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

Status limitSilence(int fd, int ms) {
    const timeval limit{ms / 1000, (ms % 1000) * 1000L};
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
        return systemError("setsockopt");
#if defined(TCP_USER_TIMEOUT) && !defined(UDS_PORTABLE)
    const int failed = ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
#else
    const int failed = ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
#endif
    return failed < 0 ? Status(systemError("setsockopt")) : Nothing{};
}

std::optional<int> silentMs(int fd) {
#if defined(__linux__) && !defined(UDS_PORTABLE)
    tcp_info info{};
    socklen_t length = sizeof info;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
        return std::nullopt;
    // What is only sent again and again does not get there.
    const unsigned sent = info.tcpi_retransmits == 0
                              ? info.tcpi_last_data_sent
                              : std::max(info.tcpi_last_data_sent, info.tcpi_last_ack_recv);
    return static_cast<int>(std::min(sent, info.tcpi_last_data_recv));
#else
    static_cast<void>(fd);
    return std::nullopt;
#endif
}

} // namespace uds
