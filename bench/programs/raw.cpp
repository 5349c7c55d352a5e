// raw: the same job as the pool's, without Tcl: what the machine can do.
//
//   raw MODE WORKERS
//
// MODE:
//   pass       a parent accepts, and passes each connection through a queue
//              (SOCK_SEQPACKET) to workers that block in recvmsg
//   passepoll  the same, with workers that wait in epoll, with EPOLLEXCLUSIVE
//   passstream the same as pass, with a stream socket pair
//   shared     each worker blocks in accept on one listener
//   reuseport  each worker has a listener of its own on the same port
//
// A worker reads a line of up to 64 KiB, sends it back, and closes. Prints
// "ready PORT PID ..." with the pids, the parent's first, and ends at end of file
// on standard input.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

void die(const char *what) {
    perror(what);
    exit(1);
}

int listenOn(uint16_t port, bool reusePort) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (reusePort)
        ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) < 0 ||
        ::listen(fd, 1024) < 0)
        die("listen");
    return fd;
}

uint16_t portOf(int fd) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    ::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length);
    return ntohs(address.sin_port);
}

void serve(int fd) {
    static char buffer[65536];
    size_t size = 0;
    while (size < sizeof buffer && !memchr(buffer, '\n', size)) {
        const ssize_t got = ::recv(fd, buffer + size, sizeof buffer - size, 0);
        if (got <= 0)
            break;
        size += static_cast<size_t>(got);
    }
    for (size_t sent = 0; sent < size;) {
        const ssize_t done = ::send(fd, buffer + sent, size - sent, MSG_NOSIGNAL);
        if (done <= 0)
            break;
        sent += static_cast<size_t>(done);
    }
    ::close(fd);
}

// ---- passing ---------------------------------------------------------------

struct Message {
    char data[40]; // as large as the pool's record
    iovec vector{data, sizeof data};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr header{};

    Message() {
        memset(data, 0, sizeof data);
        header.msg_iov = &vector;
        header.msg_iovlen = 1;
        header.msg_control = control;
        header.msg_controllen = sizeof control;
    }
};

bool pass(int queue, int fd) {
    Message message;
    cmsghdr *rights = CMSG_FIRSTHDR(&message.header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    return ::sendmsg(queue, &message.header, MSG_NOSIGNAL) > 0;
}

// -1 at the end, and with MSG_DONTWAIT when none waits.
int take(int queue, int flags = 0) {
    Message message;
    if (::recvmsg(queue, &message.header, MSG_CMSG_CLOEXEC | flags) <= 0)
        return -1;
    const cmsghdr *rights = CMSG_FIRSTHDR(&message.header);
    int fd = -1;
    if (rights)
        memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return fd;
}

void workOnQueue(int queue) {
    for (int fd = take(queue); fd >= 0; fd = take(queue))
        serve(fd);
}

void workOnQueueWithEpoll(int queue) {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLEXCLUSIVE; // one connection wakes one worker
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event) < 0)
        die("epoll");
    do {
        for (int fd = take(queue, MSG_DONTWAIT); fd >= 0; fd = take(queue, MSG_DONTWAIT))
            serve(fd);
        event.events = 0;
        if (::epoll_wait(epoll, &event, 1, -1) < 0 && errno != EINTR)
            die("epoll_wait");
    } while (!(event.events & EPOLLHUP));
}

void acceptAndPass(int listener, int queue) {
    for (;;) {
        pollfd waited[] = {{listener, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        ::poll(waited, 2, -1);
        if (waited[1].revents != 0)
            return;
        for (int i = 0; i < 64; ++i) {
            const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0)
                break;
            pass(queue, fd);
            ::close(fd);
        }
    }
}

// ---- accepting in the workers ----------------------------------------------

void workOnListener(int listener) {
    for (;;) {
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0)
            serve(fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

void waitForEnd() {
    char byte;
    while (::read(STDIN_FILENO, &byte, 1) > 0) {
    }
}

// ---- processes -------------------------------------------------------------

template <class Work> std::vector<pid_t> forkWorkers(int count, Work work) {
    std::vector<pid_t> pids;
    const pid_t parent = ::getpid();
    for (int i = 0; i < count; ++i) {
        const pid_t pid = ::fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::getppid() == parent)
                work();
            _exit(0);
        }
        pids.push_back(pid);
    }
    return pids;
}

void announce(uint16_t port, const std::vector<pid_t> &workers) {
    printf("ready %d %d", port, static_cast<int>(::getpid()));
    for (pid_t pid : workers)
        printf(" %d", static_cast<int>(pid));
    printf("\n");
    fflush(stdout);
}

void endWorkers(const std::vector<pid_t> &workers) {
    for (pid_t pid : workers)
        ::kill(pid, SIGKILL);
    for (pid_t pid : workers)
        ::waitpid(pid, nullptr, 0);
}

std::vector<pid_t> runPassing(int workers, int type, void (*work)(int queue)) {
    const int listener = listenOn(0, false);
    ::fcntl(listener, F_SETFL, O_NONBLOCK); // the parent also looks at its standard input
    int queue[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, queue) < 0)
        die("socketpair");
    const auto pids = forkWorkers(workers, [&] {
        ::close(queue[0]);
        ::close(listener);
        work(queue[1]);
    });
    announce(portOf(listener), pids);
    acceptAndPass(listener, queue[0]);
    return pids;
}

std::vector<pid_t> runShared(int workers) {
    const int listener = listenOn(0, false);
    const auto pids = forkWorkers(workers, [&] { workOnListener(listener); });
    announce(portOf(listener), pids);
    waitForEnd();
    return pids;
}

std::vector<pid_t> runReusePort(int workers) {
    const int first = listenOn(0, true);
    const uint16_t port = portOf(first);
    std::vector<int> listeners{first};
    while (static_cast<int>(listeners.size()) < workers)
        listeners.push_back(listenOn(port, true));
    std::vector<pid_t> pids;
    for (int listener : listeners) {
        const auto one = forkWorkers(1, [&] { workOnListener(listener); });
        pids.push_back(one[0]);
    }
    for (int listener : listeners)
        ::close(listener);
    announce(port, pids);
    waitForEnd();
    return pids;
}

} // namespace

int main(int argc, char **argv) {
    const std::string mode = argc == 3 ? argv[1] : "";
    const int workers = argc == 3 ? atoi(argv[2]) : 0;
    std::vector<pid_t> pids;
    if (workers > 0 && mode == "pass")
        pids = runPassing(workers, SOCK_SEQPACKET, workOnQueue);
    else if (workers > 0 && mode == "passepoll")
        pids = runPassing(workers, SOCK_SEQPACKET, workOnQueueWithEpoll);
    else if (workers > 0 && mode == "passstream")
        pids = runPassing(workers, SOCK_STREAM, workOnQueue);
    else if (workers > 0 && mode == "shared")
        pids = runShared(workers);
    else if (workers > 0 && mode == "reuseport")
        pids = runReusePort(workers);
    else {
        fprintf(stderr, "usage: raw pass|passepoll|passstream|shared|reuseport WORKERS\n");
        return 2;
    }
    endWorkers(pids);
    return 0;
}
