#include "posix_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace uds {

namespace {

#if defined(__linux__)
constexpr bool kAbstractNames = true;
#else
constexpr bool kAbstractNames = false;
#endif

constexpr size_t kPathOffset = offsetof(sockaddr_un, sun_path);
constexpr int kMaxPort = 65535;

template <class T> const T &as(const Address &address) {
    return *reinterpret_cast<const T *>(&address.storage);
}

std::string unixHost(const Address &address) {
    if (address.length <= kPathOffset)
        return {};
    const char *path = as<sockaddr_un>(address).sun_path;
    const size_t length = address.length - kPathOffset;
    if (path[0] == '\0')
        return kAbstractNames ? "@" + std::string(path + 1, length - 1) : std::string();
    return std::string(path, strnlen(path, length));
}

std::string inetHost(const Address &address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address.family() == AF_INET) {
        inet_ntop(AF_INET, &as<sockaddr_in>(address).sin_addr, text, sizeof text);
        return text;
    }
    const in6_addr &ipv6 = as<sockaddr_in6>(address).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&ipv6))
        inet_ntop(AF_INET, &ipv6.s6_addr[12], text, sizeof text);
    else
        inet_ntop(AF_INET6, &ipv6, text, sizeof text);
    return text;
}

Error badEndpoint(const std::string &text, std::string reason) {
    return ownError("ENDPOINT", "bad endpoint \"" + text + "\"", std::move(reason), text);
}

// A decimal number up to `limit`, or -1.
long parseNumber(const std::string &text, long limit) {
    if (text.empty() || text.size() > 10 || text.find_first_not_of("0123456789") != text.npos)
        return -1;
    const long long number = strtoll(text.c_str(), nullptr, 10);
    return number <= limit ? static_cast<long>(number) : -1;
}

Result<Endpoint> unixEndpoint(const std::string &path) {
    Result<Address> address = unixAddress(path);
    if (!address)
        return address.error();
    return Endpoint{Endpoint::Kind::Unix, {address.value()}, -1};
}

Result<Endpoint> inheritedEndpoint(const std::string &text) {
    const long fd = parseNumber(text.substr(3), 1 << 30);
    if (fd < 0)
        return badEndpoint(text, "fd: needs a descriptor number");
    return Endpoint{Endpoint::Kind::Inherited, {}, static_cast<int>(fd)};
}

// An empty host means every address of this machine, IPv6 first so that a
// picked port is tried in the larger address family first.
Result<Endpoint> inetEndpoint(const std::string &text, const std::string &host,
                              const std::string &port) {
    if (parseNumber(port, kMaxPort) < 0)
        return badEndpoint(text, "the port must be a number from 0 to 65535");
    // The lookup would end there, and find another host.
    if (host.find('\0') != host.npos)
        return badEndpoint(text, "the host holds a NUL character");
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo *found = nullptr;
    const int failure =
        getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found);
    if (failure == EAI_SYSTEM)
        return systemError("couldn't look up \"" + host + "\"");
    if (failure != 0)
        return ownError("HOST", "couldn't look up \"" + host + "\"", gai_strerror(failure), host);
    Endpoint endpoint;
    for (addrinfo *each = found; each; each = each->ai_next) {
        if (each->ai_family != AF_INET && each->ai_family != AF_INET6)
            continue;
        Address address;
        memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
        address.length = each->ai_addrlen;
        auto &list = endpoint.addresses;
        list.insert(each->ai_family == AF_INET6 ? list.begin() : list.end(), address);
    }
    freeaddrinfo(found);
    return endpoint;
}

} // namespace

std::string Address::host() const {
    return isUnix() ? unixHost(*this) : inetHost(*this);
}

int Address::port() const {
    if (family() == AF_INET)
        return ntohs(as<sockaddr_in>(*this).sin_port);
    return family() == AF_INET6 ? ntohs(as<sockaddr_in6>(*this).sin6_port) : 0;
}

std::string Address::path() const {
    const std::string name = isUnix() ? unixHost(*this) : std::string();
    const bool abstract = kAbstractNames && as<sockaddr_un>(*this).sun_path[0] == '\0';
    return abstract ? std::string() : name;
}

size_t maxPathLength() {
    return sizeof(sockaddr_un::sun_path) - 1;
}

Result<Address> unixAddress(const std::string &path) {
    const std::string limit = std::to_string(maxPathLength());
    if (path.empty())
        return ownError("PATHEMPTY", "", "path is empty: it needs 1 to " + limit + " bytes", limit);
    const bool abstract = kAbstractNames && path[0] == '@';
    if (abstract && path.size() == 1)
        return ownError("PATHEMPTY", "",
                        "abstract name is empty: it needs 1 to " + limit + " bytes after the \"@\"",
                        limit);
    if (path.find('\0') != path.npos)
        return ownError("PATHNUL", "",
                        "path holds a NUL character: it needs 1 to " + limit + " bytes without one",
                        limit);
    // The wording that users of the older package know.
    if (path.size() > maxPathLength())
        return ownError("PATHTOOLONG", "", "path is too long", limit);
    Address address;
    auto &un = reinterpret_cast<sockaddr_un &>(address.storage);
    un.sun_family = AF_UNIX;
    memcpy(un.sun_path, path.data(), path.size());
    if (abstract)
        un.sun_path[0] = '\0';
    address.length = static_cast<socklen_t>(kPathOffset + path.size() + (abstract ? 0 : 1));
    return address;
}

Result<Endpoint> parseEndpoint(const std::string &text) {
    if (text.compare(0, 3, "fd:") == 0)
        return inheritedEndpoint(text);
    if (text.compare(0, 5, "unix:") == 0)
        return unixEndpoint(text.substr(5));
    if (!text.empty() && (text[0] == '@' || text.find('/') != text.npos))
        return unixEndpoint(text);
    const size_t colon = text.rfind(':');
    if (colon == text.npos && parseNumber(text, 1L << 31) >= 0)
        return inetEndpoint(text, "", text);
    // "[]:80" is not every address of the machine, as an empty host would be.
    if (text[0] == '[' && colon != text.npos && colon > 2 && text[colon - 1] == ']')
        return inetEndpoint(text, text.substr(1, colon - 2), text.substr(colon + 1));
    if (colon != text.npos && colon > 0 && text.find_first_of("[]:") == colon)
        return inetEndpoint(text, text.substr(0, colon), text.substr(colon + 1));
    return badEndpoint(text, "must be port, host:port, [ipv6]:port, a path with a \"/\", "
                             "unix:path, @name, or fd:number");
}

Result<Address> localAddress(int fd) {
    Address address;
    if (::getsockname(fd, address.get(), &address.length) < 0)
        return systemError("getsockname");
    return address;
}

Result<Address> peerAddress(int fd) {
    Address address;
    if (::getpeername(fd, address.get(), &address.length) < 0)
        return systemError("getpeername");
    return address;
}

} // namespace uds
