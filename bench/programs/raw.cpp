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

#include "handover.h"
#include "line.h"
#include "modes.h"

#include <sys/epoll.h>

namespace {

void serve(int fd) {
    static char buffer[65536];
    sendLine(fd, buffer, receiveLine(fd, buffer, sizeof buffer));
    ::close(fd);
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

} // namespace

int main(int argc, char **argv) {
    const auto passing = [](int type, auto work) {
        return [=](int workers) { runPassing(workers, Queues::oneForAll, type, work); };
    };
    return runMode(
        argc, argv,
        {{"pass", passing(SOCK_SEQPACKET, workOnQueue<serve>)},
         {"passepoll", passing(SOCK_SEQPACKET, workOnQueueWithEpoll)},
         {"passstream", passing(SOCK_STREAM, workOnQueue<serve>)},
         {"shared", [](int workers) { runShared(workers, workOnListener<serve>); }},
         {"reuseport", [](int workers) { runReusePort(workers, workOnListener<serve>); }}});
}
