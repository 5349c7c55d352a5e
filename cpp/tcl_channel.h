// Connected unix-domain sockets as Tcl channels.
//
// A channel owns its descriptor. In blocking mode its calls block (signals do
// not end them); in non-blocking mode none does. The mode is the channel's
// own: the O_NONBLOCK flag, which other processes may share, is not touched.
// After fork the child's copy closes its descriptor and nothing else.
#ifndef UDS_TCL_CHANNEL_H
#define UDS_TCL_CHANNEL_H

#include "posix_address.h"
#include "posix_clock.h"
#include "posix_passing.h"
#include "tcl_support.h"

#include <deque>
#include <memory>
#include <optional>

namespace uds {

class UnixChannel;

// What recvfd asks of the driver, and what came.
struct ReceiveRequest {
    int maxDescriptors = kMaxDescriptors;
    // In memory that the next request of this thread overwrites.
    const unsigned char *data = nullptr;
    size_t size = 0;
    std::vector<UniqueFd> descriptors;
    std::optional<Error> error;
};

// A channel for a connected socket of the given type (SOCK_STREAM,
// SOCK_SEQPACKET). Not registered with any interpreter yet.
Tcl_Channel openUnixChannel(UniqueFd fd, int type);
// One whose server's backlog was full: goes on trying from the event loop.
Tcl_Channel openConnectingChannel(UniqueFd fd, const Address &server, const Deadline &deadline);

// The driver state of a channel that is ours and has nothing stacked on it,
// or null.
UnixChannel *unixChannelOf(Tcl_Channel channel);
// The same for the bottom of a stack.
UnixChannel *unixChannelBelow(Tcl_Channel channel);
bool isUnixChannel(Tcl_Channel channel);

int descriptorOf(const UnixChannel &channel);
bool isNonBlocking(const UnixChannel &channel);
bool holdsDescriptors(const UnixChannel &channel);
// How many messages with descriptors ordinary reads brought that nobody took.
int heldMessages(const UnixChannel &channel);
bool isConnecting(const UnixChannel &channel);

// A read or write in blocking mode that waits for so long hangs the connection
// up: the read sees its end, the write fails with ETIMEDOUT. 0: no limit.
void limitSilence(UnixChannel &channel, int ms);
// Since the channel has read or written something, or was made.
int silentMs(const UnixChannel &channel);

// One message through Tcl's own read path, so that eof and fblocked are
// right afterwards. False at end of file, when nothing waits on a
// non-blocking channel, and (request.error is set) after an error.
bool receive(Tcl_Channel channel, UnixChannel &state, ReceiveRequest &request);

} // namespace uds

#endif
