#include "posix_passing.h"

#include "posix_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstring>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

namespace uds {

namespace {

#if defined(MSG_CMSG_CLOEXEC) && !defined(UDS_PORTABLE)
constexpr int kCloseOnExec = MSG_CMSG_CLOEXEC;
#else
constexpr int kCloseOnExec = 0;
#endif

#ifdef __linux__
constexpr int kScmPidfd = 4; // SCM_PIDFD, newer than Debian 12's headers
#else
constexpr int kScmPidfd = -1;
#endif

// What the kernel adds by itself, where somebody has asked for it (SO_PASSCRED,
// SO_PASSSEC, SO_PASSPIDFD), comes before the descriptors.
constexpr size_t kExtras = 256;

// Room for the control data of one message.
struct ControlBuffer {
    alignas(cmsghdr) char bytes[CMSG_SPACE(kMaxDescriptors * sizeof(int)) + kExtras];
};

void attach(msghdr &message, ControlBuffer &control, const std::vector<int> &descriptors) {
    const size_t size = descriptors.size() * sizeof(int);
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(size);
    memset(control.bytes, 0, CMSG_SPACE(size));
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), descriptors.data(), size);
}

// Everything that the kernel installed gets an owner here, before anything
// is looked at; what nobody asked for is closed by leaving this function.
void takeDescriptors(msghdr &raw, Message &message) {
    std::vector<UniqueFd> unwanted;
    for (cmsghdr *header = CMSG_FIRSTHDR(&raw); header; header = CMSG_NXTHDR(&raw, header)) {
        if (header->cmsg_level != SOL_SOCKET)
            continue;
        if (header->cmsg_type != SCM_RIGHTS && header->cmsg_type != kScmPidfd)
            continue;
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        auto &owner = header->cmsg_type == SCM_RIGHTS ? message.descriptors : unwanted;
        owner.reserve(owner.size() + count);
        for (size_t i = 0; i < count; ++i) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            owner.emplace_back(fd);
            if (kCloseOnExec == 0)
                ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
}

ssize_t receiveOnce(int fd, msghdr &message, bool nonBlocking) {
    const int flags = kCloseOnExec | (nonBlocking ? MSG_DONTWAIT : 0);
    for (;;) {
        const size_t controlSize = message.msg_controllen;
        const ssize_t count = ::recvmsg(fd, &message, flags);
        if (count >= 0)
            return count;
        message.msg_controllen = controlSize;
        if (isWouldBlock(errno) && !nonBlocking)
            waitFor(fd, POLLIN);
        else if (errno != EINTR)
            return -1;
    }
}

Result<size_t> sendFirst(int fd, msghdr &message, bool nonBlocking) {
    const int flags = MSG_NOSIGNAL | (nonBlocking ? MSG_DONTWAIT : 0);
    for (;;) {
        const ssize_t count = ::sendmsg(fd, &message, flags);
        if (count >= 0)
            return static_cast<size_t>(count);
        if (isWouldBlock(errno) && !nonBlocking)
            waitFor(fd, POLLOUT);
        else if (errno != EINTR)
            return systemError("sendmsg");
    }
}

} // namespace

Status sendDescriptors(int fd, const std::vector<int> &descriptors, const void *bytes, size_t size,
                       bool nonBlocking) {
    ControlBuffer control;
    iovec part{const_cast<void *>(bytes), size};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!descriptors.empty())
        attach(message, control, descriptors);
    Result<size_t> sent = sendFirst(fd, message, nonBlocking);
    if (!sent)
        return sent.error();
    // The descriptors went with the first byte; a second control part would
    // send them twice. A message must not be left half sent, so this waits.
    for (size_t done = sent.value(); done < size;) {
        sent = sendBytes(fd, static_cast<const char *>(bytes) + done, size - done, false);
        if (!sent)
            return sent.error();
        done += sent.value();
    }
    return Nothing{};
}

Result<Message> receiveMessage(int fd, void *buffer, size_t size, int maxDescriptors,
                               bool nonBlocking) {
    ControlBuffer control;
    iovec part{buffer, size};
    msghdr raw{};
    raw.msg_iov = &part;
    raw.msg_iovlen = 1;
    raw.msg_control = control.bytes;
    raw.msg_controllen = CMSG_SPACE(static_cast<size_t>(maxDescriptors) * sizeof(int)) + kExtras;
    const ssize_t count = receiveOnce(fd, raw, nonBlocking);
    if (count < 0)
        return systemError("recvmsg");
    Message message;
    takeDescriptors(raw, message);
    if ((raw.msg_flags & MSG_TRUNC) != 0)
        return systemError("recvmsg", EMSGSIZE);
    message.size = static_cast<size_t>(count);
    const auto most = static_cast<size_t>(maxDescriptors);
    message.descriptorsLost =
        (raw.msg_flags & MSG_CTRUNC) != 0 || message.descriptors.size() > most;
    if (message.descriptors.size() > most)
        message.descriptors.resize(most);
    return message;
}

} // namespace uds
