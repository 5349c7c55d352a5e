// The monotonic clock, which all processes of a machine share, and deadlines on
// it in milliseconds.
#ifndef UDS_POSIX_CLOCK_H
#define UDS_POSIX_CLOCK_H

#include <chrono>
#include <cstdint>
#include <optional>

namespace uds {

inline uint64_t monotonicMicros() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

using Deadline = std::optional<std::chrono::steady_clock::time_point>;

// No deadline for a negative number of milliseconds.
inline Deadline deadlineIn(int ms) {
    if (ms < 0)
        return std::nullopt;
    return std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
}

// What is left, rounded up so that a wait never ends early; -1 without a
// deadline, as poll(2) takes it.
inline int remainingMs(const Deadline &deadline) {
    if (!deadline)
        return -1;
    const auto left = *deadline - std::chrono::steady_clock::now();
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return ms > 0 ? static_cast<int>(ms) : 0;
}

inline bool expired(const Deadline &deadline) {
    return deadline && std::chrono::steady_clock::now() >= *deadline;
}

} // namespace uds

#endif
