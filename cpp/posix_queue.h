// The queue between the process that accepts and the workers: one record of
// fixed size, carrying one descriptor, for each accepted connection. Workers
// share the receiving end and whoever is free takes the next record.
#ifndef UDS_POSIX_QUEUE_H
#define UDS_POSIX_QUEUE_H

#include "posix_address.h"
#include "posix_fd.h"

#include <cstdint>

namespace uds {

struct QueuedConnection {
    UniqueFd fd;
    Address peer; // family AF_UNSPEC for a unix socket, whose peer has no name
    uint64_t id = 0;
    uint64_t waitedMicros = 0; // between enqueue and dequeue
};

// Both ends of a queue with room for `connections`, or for as many as the
// kernel allows if that is fewer (0: as many as it allows). The sending end
// turns writable again when fewer than `connections` wait, or when a quarter
// of the room is used, whichever is less.
Result<std::pair<UniqueFd, UniqueFd>> openQueue(int connections);

// Sends a copy of `connection`. EAGAIN: the queue is full; ETOOMANYREFS: this
// user has too many descriptors in flight. The caller still owns it then.
// `id` is the sender's business: it arrives with the connection.
Status enqueue(int queue, int connection, const Address &peer, uint64_t id = 0);

// Takes the next connection; EAGAIN when none waits; an empty fd at end of
// file (every sending end is closed). EMFILE, with the connection left in the
// queue, while this process may open no descriptor.
Result<QueuedConnection> dequeue(int queue);

// Whether one waits, asked at the receiving end; cheaper than dequeue to find none.
bool isQueued(int queue);

// Connections that wait, asked at the sending end.
Result<int> queueDepth(int queue);

} // namespace uds

#endif
