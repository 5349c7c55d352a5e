// What one interpreter holds of ours; deleted with it.
#ifndef UDS_TCL_INTERP_H
#define UDS_TCL_INTERP_H

#include "posix_scoreboard.h"
#include "tcl_children.h"
#include "tcl_relay.h"
#include "tcl_serving.h"
#include "tcl_signals.h"
#include "tcl_tracking.h"

#include <tcl.h>

#include <map>
#include <memory>
#include <vector>

namespace uds {

struct InterpData {
    explicit InterpData(Tcl_Interp *owner)
        : interp(owner), signals(owner), children(owner), connections(owner) {}
    Tcl_Interp *interp;
    SignalWatch signals;
    ChildWatch children;
    ChannelTracking connections;
    ChannelTracking inherited; // from the parent, in a forked child
    // By number. Shared with the connections that count on them.
    std::map<int, std::shared_ptr<Scoreboard>> boards;
    std::shared_ptr<Serving> serving;                     // in a pool's worker
    std::map<Tcl_Channel, std::unique_ptr<Relay>> relays; // in a pool's parent
};

// Made when the library is loaded into the interpreter. In a process forked
// behind our back (TclX) it forgets the parent's signals and children first.
InterpData &dataOf(Tcl_Interp *interp);

// The interpreters of this thread that have the library loaded.
const std::vector<InterpData *> &interpsOfThread();

// For the child, right after fork: no signal or exit of the parent's reaches
// its callbacks any more.
void forgetParentsCallbacks();

} // namespace uds

#endif
