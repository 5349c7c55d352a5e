// Tcl's event notifier, replaced by one that owns its poller.
//
// Why: after fork, Tcl 9's notifier shares its epoll instance with the
// parent, so that a child which runs its event loop changes (and can crash)
// the parent's; Tcl 8.6's keeps the parent's file handlers. A forked child
// therefore starts over with this one. It needs no extra thread and has no
// FD_SETSIZE limit.
#ifndef UDS_TCL_NOTIFIER_H
#define UDS_TCL_NOTIFIER_H

namespace uds {

// For the parent, before it forks: finds out what the child needs to know.
void prepareChildNotifier();

// For the child, right after fork, in the thread that forked: from now on
// this process uses our notifier; the file handlers of the parent are gone.
void startChildNotifier();

// Of the processes that wait for this descriptor, one is woken at a time. Only
// with our notifier; with Tcl's nothing changes.
void wakeOneFor(int fd);

// Ends the thread that Tcl 8.6's notifier waits in; the next wait starts it
// again. A process without other threads has one thread then.
void stopNotifierThread();

} // namespace uds

#endif
