// The right kind of channel for a descriptor.
#ifndef UDS_TCL_ADOPT_H
#define UDS_TCL_ADOPT_H

#include "posix_address.h"
#include "posix_fd.h"
#include "tcl_support.h"

#include <functional>
#include <optional>

namespace uds {

// TCP socket: Tcl's TCP channel. Unix socket: ours. Listening socket: a
// listener. Anything else: Tcl's file channel, for the directions in which
// the descriptor is open. Registered with the interpreter. The descriptor, which
// is to be close-on-exec, becomes (sockets aside that are ours) blocking, as the
// new channel is.
// After an error the caller still owns the descriptor.
Result<Tcl_Channel> adopt(Tcl_Interp *interp, UniqueFd &fd);

// A channel for an accepted connection, registered, and the address to show: the
// client's, for a unix socket the one that the client connected to.
struct Connected {
    Tcl_Channel channel;
    Address shown;
};
Connected connectedChannel(Tcl_Interp *interp, UniqueFd fd, const Address &peer);
// {channel address port} of it.
Tcl_Obj *connectionWords(Tcl_Interp *interp, UniqueFd fd, const Address &peer);

// The descriptor that a channel has for one direction (TCL_READABLE or
// TCL_WRITABLE). Asking leaves no trace in the channel.
std::optional<int> descriptorOf(Tcl_Channel channel, int direction);

// Tcl 9 shuts a TCP connection down for reading when a channel is closed, in
// every process that holds it. After this call, closing the channel here
// leaves the connection alone. Nothing to do for other channels and Tcl 8.6.
void detachOnClose(Tcl_Channel channel);

// Calls for each channel of the interpreter, of the one that made it, and of
// all that are made by these: the whole family.
void forEachChannel(Tcl_Interp *interp,
                    const std::function<void(Tcl_Interp *, Tcl_Channel)> &visit);

} // namespace uds

#endif
