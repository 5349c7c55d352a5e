// Listening sockets as Tcl channels: unix and TCP, with or without a handler.
//
// A listener is non-blocking and may hold two sockets (IPv4 and IPv6 of one
// port). Closing it removes the socket file that this process made, and only
// that. After fork the child's copy removes nothing.
#ifndef UDS_TCL_LISTENER_H
#define UDS_TCL_LISTENER_H

#include "posix_queue.h"
#include "posix_socket.h"
#include "posix_socket_file.h"
#include "tcl_support.h"

#include <optional>
#include <vector>

namespace uds {

class Listener;

// Not registered with any interpreter yet.
Tcl_Channel openListener(std::vector<UniqueFd> sockets, std::optional<SocketFile> file);
// Every connection becomes a unix channel, appended to the handler's words.
// The handler runs in an interpreter of the channel's thread where the channel
// is registered and this library is loaded; until there is one, clients wait.
void setHandler(Listener &listener, const std::string &handler);

// For a forked child: the child calls the handler as well, or (keep is false)
// only the parent does.
void renewHandler(Listener &listener, bool keep);
bool isListener(Tcl_Channel channel);
// Null when the channel is not a listener of ours.
Listener *listenerOf(Tcl_Channel channel);
size_t socketCount(const Listener &listener);
std::vector<int> socketsOf(const Listener &listener); // borrowed
bool ownsSocket(const Listener &listener, int fd);

// The file that closing would remove, which stays from now on.
std::optional<SocketFile> disownFile(Listener &listener);
// Closing removes this file from now on.
void ownFile(Listener &listener, SocketFile file);

// EAGAIN when nothing waits on any of its sockets.
Result<Accepted> acceptFrom(Listener &listener);

// The connection that acceptFrom or handOff would give next, which stays theirs
// to give. EAGAIN when nothing waits.
Result<const Accepted *> lookAt(Listener &listener);

struct HandOff {
    int count = 0;
    enum class Stop { Max, Empty, Full, Descriptors, Memory, InFlight } stop = Stop::Max;
};
// Why a call that failed with this error may succeed later; nothing for an error
// that is not about room.
std::optional<HandOff::Stop> stopReason(int code, HandOff::Stop whenItWouldBlock);
// Accepts up to `max` connections and puts them into the queue. A connection
// that was accepted but found no place is kept, and is the next one (the only
// one with max 0). An error means that the listener or the queue is broken.
Result<HandOff> handOff(Listener &listener, int queue, int max);
// Puts the next connection only, with an id; Stop::Max when that was done.
Result<HandOff> handOffOne(Listener &listener, int queue, uint64_t id);

} // namespace uds

#endif
