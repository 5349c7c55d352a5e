// What a server asks of a connection besides reading and writing. The
// descriptors are those of connected stream sockets. Nothing here blocks.
#ifndef UDS_POSIX_CONNECTION_H
#define UDS_POSIX_CONNECTION_H

#include "posix_fd.h"

namespace uds {

struct Peeked {
    size_t size = 0;
    bool ended = false; // nothing comes after these bytes, where the system tells
};
// What waits to be read, which goes on waiting. EAGAIN when nothing does. A
// connection that the peer has reset has ended.
Result<Peeked> peekBytes(int fd, void *buffer, size_t size);

} // namespace uds

#endif
