#include "posix_queue.h"

#include "posix_clock.h"
#include "posix_passing.h"
#include "posix_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <cstring>

#ifdef __linux__
#include <linux/sockios.h>
#endif

namespace uds {

namespace {

#ifdef __APPLE__
constexpr int kQueueType = SOCK_DGRAM; // has no SOCK_SEQPACKET pairs
#else
constexpr int kQueueType = SOCK_SEQPACKET;
#endif

constexpr uint8_t kVersion = 2;
constexpr int kMaxSendBuffer = 8 << 20;

// Between processes of one program on one machine: host byte order.
struct Record {
    uint8_t version;
    uint8_t family; // 4, 6, or 0 for a unix socket
    uint16_t port;
    uint32_t scope;
    uint8_t address[16];
    uint64_t id;
    uint64_t sentMicros;
};

Record pack(const Address &peer, uint64_t id) {
    Record record{};
    record.version = kVersion;
    record.id = id;
    record.sentMicros = monotonicMicros();
    if (peer.family() == AF_INET) {
        const auto &from = reinterpret_cast<const sockaddr_in &>(peer.storage);
        record.family = 4;
        record.port = from.sin_port;
        memcpy(record.address, &from.sin_addr, sizeof from.sin_addr);
    } else if (peer.family() == AF_INET6) {
        const auto &from = reinterpret_cast<const sockaddr_in6 &>(peer.storage);
        record.family = 6;
        record.port = from.sin6_port;
        record.scope = from.sin6_scope_id;
        memcpy(record.address, &from.sin6_addr, sizeof from.sin6_addr);
    }
    return record;
}

Address unpack(const Record &record) {
    Address peer;
    if (record.family == 4) {
        auto &to = reinterpret_cast<sockaddr_in &>(peer.storage);
        to.sin_family = AF_INET;
        to.sin_port = record.port;
        memcpy(&to.sin_addr, record.address, sizeof to.sin_addr);
        peer.length = sizeof to;
    } else if (record.family == 6) {
        auto &to = reinterpret_cast<sockaddr_in6 &>(peer.storage);
        to.sin6_family = AF_INET6;
        to.sin6_port = record.port;
        to.sin6_scope_id = record.scope;
        memcpy(&to.sin6_addr, record.address, sizeof to.sin6_addr);
        peer.length = sizeof to;
    }
    return peer;
}

Error badRecord(const char *reason) {
    return ownError("RECORD", "couldn't take a connection", reason, "");
}

// What the kernel charges the sender: the memory in flight on Linux, the
// bytes elsewhere. Records are alike, so either counts them.
Result<int> charged(int queue) {
    int amount = 0;
#if defined(__linux__)
    if (::ioctl(queue, SIOCOUTQ, &amount) < 0)
        return systemError("ioctl");
#elif defined(FIONWRITE)
    if (::ioctl(queue, FIONWRITE, &amount) < 0)
        return systemError("ioctl");
#else
    socklen_t length = sizeof amount;
    if (::getsockopt(queue, SOL_SOCKET, SO_NWRITE, &amount, &length) < 0)
        return systemError("getsockopt");
#endif
    return amount;
}

// The charge of one record, found by sending one: the kernel's overhead
// differs between versions.
Result<int> chargePerRecord() {
    static std::atomic<int> known{0}; // a constant of the running kernel
    if (known > 0)
        return known.load();
    auto ends = openPair(kQueueType);
    if (!ends)
        return ends.error();
    Status sent = enqueue(ends.value().first.get(), ends.value().second.get(), Address());
    if (!sent)
        return sent.error();
    Result<int> amount = charged(ends.value().first.get());
    if (amount && amount.value() > 0)
        known = amount.value();
    return amount;
}

void setSendBuffer(int fd, int size) {
#ifdef SO_SNDBUFFORCE
    const int half = size / 2; // the kernel doubles what it is told
    if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &half, sizeof half) == 0)
        return;
#endif
    // Refused above the system's limit on some systems, cut on others.
    for (int wanted = size / 2; wanted > 4096; wanted /= 2)
        if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted) == 0)
            return;
}

} // namespace

Result<std::pair<UniqueFd, UniqueFd>> openQueue(int connections) {
    Result<int> charge = chargePerRecord();
    if (!charge)
        return charge.error();
    auto ends = openPair(kQueueType);
    if (!ends)
        return ends;
    // Linux calls a unix socket writable while a quarter of its buffer is
    // used, so four times the room puts that point at the limit.
    const int most = kMaxSendBuffer / charge.value() / 4;
    const int wanted = connections > 0 && connections < most ? 4 * connections * charge.value() - 1
                                                             : kMaxSendBuffer;
    setSendBuffer(ends.value().first.get(), wanted);
    return ends;
}

Status enqueue(int queue, int connection, const Address &peer, uint64_t id) {
    const Record record = pack(peer, id);
    return sendDescriptors(queue, {connection}, &record, sizeof record, true);
}

Result<QueuedConnection> dequeue(int queue) {
    // The kernel drops a descriptor that it cannot install, and with it the
    // client. So there has to be room before the record is taken.
    if (!canOpen(1, queue))
        return systemError("recvmsg");
    Record record;
    Result<Message> message = receiveMessage(queue, &record, sizeof record, 1, true);
    if (!message)
        return message.error();
    if (message.value().size == 0)
        return QueuedConnection{};
    if (message.value().size != sizeof record || record.version != kVersion)
        return badRecord("not a record of this version");
    if (message.value().descriptors.empty())
        return badRecord("its descriptor was lost");
    const uint64_t now = monotonicMicros();
    return QueuedConnection{std::move(message.value().descriptors[0]), unpack(record), record.id,
                            now > record.sentMicros ? now - record.sentMicros : 0};
}

bool isQueued(int queue) {
    int bytes = 0;
    return ::ioctl(queue, FIONREAD, &bytes) == 0 && bytes > 0;
}

Result<int> queueDepth(int queue) {
    Result<int> charge = chargePerRecord();
    if (!charge)
        return charge;
    Result<int> amount = charged(queue);
    if (!amount)
        return amount;
    return (amount.value() + charge.value() - 1) / charge.value();
}

} // namespace uds
