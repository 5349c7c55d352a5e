// exchange.h: a connection that sends a request, and reads up to the end of file.

#ifndef BENCH_EXCHANGE_H
#define BENCH_EXCHANGE_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

// False when the host is no address in numbers.
inline bool parseAddress(const char *host, const char *port, sockaddr_in &address) {
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(atoi(port)));
    return ::inet_pton(AF_INET, host, &address.sin_addr) == 1;
}

// Nothing here blocks.
class Exchange {
public:
    enum class State { unfinished, complete, failed }; // errno says why

    Exchange() = default;
    Exchange(const Exchange &) = delete;
    Exchange &operator=(const Exchange &) = delete;
    ~Exchange() { close(); }

    // Its events have `data`. False, with errno, when it has failed.
    bool connect(const sockaddr_in &server, int epoll, void *data,
                 const sockaddr_in *source = nullptr) {
        sent_ = 0;
        problem_ = 0;
        answer_.clear();
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int one = 1;
        if (fd_ < 0 || ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
            return false;
        if (source && (::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
                       ::bind(fd_, reinterpret_cast<const sockaddr *>(source), sizeof *source) < 0))
            return false;
        if (::connect(fd_, reinterpret_cast<const sockaddr *>(&server), sizeof server) < 0 &&
            errno != EINPROGRESS)
            return false;
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLET;
        event.data.ptr = data;
        return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd_, &event) == 0;
    }

    // After an event. Who does not listen may have answered, and said why.
    State proceed(const std::string &request) {
        if (sent_ < request.size() && problem_ == 0) {
            const ssize_t done =
                ::send(fd_, request.data() + sent_, request.size() - sent_, MSG_NOSIGNAL);
            if (done < 0 && (errno == EAGAIN || errno == ENOTCONN))
                return State::unfinished;
            if (done < 0)
                problem_ = errno;
            else
                sent_ += static_cast<size_t>(done);
        }
        char buffer[16384];
        for (;;) {
            const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN)
                return State::unfinished;
            if (got <= 0 && problem_ != 0)
                errno = problem_;
            if (got < 0 || (got == 0 && problem_ != 0))
                return State::failed;
            if (got == 0)
                return State::complete;
            answer_.append(buffer, static_cast<size_t>(got));
        }
    }

    void close() {
        if (fd_ >= 0)
            ::close(fd_);
        fd_ = -1;
    }

    bool isOpen() const { return fd_ >= 0; }
    const std::string &answer() const { return answer_; }

private:
    int fd_ = -1;
    size_t sent_ = 0;
    int problem_ = 0; // errno of a failed send
    std::string answer_;
};

#endif
