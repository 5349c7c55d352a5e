// handover.h: servers whose parent accepts connections and passes them to workers.

#ifndef BENCH_HANDOVER_H
#define BENCH_HANDOVER_H

#include "accepting.h"

#include <poll.h>

#include <cstring>

// A descriptor and as many bytes as the pool's record has.
struct Message {
    char data[40] = {};
    iovec vector{data, sizeof data};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr header{};

    Message() {
        header.msg_iov = &vector;
        header.msg_iovlen = 1;
        header.msg_control = control;
        header.msg_controllen = sizeof control;
    }
};

inline void pass(int queue, int fd) {
    Message message;
    cmsghdr *rights = CMSG_FIRSTHDR(&message.header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    ::sendmsg(queue, &message.header, MSG_NOSIGNAL);
    ::close(fd);
}

// -1 at the end, and with MSG_DONTWAIT when none waits.
inline int take(int queue, int flags = 0) {
    Message message;
    if (::recvmsg(queue, &message.header, MSG_CMSG_CLOEXEC | flags) <= 0)
        return -1;
    const cmsghdr *rights = CMSG_FIRSTHDR(&message.header);
    int fd = -1;
    if (rights)
        memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return fd;
}

// The work of one that serves one connection at a time.
template <void (*serve)(int fd)> void workOnQueue(int queue) {
    for (int fd = take(queue); fd >= 0; fd = take(queue))
        serve(fd);
}

// Gives connections to the queues in turn, until the end of standard input.
inline void acceptAndPass(int listener, const std::vector<int> &queues) {
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

enum class Queues { oneForAll, oneForEach };

// type: of the queues' sockets. Workers do work(queue).
template <class Work> void runPassing(int count, Queues queues, int type, Work work) {
    uint16_t port = 0;
    // The parent also looks at its standard input.
    const int listener = listenOn(port, false, SOCK_NONBLOCK);
    std::vector<int> senders;
    std::vector<pid_t> workers;
    int queue[2];
    for (int i = 0; i < count; ++i) {
        if (i == 0 || queues == Queues::oneForEach) {
            if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, queue) < 0)
                die("socketpair");
            senders.push_back(queue[0]);
        }
        workers.push_back(forkWorker([&] {
            ::close(listener);
            for (int sender : senders)
                ::close(sender);
            work(queue[1]);
        }));
    }
    announce(port, workers);
    acceptAndPass(listener, senders);
    endWorkers(workers);
}

#endif
