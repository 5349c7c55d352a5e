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

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

void die(const char *what) {
    perror(what);
    exit(1);
}

void wrong(const char *what) {
    fprintf(stderr, "channels: %s\n", what);
    exit(1);
}

double now(clockid_t clock = CLOCK_MONOTONIC) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

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

// Forks: the child's end of a socket pair is given to `child`, ours is returned.
template <class Child> int withChild(Child child) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair");
    const pid_t pid = ::fork();
    if (pid < 0)
        die("fork");
    ::close(ends[pid == 0 ? 0 : 1]);
    if (pid != 0)
        return ends[0];
    child(ends[1]);
    _exit(0);
}

// ---- one direction -----------------------------------------------------------

struct Received {
    unsigned long long bytes;
    double cpu;
};

void readBlocks(int fd, size_t size) {
    const std::string expected = pattern(size);
    std::string block(size, 0);
    Received received{};
    for (unsigned blocks = 0;; ++blocks) {
        const size_t got = receiveAll(fd, block.data(), size);
        received.bytes += got;
        if (got < size)
            break;
        if (blocks % 64 == 0 && block != expected)
            wrong("a block has changed on its way");
    }
    received.cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    sendAll(fd, reinterpret_cast<const char *>(&received), sizeof received);
}

void bulk(size_t size, double seconds) {
    const int fd = withChild([=](int end) { readBlocks(end, size); });
    const std::string block = pattern(size);
    const double began = now();
    unsigned long long sent = 0;
    while (now() < began + seconds) {
        sendAll(fd, block.data(), size);
        sent += size;
    }
    ::shutdown(fd, SHUT_WR);
    Received received{};
    if (receiveAll(fd, reinterpret_cast<char *>(&received), sizeof received) < sizeof received ||
        received.bytes != sent)
        wrong("bytes were lost");
    printf("bytes %llu seconds %.6f cpu %.6f\n", sent, now() - began,
           now(CLOCK_PROCESS_CPUTIME_ID) + received.cpu);
}

// ---- there and back ----------------------------------------------------------

void echo(int fd, size_t size) {
    std::string piece(size, 0);
    while (receiveAll(fd, piece.data(), size) == size)
        sendAll(fd, piece.data(), size);
    const double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    sendAll(fd, reinterpret_cast<const char *>(&cpu), sizeof cpu);
}

void trips(size_t size, double seconds) {
    const int fd = withChild([=](int end) { echo(end, size); });
    const std::string piece = pattern(size);
    std::string back(size, 0);
    unsigned long long count = 0;
    const double began = now();
    double ended = began;
    for (; ended < began + seconds; ended = now(), ++count) {
        sendAll(fd, piece.data(), size);
        if (receiveAll(fd, back.data(), size) < size || back != piece)
            wrong("what came back is not what was sent");
    }
    ::shutdown(fd, SHUT_WR);
    double cpu = 0;
    if (receiveAll(fd, reinterpret_cast<char *>(&cpu), sizeof cpu) < sizeof cpu)
        wrong("the other process has ended");
    printf("trips %llu seconds %.6f cpu %.6f\n", count, ended - began,
           now(CLOCK_PROCESS_CPUTIME_ID) + cpu);
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

void watch(int poller, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
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
    const double began = now();
    for (int fd : fds)
        sendAll(fd, piece.data(), size);
    for (int busy = clients; busy > 0;) {
        const bool more = now() < began + seconds;
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
    printf("trips %llu seconds %.6f cpu %.6f\n", count, now() - began,
           now(CLOCK_PROCESS_CPUTIME_ID));
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
