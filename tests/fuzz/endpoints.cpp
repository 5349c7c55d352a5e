// parseEndpoint, and addresses of any length as the kernel might give them.
#include "fuzz.h"
#include "posix_address.h"

#include <netinet/in.h>

#include <cstring>
#include <set>

using namespace uds;
using fuzz::Input;
using fuzz::require;

namespace {

std::set<std::string> shown(const Endpoint &endpoint) {
    std::set<std::string> all;
    for (const Address &address : endpoint.addresses)
        all.insert(address.host() + " " + std::to_string(address.port()));
    return all;
}

// What is shown of an address names it.
void checkInet(const Endpoint &endpoint) {
    require(!endpoint.addresses.empty(), "an endpoint has an address");
    for (const Address &address : endpoint.addresses) {
        const std::string host = address.host();
        const std::string port = std::to_string(address.port());
        const bool isInet6 = host.find(':') != host.npos;
        Result<Endpoint> again = parseEndpoint((isInet6 ? "[" + host + "]" : host) + ":" + port);
        require(bool(again), "an address that is shown can be given");
        require(shown(again.value()) == std::set<std::string>{host + " " + port},
                "it is the same address then");
    }
}

void checkUnix(const Endpoint &endpoint, const std::string &text) {
    require(endpoint.addresses.size() == 1, "a unix endpoint has one address");
    const Address &address = endpoint.addresses.front();
    const std::string path = text.compare(0, 5, "unix:") == 0 ? text.substr(5) : text;
    require(address.isUnix() && address.host() == path, "a unix endpoint is its path");
    require(address.path() == (path[0] == '@' ? "" : path), "only a path names a file");
}

void checkEndpoint(const std::string &text) {
    Result<Endpoint> endpoint = parseEndpoint(text);
    if (!endpoint) {
        const Error &error = endpoint.error();
        require(error.code != 0 || (error.kind && !error.reason.empty()), "an error has a reason");
        return;
    }
    require(text.find('\0') == text.npos, "an endpoint has no NUL");
    switch (endpoint.value().kind) {
    case Endpoint::Kind::Inherited:
        require(text.compare(0, 3, "fd:") == 0 &&
                    std::atol(text.c_str() + 3) == endpoint.value().fd,
                "a descriptor is its number");
        break;
    case Endpoint::Kind::Unix:
        checkUnix(endpoint.value(), text);
        break;
    case Endpoint::Kind::Inet:
        checkInet(endpoint.value());
    }
}

void checkAddress(Input &input) {
    constexpr int kFamilies[] = {AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_PACKET};
    Address address;
    const int family = kFamilies[input.upTo(4)];
    address.length = input.upTo(sizeof address.storage);
    const std::string bytes = input.bytes(address.length);
    std::memcpy(&address.storage, bytes.data(), bytes.size());
    address.storage.ss_family = static_cast<sa_family_t>(family);
    const std::string host = address.host();
    const std::string path = address.path();
    require(path.find('\0') == path.npos, "a path has no NUL");
    require(path.empty() || path == host, "a path is what is shown");
    require(address.port() >= 0 && address.port() <= 65535, "a port is in its range");
    require(family != AF_UNIX || host.size() < sizeof address.storage, "no more than came");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Input input(bytes, size);
    if (input.byte() == 0)
        checkAddress(input);
    else
        checkEndpoint(Input(bytes, size).rest());
    return 0;
}
