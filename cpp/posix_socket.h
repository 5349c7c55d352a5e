// Sockets: made, connected, accepted, asked. Every descriptor is
// close-on-exec from the call that makes it.
#ifndef UDS_POSIX_SOCKET_H
#define UDS_POSIX_SOCKET_H

#include "posix_address.h"
#include "posix_clock.h"
#include "posix_fd.h"

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace uds {

Result<UniqueFd> openSocket(int family, int type);
Result<std::pair<UniqueFd, UniqueFd>> openPair(int type);

Status setNonBlocking(int fd, bool nonBlocking);
Status setCloseOnExec(int fd);
bool isOpen(int fd);

// One attempt that never waits: ok when connected, EAGAIN while the server's
// backlog is full (unix sockets answer that, not EINPROGRESS).
Status tryConnect(int fd, const Address &address);
// Waits for a place in the backlog; ETIMEDOUT at the deadline.
Status connectBy(int fd, const Address &address, const Deadline &deadline);

// Bound, listening and non-blocking: a process that lost the race for a
// connection must not sit in accept.
Result<std::vector<UniqueFd>> listenInet(std::vector<Address> addresses, int backlog,
                                         bool reusePort);

struct Accepted {
    UniqueFd fd;
    Address peer;
};
// EAGAIN when nothing waits. Connections that their client has already given
// up (ECONNABORTED) are passed over. The new socket is blocking.
Result<Accepted> acceptFrom(int listener);

// Closes a connection that nobody will serve, after sending what fits of some
// bytes. What the client has sent so far is read: closing with unread data
// would reset the connection, and the client might lose the bytes.
void refuse(UniqueFd connection, const void *bytes, size_t size);

// recv and send that repeat after signals and never raise SIGPIPE. In
// blocking mode they wait even if the description is O_NONBLOCK, which
// another process that shares it may have set.
// receiveBytes says EMSGSIZE when a record does not fit; receiveStream is faster, for
// sockets that have no records.
Result<size_t> receiveBytes(int fd, void *buffer, size_t size, bool nonBlocking);
Result<size_t> receiveStream(int fd, void *buffer, size_t size, bool nonBlocking);
Result<size_t> sendBytes(int fd, const void *bytes, size_t size, bool nonBlocking);

Status shutDown(int fd, int how);

// 0 or the pending error of the socket; reading it clears it.
int pendingError(int fd);
// -1 for what is no socket.
Result<int> socketType(int fd);
Result<int> socketFamily(int fd);
// False for what is no socket.
Result<bool> isListening(int fd);

struct Credentials {
    pid_t pid = 0; // 0 where the system does not tell
    uid_t uid = 0;
    gid_t gid = 0;
};
Result<Credentials> peerCredentials(int fd);

} // namespace uds

#endif
