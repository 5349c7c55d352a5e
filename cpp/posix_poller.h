// Waits on many descriptors: with epoll where the system has it and gives an
// instance (it takes a descriptor), else with poll. One process, one
// thread: after fork the child calls reset() before anything else, because
// an epoll instance is shared with the parent and changes there too.
#ifndef UDS_POSIX_POLLER_H
#define UDS_POSIX_POLLER_H

#include "posix_fd.h"

#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace uds {

class Poller {
public:
    struct Ready {
        int fd;
        short events; // POLLIN | POLLOUT | POLLPRI; errors and hang-ups show as all asked for
    };

    // Also replaces what is watched for fd. Descriptors that epoll refuses
    // (regular files) are always ready.
    void watch(int fd, short events);
    void forget(int fd);
    // Of several processes that watch this descriptor so, one is woken when it
    // becomes ready, not all. Where the system cannot do that, all are.
    void wakeOne(int fd);
    // Blocks up to timeoutMs (-1: for ever); a signal ends it early.
    std::vector<Ready> wait(int timeoutMs);
    static const char *method(); // "epoll" or "poll"
    static bool wakesOnlyOne();
    // Leaves the shared instance alone and watches the same descriptors with
    // one of its own, or none of them.
    void reset(bool keepWatching);

private:
    struct Watch {
        short events = 0;
        bool alwaysReady = false;
        bool attached = false;   // the instance has it, unless it was closed meanwhile
        uint32_t generation = 0; // tells it from what had the number before
        uint64_t readyIn = 0;    // the last wait that reported it
    };
    bool open();
    bool attach(int fd, Watch &watch);
    void detach(int fd);
    void collect(std::vector<Ready> &ready, int fd, Watch &watch, short happened) const;
    std::vector<Ready> waitInEpoll(int timeoutMs);
    std::vector<Ready> waitInPoll(int timeoutMs);

    UniqueFd epoll_; // empty: not open, or not to be had
    std::unordered_map<int, Watch> watches_;
    std::unordered_set<int> wakesOne_;
    int alwaysReady_ = 0;
    [[maybe_unused]] uint32_t generation_ = 0; // with epoll
    uint64_t waits_ = 0;
};

} // namespace uds

#endif
