#include "posix_poller.h"

#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#if defined(__linux__) && !defined(UDS_PORTABLE)
#define UDS_EPOLL 1
#include <sys/epoll.h>
#endif

namespace uds {

namespace {

constexpr short kAsked = POLLIN | POLLOUT | POLLPRI;
constexpr int kPauseMs = 10;

// poll(2) takes no more descriptors than the process may open: a limit that was lowered
// below what is open already makes it fail at once. Then they are looked at in parts.
int pollAll(std::vector<pollfd> &polled, int timeoutMs) {
    const int count = ::poll(polled.data(), polled.size(), timeoutMs);
    if (count >= 0 || errno != EINVAL)
        return count;
    struct rlimit limit {};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    int found = 0;
    for (size_t from = 0; from < polled.size() && limit.rlim_cur > 0;) {
        const size_t part = std::min<size_t>(limit.rlim_cur, polled.size() - from);
        found += std::max(0, ::poll(&polled[from], part, 0));
        from += part;
    }
    if (found == 0)
        ::poll(nullptr, 0, timeoutMs < 0 ? kPauseMs : std::min(kPauseMs, timeoutMs));
    return found;
}

} // namespace

void Poller::watch(int fd, short events) {
    Watch &watch = watches_[fd];
    // Tcl asks for the same again after each read. What was just reported needs no
    // new look; anything else may have been closed and its number used again.
    if (watch.events == events && watch.attached && watch.readyIn == waits_)
        return;
    alwaysReady_ -= std::exchange(watch.alwaysReady, false);
    watch.events = events;
    if (epoll_ && !attach(fd, watch))
        epoll_.reset();
}

void Poller::forget(int fd) {
    const auto found = watches_.find(fd);
    if (found == watches_.end())
        return;
    alwaysReady_ -= found->second.alwaysReady;
    watches_.erase(found);
    detach(fd);
}

void Poller::wakeOne(int fd) {
    wakesOne_.insert(fd);
    const auto found = watches_.find(fd);
    if (found == watches_.end())
        return;
    found->second.attached = false;
    watch(fd, found->second.events);
}

std::vector<Poller::Ready> Poller::wait(int timeoutMs) {
    ++waits_;
    return epoll_ || open() ? waitInEpoll(timeoutMs) : waitInPoll(timeoutMs);
}

void Poller::reset(bool keepWatching) {
    epoll_.reset();
    if (!keepWatching) {
        watches_.clear();
        wakesOne_.clear();
        alwaysReady_ = 0;
    }
}

// An error or a hang-up is shown as everything that was asked for, so that
// whoever waits finds out by trying.
void Poller::collect(std::vector<Ready> &ready, int fd, Watch &watch, short happened) const {
    watch.readyIn = waits_;
    const bool broken = (happened & ~kAsked) != 0;
    const short events = broken ? watch.events : happened & watch.events;
    if (events != 0)
        ready.push_back({fd, events});
}

std::vector<Poller::Ready> Poller::waitInPoll(int timeoutMs) {
    std::vector<pollfd> polled;
    for (auto &[fd, each] : watches_)
        polled.push_back({fd, each.events, 0});
    std::vector<Ready> ready;
    if (pollAll(polled, timeoutMs) <= 0)
        return ready;
    for (const pollfd &each : polled)
        if ((each.revents & POLLNVAL) != 0)
            forget(each.fd); // closed without a word
        else if (each.revents != 0)
            collect(ready, each.fd, watches_.find(each.fd)->second, each.revents);
    return ready;
}

#ifdef UDS_EPOLL

namespace {

constexpr int kBatch = 128;

uint64_t tagOf(int fd, uint32_t generation) {
    return static_cast<uint64_t>(generation) << 32 | static_cast<uint32_t>(fd);
}

int descriptorIn(uint64_t tag) {
    return static_cast<int>(tag & 0xffffffffU);
}

} // namespace

static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLPRI == POLLPRI);

const char *Poller::method() {
    return "epoll";
}

bool Poller::wakesOnlyOne() {
    return true;
}

bool Poller::open() {
    epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    for (auto &[fd, each] : watches_) {
        alwaysReady_ -= std::exchange(each.alwaysReady, false);
        each.attached = false;
        if (epoll_ && !attach(fd, each))
            epoll_.reset();
    }
    return static_cast<bool>(epoll_);
}

// False when epoll cannot take a descriptor that is open.
bool Poller::attach(int fd, Watch &watch) {
    epoll_event event{};
    event.events = static_cast<uint32_t>(watch.events);
    event.data.u64 = tagOf(fd, watch.generation);
    if (wakesOne_.count(fd) > 0 && (watch.events & POLLPRI) == 0) {
        event.events |= EPOLLEXCLUSIVE; // which the kernel lets nobody modify
        detach(fd);
    } else if (watch.attached && ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0) {
        return true;
    }
    watch.generation = ++generation_;
    event.data.u64 = tagOf(fd, watch.generation);
    watch.attached = ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
    if (watch.attached)
        return true;
    if (errno == EEXIST)
        return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0;
    watch.alwaysReady = errno == EPERM; // a regular file
    alwaysReady_ += watch.alwaysReady;
    return watch.alwaysReady || errno == EBADF;
}

void Poller::detach(int fd) {
    // Fails when fd was closed first; the kernel has dropped it then.
    if (epoll_)
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

std::vector<Poller::Ready> Poller::waitInEpoll(int timeoutMs) {
    std::vector<Ready> ready;
    if (alwaysReady_ > 0)
        for (auto &[fd, each] : watches_)
            if (each.alwaysReady)
                ready.push_back({fd, each.events});
    epoll_event events[kBatch];
    const int count = ::epoll_wait(epoll_.get(), events, kBatch, ready.empty() ? timeoutMs : 0);
    if (count < 0 && errno != EINTR) {
        epoll_.reset();
        return waitInPoll(timeoutMs);
    }
    bool stale = false;
    for (int i = 0; i < count; ++i) {
        const int fd = descriptorIn(events[i].data.u64);
        const auto found = watches_.find(fd);
        if (found != watches_.end() && events[i].data.u64 == tagOf(fd, found->second.generation))
            collect(ready, fd, found->second, static_cast<short>(events[i].events));
        else
            stale = true;
    }
    // A descriptor that was closed while a copy of it lives in another
    // process cannot be taken out of an epoll instance any more.
    if (stale)
        epoll_.reset();
    return ready;
}

#else

const char *Poller::method() {
    return "poll";
}

bool Poller::wakesOnlyOne() {
    return false;
}

bool Poller::open() {
    return false;
}

bool Poller::attach(int, Watch &) {
    return true;
}

void Poller::detach(int) {}

std::vector<Poller::Ready> Poller::waitInEpoll(int timeoutMs) {
    return waitInPoll(timeoutMs);
}

#endif

} // namespace uds
