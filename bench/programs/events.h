// events.h: waiting for many descriptors with epoll.

#ifndef BENCH_EVENTS_H
#define BENCH_EVENTS_H

#include "clock.h"
#include "failure.h"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>

// For what can be read.
inline void watch(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

// Until then at the longest; step(event) for each. epoll_wait itself counts in milliseconds.
template <class Step> void waitForEvents(int epoll, Clock::time_point until, Step step) {
    const auto left = std::max(until - Clock::now(), Clock::duration(0));
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    const timespec patience{nanoseconds / 1000000000, nanoseconds % 1000000000};
    pollfd waited{epoll, POLLIN, 0};
    if (::ppoll(&waited, 1, &patience, nullptr) <= 0)
        return;
    epoll_event events[256];
    const int count = ::epoll_wait(epoll, events, 256, 0);
    for (int i = 0; i < count; ++i)
        step(events[i]);
}

#endif
