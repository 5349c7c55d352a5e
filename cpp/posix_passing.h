// Descriptors in messages (SCM_RIGHTS).
#ifndef UDS_POSIX_PASSING_H
#define UDS_POSIX_PASSING_H

#include "posix_fd.h"

#include <cstddef>
#include <vector>

namespace uds {

// The kernel's limit for one message.
constexpr int kMaxDescriptors = 253;

// Sends all of `bytes`, the descriptors with the first of them; the sender
// keeps its own copies. EAGAIN (nothing sent) when the peer's queue is full
// and nonBlocking is set. At least one byte is needed.
Status sendDescriptors(int fd, const std::vector<int> &descriptors, const void *bytes, size_t size,
                       bool nonBlocking);

struct Message {
    size_t size = 0; // 0 at end of file
    std::vector<UniqueFd> descriptors;
    // The kernel dropped descriptors: more came than were asked for, or this
    // process may not open so many.
    bool descriptorsLost = false;
};

// One recvmsg. Takes at most maxDescriptors, all close-on-exec. EMSGSIZE when
// a record does not fit the buffer (its descriptors are closed).
Result<Message> receiveMessage(int fd, void *buffer, size_t size, int maxDescriptors,
                               bool nonBlocking);

} // namespace uds

#endif
