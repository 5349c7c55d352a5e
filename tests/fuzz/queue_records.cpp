// dequeue: right records of connections between wrong ones, which are made of right
// ones. The first byte says how many descriptors this process may still open.
#include "peer.h"
#include "posix_queue.h"

#include <netinet/in.h>

#include <deque>

using namespace uds;
using fuzz::Input;
using fuzz::require;

namespace {

Address takeAddress(Input &input) {
    Address address;
    const unsigned family = input.upTo(2);
    const unsigned host = input.byte();
    const auto port = static_cast<uint16_t>(input.byte());
    if (family == 0) {
        address.storage.ss_family = AF_UNIX;
    } else if (family == 1) {
        auto &inet = reinterpret_cast<sockaddr_in &>(address.storage);
        inet.sin_family = AF_INET;
        inet.sin_port = port;
        inet.sin_addr.s_addr = host;
        address.length = sizeof inet;
    } else {
        auto &inet6 = reinterpret_cast<sockaddr_in6 &>(address.storage);
        inet6.sin6_family = AF_INET6;
        inet6.sin6_port = port;
        inet6.sin6_addr.s6_addr[15] = static_cast<uint8_t>(host);
        address.length = sizeof inet6;
    }
    return address;
}

// The bytes of a right one.
std::string rightRecord() {
    static const std::string record = [] {
        const auto [sender, receiver] = fuzz::socketPair(SOCK_SEQPACKET);
        char bytes[256];
        require(bool(enqueue(sender, fuzz::everyKind()[0], Address(), 1)), "a record is sent");
        Result<Message> message = receiveMessage(receiver, bytes, sizeof bytes, 1, true);
        ::close(sender);
        ::close(receiver);
        return std::string(bytes, message.value().size);
    }();
    return record;
}

struct Waiting {
    bool isRight;
    uint64_t id;
    Address peer;
    fuzz::File file;
};

class Test {
public:
    explicit Test(std::pair<UniqueFd, UniqueFd> &ends)
        : sender_(ends.first.get()), receiver_(ends.second.get()), peer_(sender_, receiver_) {}

    void sendRight(Input &input) {
        const std::vector<int> &kinds = fuzz::everyKind();
        const int fd = kinds[input.byte() % kinds.size()];
        const Address address = takeAddress(input);
        if (enqueue(sender_, fd, address, ++id_))
            waiting_.push_back({true, id_, address, fuzz::fileOf(fd)});
    }

    // Changed in some bytes, cut, or made longer. Not empty: that is the end.
    void sendWrong(Input &input) {
        std::string record = rightRecord();
        for (unsigned count = input.upTo(4); count > 0; --count)
            record[input.upTo(7) * input.upTo(7) % record.size()] ^=
                static_cast<char>(input.byte());
        record += input.bytes(input.upTo(30));
        const unsigned size = input.byte();
        if (size < record.size())
            record.resize(size + 1);
        fuzz::Sent sent;
        if (peer_.send(input, record, sent))
            waiting_.push_back({false, 0, Address(), {}});
    }

    void take() {
        Result<QueuedConnection> taken = dequeue(receiver_);
        const int code = taken ? 0 : taken.error().code;
        if (isOutOfDescriptors(code))
            return; // it still waits
        if (waiting_.empty()) {
            require(isWouldBlock(code), "nothing comes of nothing");
            return;
        }
        const Waiting next = waiting_.front();
        waiting_.pop_front();
        if (next.isRight)
            checkRight(taken, next);
        else
            require(taken ? bool(taken.value().fd) : !isWouldBlock(code),
                    "a wrong record is an error, or a connection");
        if (taken)
            show(taken.value());
    }

    bool isEmpty() const { return waiting_.empty(); }

private:
    static void checkRight(const Result<QueuedConnection> &taken, const Waiting &next) {
        require(bool(taken), "a right record is taken");
        const QueuedConnection &connection = taken.value();
        require(fuzz::fileOf(connection.fd.get()) == next.file, "with its connection");
        require(connection.id == next.id, "with its number");
        if (!next.peer.isUnix())
            require(connection.peer.host() == next.peer.host() &&
                        connection.peer.port() == next.peer.port(),
                    "with its address");
    }

    // What a worker does with it.
    static void show(const QueuedConnection &connection) {
        require((::fcntl(connection.fd.get(), F_GETFD) & FD_CLOEXEC) != 0, "close-on-exec");
        if (connection.peer.family() == AF_INET || connection.peer.family() == AF_INET6)
            require(!connection.peer.host().empty(), "an address can be shown");
    }

    int sender_;
    int receiver_;
    fuzz::Peer peer_;
    uint64_t id_ = 0;
    std::deque<Waiting> waiting_;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    rightRecord();
    fuzz::limitDescriptors(fuzz::kOpenFiles);
    const fuzz::NothingLeft check;
    Input input(bytes, size);
    const unsigned free = input.byte();
    Result<std::pair<UniqueFd, UniqueFd>> ends = openQueue(static_cast<int>(input.byte()));
    require(bool(ends), "a queue opens");
    Test test(ends.value());
    if (free < 16)
        fuzz::limitDescriptors(ends.value().second.get() + 1 + static_cast<int>(free));
    while (!input.empty()) {
        const unsigned what = input.upTo(3);
        if (what == 0)
            test.sendRight(input);
        else if (what == 1)
            test.sendWrong(input);
        else
            test.take();
    }
    // What was left for want of descriptors is there now.
    fuzz::limitDescriptors(fuzz::kOpenFiles);
    while (!test.isEmpty())
        test.take();
    return 0;
}
