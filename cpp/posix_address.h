// Addresses of sockets: unix paths, abstract names, IPv4 and IPv6, and the
// endpoint strings that name them. Values only: nothing is opened here.
#ifndef UDS_POSIX_ADDRESS_H
#define UDS_POSIX_ADDRESS_H

#include "posix_fd.h"

#include <sys/socket.h>

#include <string>
#include <vector>

namespace uds {

struct Address {
    sockaddr_storage storage{};
    socklen_t length = sizeof(sockaddr_storage);

    int family() const { return storage.ss_family; }
    bool isUnix() const { return family() == AF_UNIX; }
    sockaddr *get() { return reinterpret_cast<sockaddr *>(&storage); }
    const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&storage); }

    // A path, an abstract name as "@name", or a numeric host. An IPv4 client
    // of an IPv6 socket reads as plain IPv4. Empty for an unnamed socket.
    std::string host() const;
    // 0 for a unix socket.
    int port() const;
    // The file that a unix address names; empty when it names none.
    std::string path() const;
};

// The longest path that fits a socket address, without its final NUL.
size_t maxPathLength();

// "@name" is an abstract name where the system has them.
Result<Address> unixAddress(const std::string &path);

// What an endpoint string names.
struct Endpoint {
    enum class Kind { Inet, Unix, Inherited } kind = Kind::Inet;
    std::vector<Address> addresses; // one for Unix, one or more for Inet
    int fd = -1;                    // for Inherited
};

// port | host:port | [ipv6]:port | path with a slash | unix:path | @name | fd:N
// Looks names up, so it may block when the host is not numeric.
Result<Endpoint> parseEndpoint(const std::string &text);

Result<Address> localAddress(int fd);
Result<Address> peerAddress(int fd);

} // namespace uds

#endif
