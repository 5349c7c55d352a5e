// A peer that sends what the input says: any bytes, with descriptors of every kind,
// credentials, and control data of wrong types and lengths.
#ifndef UDS_FUZZ_PEER_H
#define UDS_FUZZ_PEER_H

#include "fuzz.h"
#include "posix_passing.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

namespace fuzz {

using File = std::pair<dev_t, ino_t>;

inline File fileOf(int fd) {
    struct stat info {};
    require(::fstat(fd, &info) == 0, "a descriptor is open");
    return {info.st_dev, info.st_ino};
}

inline std::array<int, 2> socketPair(int type) {
    std::array<int, 2> ends{-1, -1};
    require(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) == 0, "a pair opens");
    return ends;
}

inline int listeningSocket() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::listen(fd, 1);
    return fd;
}

// Open as long as the program runs: one of each kind, with its number in the list.
inline const std::vector<int> &everyKind() {
    static const std::vector<int> all = [] {
        std::array<int, 2> pipe{};
        require(::pipe2(pipe.data(), O_CLOEXEC) == 0, "a pipe opens");
        const std::array<int, 2> pair = socketPair(SOCK_STREAM);
        const std::array<int, 2> closed = socketPair(SOCK_STREAM);
        ::close(closed[1]);
        return std::vector<int>{
            ::open("/dev/null", O_RDWR | O_CLOEXEC),
            ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
            ::open("/", O_PATH | O_CLOEXEC),
            ::open("/proc/self/status", O_RDONLY | O_CLOEXEC),
            pipe[0],
            pipe[1],
            pair[0],
            pair[1],
            closed[0],
            listeningSocket(),
            ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0),
            ::epoll_create1(EPOLL_CLOEXEC),
            ::eventfd(0, EFD_CLOEXEC),
            ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
            ::memfd_create("fuzz", MFD_CLOEXEC),
            static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)),
        };
    }();
    return all;
}

// What the kernel took: one message.
struct Sent {
    std::string bytes;
    std::vector<File> files;
};

class Peer {
public:
    // `back` may be sent, too: a socket that carries itself.
    Peer(int fd, int back) : fd_(fd), back_(back) {}

    // `bytes` with the control data that the input says. False: the kernel refused it.
    bool send(Input &input, const std::string &bytes, Sent &sent) {
        size_ = 0;
        sent = {bytes, {}};
        const unsigned parts = input.upTo(3);
        for (unsigned i = 0; i < parts; ++i)
            addPart(input, sent.files);
        iovec part{const_cast<char *>(bytes.data()), bytes.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = size_ > 0 ? control_ : nullptr;
        message.msg_controllen = size_;
        const ssize_t count = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0)
            sent.bytes.resize(static_cast<size_t>(count));
        return count >= 0;
    }

private:
    void addPart(Input &input, std::vector<File> &files) {
        switch (input.upTo(3)) {
        case 0:
        case 1:
            addRights(input, files);
            break;
        case 2:
            addCredentials();
            break;
        default:
            addWrong(input);
        }
    }

    cmsghdr *add(int type, const void *bytes, size_t size) {
        if (size_ + CMSG_SPACE(size) > sizeof control_)
            return nullptr;
        auto *header = reinterpret_cast<cmsghdr *>(control_ + size_);
        std::memset(control_ + size_, 0, CMSG_SPACE(size));
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = type;
        header->cmsg_len = CMSG_LEN(size);
        if (size > 0)
            std::memcpy(CMSG_DATA(header), bytes, size);
        size_ += CMSG_SPACE(size);
        return header;
    }

    // Of one kind, or of all in turn. One more than 253 is refused.
    void addRights(Input &input, std::vector<File> &files) {
        const std::vector<int> &kinds = everyKind();
        const unsigned count = input.byte();
        const unsigned first = input.byte();
        const unsigned step = input.upTo(1);
        std::vector<int> fds;
        for (unsigned i = 0; i < count; ++i) {
            const size_t kind = (first + i * step) % (kinds.size() + 1);
            fds.push_back(kind == kinds.size() ? back_ : kinds[kind]);
        }
        if (!add(SCM_RIGHTS, fds.data(), fds.size() * sizeof(int)))
            return;
        for (int fd : fds)
            files.push_back(fileOf(fd));
    }

    void addCredentials() {
        const ucred self{::getpid(), ::getuid(), ::getgid()};
        add(SCM_CREDENTIALS, &self, sizeof self);
    }

    void addWrong(Input &input) {
        const int type = static_cast<int>(input.byte());
        const std::string bytes = input.bytes(input.upTo(40));
        cmsghdr *header = add(type, bytes.data(), bytes.size());
        if (!header)
            return;
        // With numbers that may be descriptors, the model would not know which.
        if (type == SCM_RIGHTS)
            header->cmsg_type = SCM_CREDENTIALS;
        if (input.upTo(3) == 0)
            header->cmsg_level = static_cast<int>(input.byte());
        if (input.upTo(3) == 0)
            header->cmsg_len = input.byte();
    }

    int fd_;
    int back_;
    alignas(cmsghdr) char control_[4 * CMSG_SPACE(256 * sizeof(int))];
    size_t size_ = 0;
};

} // namespace fuzz

#endif
