// channels: bytes over a unix-domain socket without Tcl: what the machine can do.
//
//   channels bulk SIZE SECONDS       blocks of SIZE bytes, from one process to another
//   channels trips SIZE SECONDS      SIZE bytes to another process and back, blocking
//   channels serve PATH SIZE         sends back what clients send, in pieces of SIZE
//                                    bytes, until standard input ends
//   channels load PATH|PORT CLIENTS SIZE SECONDS
//                                    so many clients, each with SIZE bytes on the way
//
// Says what was done as a dictionary: bytes or trips, seconds, and the processor time of
// its processes. Every piece that comes back is compared; of
// the blocks in one direction each is counted, and one of 64 compared.

#include "events.h"
#include "pair.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <string>
#include <vector>

namespace {

// No two neighbours alike, so that a byte lost or doubled shows.
std::string pattern(size_t size) {
    std::string bytes(size, 0);
    for (size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<char>(i * 7 + i / 256);
    return bytes;
}

void sendAll(int fd, const char *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        const ssize_t count = ::send(fd, bytes + done, size - done, MSG_NOSIGNAL);
        if (count < 0)
            die("send");
        done += static_cast<size_t>(count);
    }
}

// Less than `size` only at the end.
size_t receiveAll(int fd, char *bytes, size_t size) {
    size_t done = 0;
    while (done < size) {
        const ssize_t count = ::recv(fd, bytes + done, size - done, 0);
        if (count < 0)
            die("recv");
        if (count == 0)
            break;
        done += static_cast<size_t>(count);
    }
    return done;
}

// ---- one direction -----------------------------------------------------------

void readBlocks(int fd, size_t size) {
    const std::string expected = pattern(size);
    std::string block(size, 0);
    unsigned long long received = 0;
    for (unsigned blocks = 0;; ++blocks) {
        const size_t got = receiveAll(fd, block.data(), size);
        received += got;
        if (got < size)
            break;
        if (blocks % 64 == 0 && block != expected)
            wrong("a block has changed on its way");
    }
    tell(fd, received);
}

void bulk(size_t size, double seconds) {
    const int fd = withChild([=](int end) { readBlocks(end, size); });
    const std::string block = pattern(size);
    const auto began = Clock::now();
    unsigned long long sent = 0;
    for (; secondsSince(began) < seconds; sent += size)
        sendAll(fd, block.data(), size);
    const double cpu = ask(fd, sent);
    report("bytes", sent, secondsSince(began), cpu);
}

// ---- there and back ----------------------------------------------------------

void echo(int fd, size_t size) {
    std::string piece(size, 0);
    unsigned long long count = 0;
    for (; receiveAll(fd, piece.data(), size) == size; ++count)
        sendAll(fd, piece.data(), size);
    tell(fd, count);
}

void trips(size_t size, double seconds) {
    const int fd = withChild([=](int end) { echo(end, size); });
    const std::string piece = pattern(size);
    std::string back(size, 0);
    unsigned long long count = 0;
    const auto began = Clock::now();
    double took = 0;
    for (; took < seconds; took = secondsSince(began), ++count) {
        sendAll(fd, piece.data(), size);
        if (receiveAll(fd, back.data(), size) < size || back != piece)
            wrong("what came back is not what was sent");
    }
    report("trips", count, took, ask(fd, count));
}

// ---- many clients ------------------------------------------------------------

// A path, or a port on the loopback.
struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;

    explicit Address(const std::string &where) {
        if (where.find('/') != where.npos) {
            auto *path = reinterpret_cast<sockaddr_un *>(&storage);
            path->sun_family = AF_UNIX;
            snprintf(path->sun_path, sizeof path->sun_path, "%s", where.c_str());
            length = sizeof *path;
        } else {
            auto *inet = reinterpret_cast<sockaddr_in *>(&storage);
            inet->sin_family = AF_INET;
            inet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            inet->sin_port = htons(static_cast<uint16_t>(atoi(where.c_str())));
            length = sizeof *inet;
        }
    }
    const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&storage); }
};

int openSocket(const Address &address) {
    const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    return fd;
}

int listenOn(const char *path) {
    const Address address(path);
    const int fd = openSocket(address);
    if (::bind(fd, address.get(), address.length) < 0 || ::listen(fd, 1024) < 0)
        die(path);
    return fd;
}

void serve(const char *path, size_t size) {
    const int listener = listenOn(path);
    const int poller = ::epoll_create1(EPOLL_CLOEXEC);
    watch(poller, listener);
    watch(poller, STDIN_FILENO);
    printf("ready %s %d\n", path, static_cast<int>(::getpid()));
    fflush(stdout);
    std::string piece(size, 0);
    for (;;) {
        epoll_event events[64];
        const int count = ::epoll_wait(poller, events, 64, -1);
        for (int i = 0; i < count; ++i) {
            const int fd = events[i].data.fd;
            if (fd == STDIN_FILENO)
                return;
            if (fd == listener)
                watch(poller, ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
            else if (const ssize_t got = ::recv(fd, piece.data(), size, 0); got > 0)
                sendAll(fd, piece.data(), static_cast<size_t>(got));
            else
                ::close(fd);
        }
    }
}

void load(const char *where, int clients, size_t size, double seconds) {
    const Address address(where);
    const int poller = ::epoll_create1(EPOLL_CLOEXEC);
    const std::string piece = pattern(size);
    std::string back(size, 0);
    std::vector<int> fds;
    for (int i = 0; i < clients; ++i) {
        fds.push_back(openSocket(address));
        if (::connect(fds.back(), address.get(), address.length) < 0)
            die(where);
        watch(poller, fds.back());
    }
    unsigned long long count = 0;
    const auto began = Clock::now();
    for (int fd : fds)
        sendAll(fd, piece.data(), size);
    for (int busy = clients; busy > 0;) {
        const bool more = secondsSince(began) < seconds;
        epoll_event events[64];
        const int ready = ::epoll_wait(poller, events, 64, -1);
        for (int i = 0; i < ready; ++i, ++count) {
            if (receiveAll(events[i].data.fd, back.data(), size) < size || back != piece)
                wrong("what came back is not what was sent");
            if (more)
                sendAll(events[i].data.fd, piece.data(), size);
            else
                --busy;
        }
    }
    report("trips", count, secondsSince(began));
}

} // namespace

int main(int argc, char **argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "bulk" && argc == 4)
        bulk(strtoul(argv[2], nullptr, 10), atof(argv[3]));
    else if (mode == "trips" && argc == 4)
        trips(strtoul(argv[2], nullptr, 10), atof(argv[3]));
    else if (mode == "serve" && argc == 4)
        serve(argv[2], strtoul(argv[3], nullptr, 10));
    else if (mode == "load" && argc == 6)
        load(argv[2], atoi(argv[3]), strtoul(argv[4], nullptr, 10), atof(argv[5]));
    else
        wrong("bad arguments; the source says which there are");
    return 0;
}
