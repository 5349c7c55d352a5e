// What the targets have in common: the input as a sequence of decisions, a property
// that must hold, the descriptors that are open. A target is LLVMFuzzerTestOneInput
// in a file of its own, built with all of posix_*.cpp; see doc/fuzzing.md.
#ifndef UDS_FUZZ_H
#define UDS_FUZZ_H

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

// The linker puts this in the place of getaddrinfo: no name is looked up.
extern "C" {
int __real_getaddrinfo(const char *host, const char *port, const addrinfo *hints, addrinfo **found);

int __wrap_getaddrinfo(const char *host, const char *port, const addrinfo *hints,
                       addrinfo **found) {
    addrinfo numeric = *hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    return __real_getaddrinfo(host, port, &numeric, found);
}
}

namespace fuzz {

// Takes from the front; what is missing at the end is zero, or empty.
class Input {
public:
    Input(const uint8_t *bytes, size_t size) : at_(bytes), end_(bytes + size) {}
    bool empty() const { return at_ == end_; }
    unsigned byte() { return at_ == end_ ? 0 : *at_++; }
    unsigned upTo(unsigned most) { return byte() % (most + 1); }
    std::string bytes(size_t count) {
        const size_t taken = std::min(count, static_cast<size_t>(end_ - at_));
        at_ += taken;
        return std::string(at_ - taken, at_);
    }
    std::string rest() { return bytes(static_cast<size_t>(end_ - at_)); }

private:
    const uint8_t *at_;
    const uint8_t *end_;
};

inline void require(bool holds, const char *property) {
    if (holds)
        return;
    std::fprintf(stderr, "ERROR: not true: %s\n", property);
    std::abort();
}

constexpr int kOpenFiles = 400;

// Which of the descriptors below kOpenFiles are open.
inline std::vector<bool> openDescriptors() {
    static std::vector<pollfd> all(kOpenFiles);
    for (int fd = 0; fd < kOpenFiles; ++fd)
        all[static_cast<size_t>(fd)] = {fd, 0, 0};
    ::poll(all.data(), all.size(), 0);
    std::vector<bool> open(kOpenFiles);
    for (size_t fd = 0; fd < open.size(); ++fd)
        open[fd] = (all[fd].revents & POLLNVAL) == 0;
    return open;
}

inline void limitDescriptors(int limit) {
    rlimit value{};
    ::getrlimit(RLIMIT_NOFILE, &value);
    value.rlim_cur = static_cast<rlim_t>(limit);
    ::setrlimit(RLIMIT_NOFILE, &value);
}

// All that is opened in this scope has to be closed at its end.
class NothingLeft {
public:
    NothingLeft() : before_(openDescriptors()) {}
    ~NothingLeft() { require(openDescriptors() == before_, "every descriptor has been closed"); }
    NothingLeft(const NothingLeft &) = delete;
    NothingLeft &operator=(const NothingLeft &) = delete;

private:
    std::vector<bool> before_;
};

} // namespace fuzz

#endif
