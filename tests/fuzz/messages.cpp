// receiveMessage, on a real pair of sockets: the input says what comes and how it is
// asked for. Its first byte has the type of the sockets and the options of the
// receiving end, which whoever made the socket may have set; the second, how many
// descriptors this process may still open.
#include "peer.h"

#include <deque>

using namespace uds;
using fuzz::Input;
using fuzz::require;
using fuzz::Sent;

namespace {

#ifndef SO_PASSPIDFD
constexpr int kPassPidfd = 76; // newer than Debian 12's headers
#else
constexpr int kPassPidfd = SO_PASSPIDFD;
#endif

void setOptions(int fd, unsigned chosen) {
    constexpr int kOptions[] = {SO_PASSCRED, SO_PASSSEC, SO_TIMESTAMP, kPassPidfd};
    const int on = 1;
    for (int option : kOptions) {
        if (chosen % 2 == 1)
            ::setsockopt(fd, SOL_SOCKET, option, &on, sizeof on);
        chosen /= 2;
    }
}

class Model {
public:
    explicit Model(int type) : type_(type) {}

    void sent(Sent message) {
        // Of a stream, a message without bytes does not exist.
        if (type_ != SOCK_STREAM || !message.bytes.empty())
            waiting_.push_back(std::move(message));
    }

    // `limited`: there may be no room for the descriptors.
    void received(const Message &message, const char *bytes, size_t room, int most, bool limited) {
        require(message.size <= room, "no more than there is room for");
        require(message.descriptors.size() <= static_cast<size_t>(most), "no more than asked for");
        std::vector<fuzz::File> expected = take(std::string(bytes, message.size));
        std::vector<fuzz::File> found;
        for (const UniqueFd &fd : message.descriptors) {
            require((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0, "all are close-on-exec");
            found.push_back(fuzz::fileOf(fd.get()));
        }
        const bool fits = expected.size() <= static_cast<size_t>(most);
        require(found.size() <= expected.size() &&
                    std::equal(found.begin(), found.end(), expected.begin()),
                "what comes was sent, in this order");
        require(found.size() == expected.size() || message.descriptorsLost, "a loss is told");
        require(!message.descriptorsLost || !fits || limited, "nothing is lost without need");
    }

    // A record that did not fit.
    void skip() {
        require(type_ != SOCK_STREAM && !waiting_.empty(), "only a record can be too long");
        waiting_.pop_front();
    }

private:
    // Of a stream, the bytes of several messages may come at once, the descriptors
    // of no more than one, with its first byte.
    std::vector<fuzz::File> take(const std::string &bytes) {
        std::vector<fuzz::File> files;
        if (type_ != SOCK_STREAM) {
            if (waiting_.empty()) {
                require(bytes.empty(), "nothing comes of nothing");
                return files;
            }
            require(waiting_.front().bytes == bytes, "a record is whole");
            files = waiting_.front().files;
            waiting_.pop_front();
            return files;
        }
        for (size_t at = 0; at < bytes.size();) {
            require(!waiting_.empty(), "no more comes than was sent");
            Sent &first = waiting_.front();
            const size_t count = std::min(first.bytes.size(), bytes.size() - at);
            require(bytes.compare(at, count, first.bytes, 0, count) == 0, "the bytes are the same");
            files.insert(files.end(), first.files.begin(), first.files.end());
            first.files.clear();
            first.bytes.erase(0, count);
            if (first.bytes.empty())
                waiting_.pop_front();
            at += count;
        }
        return files;
    }

    int type_;
    std::deque<Sent> waiting_;
};

void sendSome(Input &input, fuzz::Peer &peer, Model &model) {
    for (unsigned count = input.upTo(4); count > 0; --count) {
        Sent message;
        const std::string bytes = input.bytes(input.upTo(70));
        if (peer.send(input, bytes, message))
            model.sent(message);
    }
}

void receiveSome(Input &input, int fd, Model &model, bool limited) {
    for (unsigned count = input.upTo(6); count > 0; --count) {
        char bytes[96];
        const size_t room = 1 + input.upTo(sizeof bytes - 1);
        const int most = static_cast<int>(input.upTo(kMaxDescriptors));
        Result<Message> message = receiveMessage(fd, bytes, room, most, true);
        if (message)
            model.received(message.value(), bytes, room, most, limited);
        else if (message.error().code == EMSGSIZE)
            model.skip();
        else
            require(isWouldBlock(message.error().code), "no other error");
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    constexpr int kTypes[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM, SOCK_STREAM};
    fuzz::everyKind();
    fuzz::limitDescriptors(fuzz::kOpenFiles);
    const fuzz::NothingLeft check;
    Input input(bytes, size);
    const unsigned options = input.byte();
    const unsigned free = input.byte();
    const int type = kTypes[options & 3];
    const auto [sender, receiver] = fuzz::socketPair(type);
    setOptions(receiver, options >> 2 & 15);
    const bool limited = free < 64;
    if (limited)
        fuzz::limitDescriptors(receiver + 1 + static_cast<int>(free));
    fuzz::Peer peer(sender, receiver);
    Model model(type);
    while (!input.empty()) {
        sendSome(input, peer, model);
        receiveSome(input, receiver, model, limited);
    }
    fuzz::limitDescriptors(fuzz::kOpenFiles);
    ::close(sender);
    ::close(receiver);
    return 0;
}
