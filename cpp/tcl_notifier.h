// Tcl's event notifier, replaced by one that owns its poller: in every process
// that we fork, and in any other that asks for it.
//
// Why: after fork, Tcl 9's notifier shares its epoll instance with the
// parent, so that a child which runs its event loop changes (and can crash)
// the parent's; Tcl 8.6's keeps the parent's file handlers. A forked child
// therefore starts over with this one. It needs no extra thread and has no
// FD_SETSIZE limit.
#ifndef UDS_TCL_NOTIFIER_H
#define UDS_TCL_NOTIFIER_H

#include "posix_fd.h"

#include <tcl.h>

namespace uds {

// File handlers of our own: what Tcl_CreateFileHandler and Tcl_DeleteFileHandler
// do, and known when the notifier changes.
void watchFile(int fd, int mask, Tcl_FileProc *proc, void *clientData);
void forgetFile(int fd);

// What this process waits with: "epoll" or "poll" when it is our notifier, else
// "default".
const char *notifierName();
// Changes the notifier of this process, which must have no other thread. Channels
// and our own handlers move; what others have created does not, as far as it
// shows that is an error.
Status useOwnNotifier(Tcl_Interp *interp);
Status useDefaultNotifier(Tcl_Interp *interp);

// For the parent, before it forks: finds out what the child needs to know.
void prepareChildNotifier();

// For the child, right after fork, in the thread that forked: from now on
// this process uses our notifier; the file handlers of the parent are gone.
void startChildNotifier();

// Of the processes that wait for this descriptor, one is woken at a time. Only
// with our notifier; with Tcl's nothing changes.
void wakeOneFor(int fd);
bool wakesOnlyOne(); // whether that is so

// Ends the thread that Tcl 8.6's notifier waits in; the next wait starts it
// again. A process without other threads has one thread then. Fails when the system has
// nothing left to look at the threads with: an end of the notifier's pipe would be lost.
Status stopNotifierThread();

} // namespace uds

#endif
