// parseProxyHeader: the first byte chooses between the bytes as they are and a right
// header that is made of them.
#include "fuzz.h"
#include "posix_proxy.h"

#include <arpa/inet.h>

#include <memory>

using namespace uds;
using fuzz::Input;
using fuzz::require;
using Kind = ProxyHeader::Kind;

namespace {

// In a block of just that size: a read beyond it is found.
ProxyHeader parse(const std::string &bytes, size_t size, bool ended) {
    const std::unique_ptr<char[]> exact(new char[size]);
    std::copy_n(bytes.begin(), size, exact.get());
    return parseProxyHeader(exact.get(), size, ended);
}

bool isSame(const ProxyHeader &a, const ProxyHeader &b) {
    return a.kind == b.kind && a.length == b.length &&
           std::string(a.reason) == std::string(b.reason) &&
           a.source.family() == b.source.family() && a.source.host() == b.source.host() &&
           a.source.port() == b.source.port();
}

void checkAnswer(const ProxyHeader &header, size_t size) {
    require((header.kind == Kind::Bad) == (*header.reason != '\0'), "a bad header has a reason");
    if (header.kind != Kind::Whole)
        return;
    require(header.length > 0 && header.length <= size, "a header is not longer than what came");
    require(header.length <= kMaxProxyHeader, "a header is not longer than the limit");
    const int family = header.source.family();
    require(family == AF_INET || family == AF_INET6 || family == AF_UNSPEC, "a known family");
    if (family != AF_UNSPEC)
        require(!header.source.host().empty(), "an address can be shown");
}

// What was said of some bytes stays true when more come.
void checkGrowth(const std::string &bytes) {
    const ProxyHeader last = parse(bytes, bytes.size(), false);
    checkAnswer(last, bytes.size());
    // All short ones, then some: a header of 4 KiB would take too long.
    for (size_t size = 0; size < bytes.size(); size += size < 128 ? 1 : 61) {
        const ProxyHeader early = parse(bytes, size, false);
        checkAnswer(early, size);
        require(early.kind == Kind::More || isSame(early, last), "an answer stays true");
        require(parse(bytes, size, true).kind != Kind::More, "nothing more comes at the end");
    }
    const ProxyHeader ended = parse(bytes, bytes.size(), true);
    checkAnswer(ended, bytes.size());
    require(last.kind == Kind::More ? ended.kind != Kind::More : isSame(ended, last),
            "the end changes only what was open");
    if (last.kind == Kind::Whole)
        require(isSame(parse(bytes, last.length, false), last), "nothing behind a header matters");
}

struct Sender {
    bool isInet6;
    std::string host;
    unsigned port;
};

std::string shown(bool isInet6, const std::string &host) {
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(isInet6 ? AF_INET6 : AF_INET, host.data(), text, sizeof text);
    return text;
}

std::string twoBytes(size_t number) {
    return {static_cast<char>(number >> 8), static_cast<char>(number & 0xff)};
}

std::string textHeader(const Sender &from, const Sender &to) {
    return std::string(from.isInet6 ? "PROXY TCP6 " : "PROXY TCP4 ") +
           shown(from.isInet6, from.host) + " " + shown(to.isInet6, to.host) + " " +
           std::to_string(from.port) + " " + std::to_string(to.port) + "\r\n";
}

std::string binaryHeader(const Sender &from, const Sender &to, const std::string &more) {
    const std::string block = from.host + to.host + twoBytes(from.port) + twoBytes(to.port) + more;
    return std::string("\r\n\r\n\0\r\nQUIT\n\x21", 13) + (from.isInet6 ? '\x21' : '\x11') +
           twoBytes(block.size()) + block;
}

Sender takeSender(Input &input, bool isInet6) {
    std::string host = input.bytes(isInet6 ? 16 : 4);
    host.resize(isInet6 ? 16 : 4);
    const unsigned high = input.byte();
    return {isInet6, host, high * 256 + input.byte()};
}

// Whoever sends a right header is understood.
void checkRight(Input &input, bool isText, bool isInet6) {
    const Sender from = takeSender(input, isInet6);
    const Sender to = takeSender(input, isInet6);
    const std::string more = isText ? "" : input.bytes(input.byte());
    const std::string header = isText ? textHeader(from, to) : binaryHeader(from, to, more);
    const std::string all = header + input.rest();
    const ProxyHeader answer = parse(all, all.size(), false);
    require(answer.kind == Kind::Whole, "a right header is understood");
    require(answer.length == header.size(), "it ends where it ends");
    require(answer.source.port() == static_cast<int>(from.port), "its port is the sender's");
    std::string host = shown(isInet6, from.host);
    if (host.compare(0, 7, "::ffff:") == 0 && host.find('.') != host.npos)
        host.erase(0, 7);
    require(answer.source.host() == host, "its address is the sender's");
    checkGrowth(all);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Input input(bytes, size);
    const unsigned mode = input.byte();
    if (mode >= 4)
        checkGrowth(Input(bytes, size).rest());
    else
        checkRight(input, mode < 2, mode % 2 == 1);
    return 0;
}
