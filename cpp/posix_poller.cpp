#include "posix_poller.h"

#include <fcntl.h>
#include <poll.h>

#if defined(__linux__) && !defined(UDS_PORTABLE)
#define UDS_EPOLL 1
#include <sys/epoll.h>
#endif

namespace uds {

namespace {

constexpr int kBatch = 128;
constexpr short kAsked = POLLIN | POLLOUT | POLLPRI;

} // namespace

void Poller::forget(int fd) {
    const auto found = watches_.find(fd);
    if (found == watches_.end())
        return;
    alwaysReady_ -= found->second.alwaysReady;
    watches_.erase(found);
#ifdef UDS_EPOLL
    // Fails when fd was closed first; the kernel has dropped it then.
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
#endif
}

bool Poller::watch(int fd, short events) {
    Watch &watch = watches_[fd];
    alwaysReady_ -= watch.alwaysReady;
    watch = Watch{events, false};
    if (attach(fd, watch)) {
        alwaysReady_ += watch.alwaysReady;
        return true;
    }
    watches_.erase(fd);
    return false;
}

// An error or a hang-up is shown as everything that was asked for, so that
// whoever waits finds out by trying.
void Poller::collect(std::vector<Ready> &ready, int fd, short happened) {
    const auto found = watches_.find(fd);
    if (found == watches_.end())
        return;
    const bool broken = (happened & ~kAsked) != 0;
    const short events = broken ? found->second.events : happened & found->second.events;
    if (events != 0)
        ready.push_back({fd, events});
}

void Poller::reset(bool keepWatching) {
    epoll_.reset();
    alwaysReady_ = 0;
    auto before = std::exchange(watches_, {});
    if (!keepWatching)
        return;
    for (auto &[fd, each] : before)
        watch(fd, each.events);
}

#ifdef UDS_EPOLL

static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLPRI == POLLPRI);

bool Poller::attach(int fd, Watch &watch) {
    if (!epoll_)
        epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = static_cast<uint32_t>(watch.events);
    event.data.fd = fd;
    // The number may be known from a descriptor that was closed meanwhile.
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0)
        return true;
    if (errno == EEXIST)
        return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0;
    watch.alwaysReady = errno == EPERM;
    return watch.alwaysReady;
}

std::vector<Poller::Ready> Poller::wait(int timeoutMs) {
    std::vector<Ready> ready;
    if (alwaysReady_ > 0)
        for (auto &[fd, each] : watches_)
            if (each.alwaysReady)
                ready.push_back({fd, each.events});
    if (!epoll_)
        epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event events[kBatch];
    const int count = ::epoll_wait(epoll_.get(), events, kBatch, ready.empty() ? timeoutMs : 0);
    bool stale = false;
    for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        stale = stale || watches_.count(fd) == 0;
        collect(ready, fd, static_cast<short>(events[i].events));
    }
    // A descriptor that was closed while a copy of it lives in another
    // process cannot be taken out of an epoll instance any more.
    if (stale)
        reset(true);
    return ready;
}

#else

bool Poller::attach(int fd, Watch &) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

std::vector<Poller::Ready> Poller::wait(int timeoutMs) {
    std::vector<pollfd> polled;
    for (auto &[fd, each] : watches_)
        polled.push_back({fd, each.events, 0});
    std::vector<Ready> ready;
    if (::poll(polled.data(), polled.size(), timeoutMs) > 0)
        for (const pollfd &each : polled)
            if ((each.revents & POLLNVAL) != 0)
                forget(each.fd); // closed without a word
            else if (each.revents != 0)
                collect(ready, each.fd, each.revents);
    return ready;
}

#endif

} // namespace uds
