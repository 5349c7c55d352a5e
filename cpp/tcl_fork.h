// What Tcl needs around a fork, however that is made: before it in the parent,
// after it in the child.
#ifndef UDS_TCL_FORK_H
#define UDS_TCL_FORK_H

#include <tcl.h>

namespace uds {

void prepareFork(Tcl_Interp *interp);

// For the child, after forkBlocked(): a notifier of its own, no events and
// callbacks of the parent's (keepEvents: its channel events stay), signals
// open again, and the hooks of unix_process.tcl. Runs scripts.
void becomeChild(Tcl_Interp *interp, bool keepEvents);

// The same in two steps, for a child that is not told yet what it is for: the
// hooks are called once it is.
void settleChild(Tcl_Interp *interp, bool keepEvents);
void callChildHooks();

} // namespace uds

#endif
