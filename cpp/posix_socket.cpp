#include "posix_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 // such systems have SO_NOSIGPIPE, see prepare()
#endif

namespace uds {

namespace {

#if defined(SOCK_CLOEXEC) && !defined(UDS_PORTABLE)
constexpr int kCloseOnExec = SOCK_CLOEXEC;
#else
constexpr int kCloseOnExec = 0;
#endif

constexpr int kPickedPortAttempts = 16;

// Asked for at each end of a unix stream. Linux makes twice of it, and that is twice its
// own default: writer and reader wait for each other less often.
constexpr int kSendBuffer = 212992;

int option(int fd, int level, int name, int fallback) {
    int value = fallback;
    socklen_t length = sizeof value;
    return ::getsockopt(fd, level, name, &value, &length) < 0 ? fallback : value;
}

// What is no socket, or was opened with O_PATH, has no options; nor has every system this one.
Result<int> optionOrNone(int fd, int name, int none) {
    int value = none;
    socklen_t length = sizeof value;
    if (::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0)
        return value;
    if (errno == ENOTSOCK || errno == EBADF || errno == ENOPROTOOPT)
        return none;
    return systemError("getsockopt");
}

Status setOption(int fd, int level, int name, int value) {
    if (::setsockopt(fd, level, name, &value, sizeof value) < 0)
        return systemError("setsockopt");
    return Nothing{};
}

// What a new socket needs where the system cannot give it atomically.
void prepare(int fd) {
    if (kCloseOnExec == 0)
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
    static_cast<void>(setOption(fd, SOL_SOCKET, SO_NOSIGPIPE, 1));
#endif
}

void prepareStream(int fd) {
    if (option(fd, SOL_SOCKET, SO_SNDBUF, 0) <= kSendBuffer)
        static_cast<void>(setOption(fd, SOL_SOCKET, SO_SNDBUF, kSendBuffer));
}

// A unix socket waits SO_SNDTIMEO for a place in the backlog.
void limitConnect(int fd, const Deadline &deadline) {
    const int ms = deadline ? std::max(remainingMs(deadline), 1) : 0;
    const timeval limit{ms / 1000, (ms % 1000) * 1000L};
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

int rawAccept(int listener, Address &peer) {
#ifdef UDS_PORTABLE
    return ::accept(listener, peer.get(), &peer.length);
#else
    return ::accept4(listener, peer.get(), &peer.length, SOCK_CLOEXEC);
#endif
}

// accept(2): a connection that ended before it was accepted, or whose network failed.
// Others may wait behind it.
bool hasPassed(int code) {
    switch (code) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default:
        return false;
    }
}

void setPort(Address &address, int port) {
    if (address.family() == AF_INET)
        reinterpret_cast<sockaddr_in &>(address.storage).sin_port = htons(port);
    else
        reinterpret_cast<sockaddr_in6 &>(address.storage).sin6_port = htons(port);
}

// What bind would answer without them, "address already in use", explained nothing.
Status prepareToListen(int fd, const Address &address, bool reusePort) {
    Status status = setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (status && reusePort)
        status = setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    // IPv4 has a socket of its own, so that its clients keep their plain
    // addresses in -peername.
    if (status && address.family() == AF_INET6)
        status = setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    return status;
}

Result<UniqueFd> listenOne(const Address &address, int backlog, bool reusePort) {
    Result<UniqueFd> fd = openSocket(address.family(), SOCK_STREAM);
    if (!fd)
        return fd;
    const int raw = fd.value().get();
    if (Status prepared = prepareToListen(raw, address, reusePort); !prepared)
        return prepared.error();
    if (::bind(raw, address.get(), address.length) < 0)
        return systemError("bind");
    if (::listen(raw, backlog) < 0)
        return systemError("listen");
    Status status = setNonBlocking(raw, true);
    if (!status)
        return status.error();
    return fd;
}

// A machine without IPv6 answers one of these for the IPv6 address.
bool familyIsMissing(int code) {
    return code == EAFNOSUPPORT || code == EADDRNOTAVAIL || code == EPROTONOSUPPORT;
}

Result<std::vector<UniqueFd>> listenAll(std::vector<Address> &addresses, int backlog,
                                        bool reusePort) {
    std::vector<UniqueFd> fds;
    Error last = systemError("bind", EADDRNOTAVAIL);
    for (Address &address : addresses) {
        Result<UniqueFd> fd = listenOne(address, backlog, reusePort);
        if (!fd && !familyIsMissing(fd.error().code))
            return fd.error();
        if (!fd) {
            last = fd.error();
            continue;
        }
        Result<Address> bound = localAddress(fd.value().get());
        if (!bound)
            return bound.error(); // each address would get a port of its own
        for (Address &other : addresses)
            if (other.port() == 0)
                setPort(other, bound.value().port());
        fds.push_back(std::move(fd.value()));
    }
    if (fds.empty())
        return last;
    return fds;
}

} // namespace

Result<UniqueFd> openSocket(int family, int type) {
    UniqueFd fd(::socket(family, type | kCloseOnExec, 0));
    if (!fd)
        return systemError("socket");
    prepare(fd.get());
    if (family == AF_UNIX && type == SOCK_STREAM)
        prepareStream(fd.get());
    return fd;
}

Result<std::pair<UniqueFd, UniqueFd>> openPair(int type) {
    int fds[2];
    if (::socketpair(AF_UNIX, type | kCloseOnExec, 0, fds) < 0)
        return systemError("socketpair");
    for (int fd : fds) {
        prepare(fd);
        if (type == SOCK_STREAM)
            prepareStream(fd);
    }
    return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Status setNonBlocking(int fd, bool nonBlocking) {
    const int flags = ::fcntl(fd, F_GETFL);
    const int wanted = nonBlocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (flags < 0 || (wanted != flags && ::fcntl(fd, F_SETFL, wanted) < 0))
        return systemError("fcntl");
    return Nothing{};
}

Status setCloseOnExec(int fd) {
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return systemError("fcntl");
    return Nothing{};
}

bool isOpen(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

Status tryConnect(int fd, const Address &address) {
    Status status = setNonBlocking(fd, true);
    if (!status)
        return status;
    const int result = retry([&] { return ::connect(fd, address.get(), address.length); });
    const int code = errno;
    status = setNonBlocking(fd, false);
    if (result < 0 && code != EISCONN)
        return systemError("connect", code == EINPROGRESS || code == EALREADY ? EAGAIN : code);
    return status;
}

Status connectBy(int fd, const Address &address, const Deadline &deadline) {
    int result = 0;
    do {
        limitConnect(fd, deadline);
        result = ::connect(fd, address.get(), address.length);
    } while (result < 0 && (errno == EINTR || isWouldBlock(errno)) && !expired(deadline));
    if (result < 0 && errno != EISCONN)
        return systemError("connect", isWouldBlock(errno) || errno == EINTR ? ETIMEDOUT : errno);
    limitConnect(fd, std::nullopt);
    return Nothing{};
}

Result<std::vector<UniqueFd>> listenInet(std::vector<Address> addresses, int backlog,
                                         bool reusePort) {
    const bool picked = addresses.size() > 1 && addresses[0].port() == 0;
    for (int attempt = 1;; ++attempt) {
        std::vector<Address> attempted = addresses;
        auto fds = listenAll(attempted, backlog, reusePort);
        // The port that was free in one family may be taken in the other.
        if (fds || !picked || fds.error().code != EADDRINUSE || attempt == kPickedPortAttempts)
            return fds;
    }
}

Result<Accepted> acceptFrom(int listener) {
    for (;;) {
        Accepted accepted;
        accepted.fd = UniqueFd(rawAccept(listener, accepted.peer));
        if (accepted.fd) {
#ifdef UDS_PORTABLE
            // Some systems let an accepted socket inherit O_NONBLOCK.
            prepare(accepted.fd.get());
            Status status = setNonBlocking(accepted.fd.get(), false);
            if (!status)
                return status.error();
#endif
            if (accepted.peer.family() == AF_UNIX)
                prepareStream(accepted.fd.get());
            return accepted;
        }
        if (!hasPassed(errno))
            return systemError("accept");
    }
}

void refuse(UniqueFd connection, const void *bytes, size_t size) {
    const int fd = connection.get();
    const char *at = static_cast<const char *>(bytes);
    for (Result<size_t> sent = size_t{0}; sent && size > 0;) {
        sent = sendBytes(fd, at, size, true);
        at += sent ? sent.value() : 0;
        size -= sent ? sent.value() : 0;
    }
    static_cast<void>(shutDown(fd, SHUT_WR));
    char unread[4096];
    for (int i = 0; i < 16; ++i) {
        Result<size_t> got = receiveBytes(fd, unread, sizeof unread, true);
        if (!got || got.value() == 0)
            return;
    }
}

namespace {

// Repeats a call after signals, and in blocking mode waits as long as it takes.
template <class Call>
Result<size_t> transfer(const char *what, int fd, short events, bool nonBlocking, Call call) {
    for (;;) {
        const ssize_t count = call(nonBlocking ? MSG_DONTWAIT : 0);
        if (count >= 0)
            return static_cast<size_t>(count);
        if (isWouldBlock(errno) && !nonBlocking)
            waitFor(fd, events);
        else if (errno != EINTR)
            return systemError(what);
    }
}

} // namespace

Result<size_t> receiveStream(int fd, void *buffer, size_t size, bool nonBlocking) {
    return transfer("recv", fd, POLLIN, nonBlocking,
                    [=](int flags) { return ::recv(fd, buffer, size, flags); });
}

Result<size_t> receiveBytes(int fd, void *buffer, size_t size, bool nonBlocking) {
    iovec part{buffer, size};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    Result<size_t> received = transfer("recvmsg", fd, POLLIN, nonBlocking,
                                       [&](int flags) { return ::recvmsg(fd, &message, flags); });
    // Only a record can be cut: bytes of a stream stay for the next call.
    if (received && (message.msg_flags & MSG_TRUNC) != 0)
        return systemError("recvmsg", EMSGSIZE);
    return received;
}

Result<size_t> sendBytes(int fd, const void *bytes, size_t size, bool nonBlocking) {
    return transfer("send", fd, POLLOUT, nonBlocking,
                    [=](int flags) { return ::send(fd, bytes, size, MSG_NOSIGNAL | flags); });
}

Status shutDown(int fd, int how) {
    if (::shutdown(fd, how) < 0 && errno != ENOTCONN)
        return systemError("shutdown");
    return Nothing{};
}

int pendingError(int fd) {
    return option(fd, SOL_SOCKET, SO_ERROR, 0);
}

Result<int> socketType(int fd) {
    return optionOrNone(fd, SO_TYPE, -1);
}

Result<int> socketFamily(int fd) {
    Result<Address> address = localAddress(fd);
    if (!address)
        return address.error();
    return address.value().family();
}

Result<bool> isListening(int fd) {
    Result<int> accepts = optionOrNone(fd, SO_ACCEPTCONN, 0);
    if (!accepts)
        return accepts.error();
    return accepts.value() != 0;
}

Result<Credentials> peerCredentials(int fd) {
    Credentials credentials;
#ifdef SO_PEERCRED
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return systemError("getsockopt");
    // Nobody is at the other end of a socket that is not connected.
    if (peer.uid == static_cast<uid_t>(-1))
        return systemError("getsockopt", ENOTCONN);
    credentials = {peer.pid, peer.uid, peer.gid};
#else
    if (::getpeereid(fd, &credentials.uid, &credentials.gid) < 0)
        return systemError("getpeereid");
#endif
    return credentials;
}

} // namespace uds
