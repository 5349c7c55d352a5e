#include "posix_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

namespace uds {

namespace {

using Kind = ProxyHeader::Kind;

constexpr std::string_view kTextSignature = "PROXY";
constexpr std::string_view kBinarySignature("\r\n\r\n\0\r\nQUIT\n", 12);

// With its CR LF: that of the longest line that a sender may write.
constexpr size_t kMaxLine = 107;

ProxyHeader bad(const char *reason) {
    ProxyHeader header;
    header.kind = Kind::Bad;
    header.reason = reason;
    return header;
}

ProxyHeader whole(size_t length) {
    ProxyHeader header;
    header.kind = Kind::Whole;
    header.length = length;
    header.source.storage.ss_family = AF_UNSPEC;
    return header;
}

Address inetAddress(const void *host, uint16_t networkPort) {
    Address address;
    auto &inet = reinterpret_cast<sockaddr_in &>(address.storage);
    inet.sin_family = AF_INET;
    std::memcpy(&inet.sin_addr, host, sizeof inet.sin_addr);
    inet.sin_port = networkPort;
    address.length = sizeof inet;
    return address;
}

Address inet6Address(const void *host, uint16_t networkPort) {
    Address address;
    auto &inet = reinterpret_cast<sockaddr_in6 &>(address.storage);
    inet.sin6_family = AF_INET6;
    std::memcpy(&inet.sin6_addr, host, sizeof inet.sin6_addr);
    inet.sin6_port = networkPort;
    address.length = sizeof inet;
    return address;
}

Address addressOf(int family, const void *host, uint16_t networkPort) {
    return family == AF_INET ? inetAddress(host, networkPort) : inet6Address(host, networkPort);
}

// ---- version 1: a line of text -------------------------------------------------

// The next word, with the one space after it unless it is the last one.
// Nullopt if it is empty.
std::optional<std::string> takeWord(std::string_view &line, bool last) {
    const size_t end = last ? line.size() : line.find(' ');
    if (end == line.npos || end == 0)
        return std::nullopt;
    std::string word(line.substr(0, end));
    line.remove_prefix(std::min(line.size(), end + 1));
    return word;
}

bool readHost(int family, const std::optional<std::string> &word, in6_addr &host) {
    // inet_pton would end at a NUL.
    return word && word->find_first_not_of("0123456789abcdefABCDEF:.") == word->npos &&
           ::inet_pton(family, word->c_str(), &host) == 1;
}

std::optional<uint16_t> readPort(const std::optional<std::string> &word) {
    constexpr size_t kMostDigits = 5;
    if (!word || word->size() > kMostDigits || (word->size() > 1 && word->front() == '0') ||
        word->find_first_not_of("0123456789") != word->npos)
        return std::nullopt;
    const unsigned long port = std::strtoul(word->c_str(), nullptr, 10);
    return port <= UINT16_MAX ? std::optional(static_cast<uint16_t>(port)) : std::nullopt;
}

// `line` is what follows "TCP4 " or "TCP6 ".
ProxyHeader parseAddresses(int family, std::string_view line, size_t length) {
    in6_addr source{};
    in6_addr destination{};
    if (!readHost(family, takeWord(line, false), source))
        return bad("its source address is wrong");
    if (!readHost(family, takeWord(line, false), destination))
        return bad("its destination address is wrong");
    const std::optional<uint16_t> port = readPort(takeWord(line, false));
    if (!port || !readPort(takeWord(line, true)))
        return bad("a port is wrong");
    ProxyHeader header = whole(length);
    header.source = addressOf(family, &source, htons(*port));
    return header;
}

ProxyHeader parseLine(std::string_view bytes) {
    const size_t end = bytes.substr(0, kMaxLine).find_first_of("\r\n");
    if (end == bytes.npos)
        return bytes.size() < kMaxLine ? ProxyHeader() : bad("its line is too long");
    if (bytes[end] == '\r' && end + 1 == bytes.size() && end + 1 < kMaxLine)
        return ProxyHeader();
    if (bytes.substr(end, 2) != "\r\n" || end + 2 > kMaxLine)
        return bad("its line does not end with CR LF");
    std::string_view line = bytes.substr(0, end);
    line.remove_prefix(kTextSignature.size());
    if (line == " UNKNOWN" || line.substr(0, 9) == " UNKNOWN ")
        return whole(end + 2);
    const std::string_view protocol = line.substr(0, 6);
    if (protocol != " TCP4 " && protocol != " TCP6 ")
        return bad("its protocol is none of TCP4, TCP6 and UNKNOWN");
    line.remove_prefix(protocol.size());
    return parseAddresses(protocol == " TCP4 " ? AF_INET : AF_INET6, line, end + 2);
}

// ---- version 2: binary -----------------------------------------------------------

// After the signature: version and command, family and transport, and the
// number of bytes that follow, in network order.
constexpr size_t kFixedSize = 16;
constexpr size_t kCommandAt = 12;
constexpr size_t kFamilyAt = 13;
constexpr size_t kLengthAt = 14;

constexpr unsigned kVersion = 2;
enum Command : unsigned { kLocal, kProxy };
constexpr unsigned kMaxFamily = 3;
constexpr unsigned kMaxTransport = 2;
constexpr unsigned kTcp4 = 0x11;
constexpr unsigned kTcp6 = 0x21;

// Source and destination host, source and destination port.
ProxyHeader parseBlock(int family, std::string_view block, size_t length) {
    const size_t hostSize = family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
    uint16_t port = 0;
    if (block.size() < 2 * (hostSize + sizeof port))
        return bad("it is too short for its addresses");
    std::memcpy(&port, block.data() + 2 * hostSize, sizeof port);
    ProxyHeader header = whole(length);
    header.source = addressOf(family, block.data(), port);
    return header;
}

// What is wrong with the bytes so far is told before the rest has come.
ProxyHeader parseBinary(std::string_view bytes) {
    const auto byteAt = [&](size_t index) { return static_cast<unsigned char>(bytes[index]); };
    const unsigned command = bytes.size() > kCommandAt ? byteAt(kCommandAt) & 0x0f : 0;
    const unsigned family = bytes.size() > kFamilyAt ? byteAt(kFamilyAt) : 0;
    if (bytes.size() > kCommandAt && byteAt(kCommandAt) >> 4 != kVersion)
        return bad("its version is unknown");
    if (command > kProxy)
        return bad("its command is unknown");
    if (command == kProxy && (family >> 4 > kMaxFamily || (family & 0x0f) > kMaxTransport))
        return bad("its address family or transport is unknown");
    if (bytes.size() < kFixedSize)
        return ProxyHeader();
    const size_t length = kFixedSize + byteAt(kLengthAt) * size_t{256} + byteAt(kLengthAt + 1);
    if (length > kMaxProxyHeader)
        return bad("it is too long");
    if (bytes.size() < length)
        return ProxyHeader();
    const std::string_view block = bytes.substr(kFixedSize, length - kFixedSize);
    if (command == kProxy && family == kTcp4)
        return parseBlock(AF_INET, block, length);
    if (command == kProxy && family == kTcp6)
        return parseBlock(AF_INET6, block, length);
    return whole(length);
}

bool begins(std::string_view bytes, std::string_view with) {
    return bytes.substr(0, with.size()) == with;
}

} // namespace

ProxyHeader parseProxyHeader(const char *bytes, size_t size, bool ended) {
    const std::string_view given(bytes, size);
    const bool isLine = begins(given, kTextSignature);
    ProxyHeader header;
    if (isLine || begins(given, kBinarySignature)) {
        header = isLine ? parseLine(given) : parseBinary(given);
        return header.kind == Kind::More && ended ? bad("it is not complete") : header;
    }
    if (ended || (!begins(kTextSignature, given) && !begins(kBinarySignature, given)))
        header.kind = Kind::None;
    return header;
}

} // namespace uds
