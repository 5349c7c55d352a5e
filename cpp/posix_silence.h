// TCP connections that are silent for too long.
//
// A process that blocks in reading a connection can be woken only by a signal
// or another thread. Here a timer sends a real-time signal that nobody else
// uses to the thread, and its handler shuts the silent connections down: what
// blocks on one sees its end. The timer runs only while there are limits. After
// fork the child has none.
#ifndef UDS_POSIX_SILENCE_H
#define UDS_POSIX_SILENCE_H

#include "posix_fd.h"

#include <optional>

namespace uds {

// The connection is shut down once it has been silent for so long, counted from
// this call at the earliest, and up to an eighth later. 0: no limit. Ends with
// the descriptor. Where the system lacks what is needed, and in a second
// thread, a blocking read or write fails with EAGAIN in place of that.
Status limitSilence(int fd, int ms);

// Milliseconds since data came or went, or since the limit was set if that is
// less; nullopt where the system does not tell.
std::optional<int> silentMs(int fd);

} // namespace uds

#endif
