// slow: servers whose workers serve one connection at a time and take their time.
//
//   slow MODE WORKERS
//
// MODE, which is how a worker gets a connection:
//   pull        a parent accepts and puts all into one queue (SOCK_SEQPACKET), from
//               which workers take when they are free
//   roundrobin  a parent accepts and gives them to the workers in turn, each of which
//               has a queue of its own
//   shared      each worker accepts from one listener when it is free
//   reuseport   each worker has a listener of its own on the same port
//
// A worker reads the line "/MS/...", sleeps for so many milliseconds, sends the line
// back, and closes. Prints "ready PORT PID ..." with the pids, the parent's first, and
// ends at end of file on standard input.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

// Port 0 is a free one; returns it.
int listenOn(uint16_t &port, bool reusePort) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (reusePort)
        ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    socklen_t length = sizeof address;
    if (::bind(fd, reinterpret_cast<sockaddr *>(&address), length) < 0 || ::listen(fd, 1024) < 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length) < 0)
        die("listen");
    port = ntohs(address.sin_port);
    return fd;
}

void serve(int fd) {
    static char buffer[4096];
    size_t size = 0;
    while (size < sizeof buffer && !memchr(buffer, '\n', size)) {
        const ssize_t got = ::recv(fd, buffer + size, sizeof buffer - size, 0);
        if (got <= 0)
            break;
        size += static_cast<size_t>(got);
    }
    if (size > 1)
        ::usleep(static_cast<useconds_t>(1000 * strtol(buffer + 1, nullptr, 10)));
    ::send(fd, buffer, size, MSG_NOSIGNAL);
    ::close(fd);
}

// ---- passing ---------------------------------------------------------------

struct Message {
    char data[40] = {}; // as large as the pool's record
    iovec vector{data, sizeof data};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};

    Message() {
        header.msg_iov = &vector;
        header.msg_iovlen = 1;
        header.msg_control = control;
        header.msg_controllen = sizeof control;
    }
};

void pass(int queue, int fd) {
    Message message;
    cmsghdr *rights = CMSG_FIRSTHDR(&message.header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    ::sendmsg(queue, &message.header, MSG_NOSIGNAL);
    ::close(fd);
}

int take(int queue) {
    Message message;
    int fd = -1;
    if (::recvmsg(queue, &message.header, MSG_CMSG_CLOEXEC) > 0) {
        if (const cmsghdr *rights = CMSG_FIRSTHDR(&message.header))
            memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    }
    return fd;
}

void workOnQueue(int queue) {
    for (int fd = take(queue); fd >= 0; fd = take(queue))
        serve(fd);
}

void workOnListener(int listener) {
    for (;;) {
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0)
            serve(fd);
    }
}

// Gives connections to the queues in turn, until the end of standard input.
void acceptAndPass(int listener, const std::vector<int> &queues) {
    size_t next = 0;
    for (;;) {
        pollfd waited[] = {{listener, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        ::poll(waited, 2, -1);
        if (waited[1].revents != 0)
            return;
        for (int i = 0; i < 64; ++i) {
            const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0)
                break;
            pass(queues[next++ % queues.size()], fd);
        }
    }
}

// ---- processes -------------------------------------------------------------

template <class Work> pid_t forkWorker(Work work) {
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() == parent)
            work();
        _exit(0);
    }
    return pid;
}

void announce(uint16_t port, const std::vector<pid_t> &workers) {
    printf("ready %d %d", port, static_cast<int>(::getpid()));
    for (pid_t pid : workers)
        printf(" %d", static_cast<int>(pid));
    printf("\n");
    fflush(stdout);
}

// One queue for all, or one for each.
std::vector<pid_t> runPassing(int workers, bool onlyOne) {
    uint16_t port = 0;
    const int listener = listenOn(port, false);
    ::fcntl(listener, F_SETFL, O_NONBLOCK); // the parent also looks at its standard input
    std::vector<int> senders;
    std::vector<pid_t> pids;
    int queue[2];
    for (int i = 0; i < workers; ++i) {
        if (i == 0 || !onlyOne) {
            if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, queue) < 0)
                die("socketpair");
            senders.push_back(queue[0]);
        }
        pids.push_back(forkWorker([&] { workOnQueue(queue[1]); }));
    }
    announce(port, pids);
    acceptAndPass(listener, senders);
    return pids;
}

// One listener for all, or one for each.
std::vector<pid_t> runAccepting(int workers, bool onlyOne) {
    uint16_t port = 0;
    std::vector<int> listeners;
    while (static_cast<int>(listeners.size()) < (onlyOne ? 1 : workers))
        listeners.push_back(listenOn(port, !onlyOne));
    std::vector<pid_t> pids;
    for (size_t i = 0; i < static_cast<size_t>(workers); ++i)
        pids.push_back(forkWorker([&] { workOnListener(listeners[i % listeners.size()]); }));
    announce(port, pids);
    char byte;
    while (::read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return pids;
}

} // namespace

int main(int argc, char **argv) {
    const std::string mode = argc == 3 ? argv[1] : "";
    const int workers = argc == 3 ? atoi(argv[2]) : 0;
    std::vector<pid_t> pids;
    if (workers > 0 && (mode == "pull" || mode == "roundrobin")) {
        pids = runPassing(workers, mode == "pull");
    } else if (workers > 0 && (mode == "shared" || mode == "reuseport")) {
        pids = runAccepting(workers, mode == "shared");
    } else {
        fprintf(stderr, "usage: slow pull|roundrobin|shared|reuseport WORKERS\n");
        return 2;
    }
    for (pid_t pid : pids)
        ::kill(pid, SIGKILL);
    for (pid_t pid : pids)
        ::waitpid(pid, nullptr, 0);
    return 0;
}
