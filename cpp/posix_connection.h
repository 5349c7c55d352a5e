// What a server asks of a connection besides reading and writing. The
// descriptors are those of connected stream sockets. Nothing here blocks.
#ifndef UDS_POSIX_CONNECTION_H
#define UDS_POSIX_CONNECTION_H

#include "posix_fd.h"

#include <optional>

namespace uds {

struct Peeked {
    size_t size = 0;
    bool ended = false; // nothing comes after these bytes, where the system tells
};
// What waits to be read, which goes on waiting. EAGAIN when nothing does. A
// connection that the peer has reset has ended.
Result<Peeked> peekBytes(int fd, void *buffer, size_t size);

// For a TCP connection in blocking mode: a read that gets nothing for so long
// fails with EAGAIN, and a connection whose peer takes nothing for so long ends
// with ETIMEDOUT (where the system cannot end it, a write fails with EAGAIN).
// 0: no limit.
Status limitSilence(int fd, int ms);

// Milliseconds since data came or went on a TCP connection; nullopt where the
// system does not tell.
std::optional<int> silentMs(int fd);

} // namespace uds

#endif
