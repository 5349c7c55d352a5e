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

#include "handover.h"
#include "line.h"
#include "modes.h"

namespace {

void serve(int fd) {
    static char buffer[4096];
    const size_t size = receiveLine(fd, buffer, sizeof buffer);
    if (size > 1)
        ::usleep(static_cast<useconds_t>(1000 * strtol(buffer + 1, nullptr, 10)));
    sendLine(fd, buffer, size);
    ::close(fd);
}

} // namespace

int main(int argc, char **argv) {
    const auto passing = [](Queues queues) {
        return
            [=](int workers) { runPassing(workers, queues, SOCK_SEQPACKET, workOnQueue<serve>); };
    };
    return runMode(
        argc, argv,
        {{"pull", passing(Queues::oneForAll)},
         {"roundrobin", passing(Queues::oneForEach)},
         {"shared", [](int workers) { runShared(workers, workOnListener<serve>); }},
         {"reuseport", [](int workers) { runReusePort(workers, workOnListener<serve>); }}});
}
