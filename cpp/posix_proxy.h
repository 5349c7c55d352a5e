// The header of the PROXY protocol, versions 1 and 2, with which a proxy begins
// a connection to tell whom it speaks for. Values only: bytes in, an answer out.
// What it answers about some bytes stays true when more follow, except More.
// https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt
#ifndef UDS_POSIX_PROXY_H
#define UDS_POSIX_PROXY_H

#include "posix_address.h"

#include <cstddef>

namespace uds {

struct ProxyHeader {
    enum class Kind {
        More,  // these bytes may begin a header
        None,  // they do not
        Bad,   // they do, and it is a wrong one: `reason`
        Whole, // they begin with one of `length` bytes
    };
    Kind kind = Kind::More;
    size_t length = 0;
    // Whose connection it is. Family AF_UNSPEC if the header does not tell, and
    // for a unix socket, whose client has no address.
    Address source;
    const char *reason = "";
};

// A longer one is bad.
constexpr size_t kMaxProxyHeader = 4096;

// `ended`: nothing follows. It is never More then.
ProxyHeader parseProxyHeader(const char *bytes, size_t size, bool ended);

} // namespace uds

#endif
