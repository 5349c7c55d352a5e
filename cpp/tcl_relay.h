// From a listener to a queue without a script for each connection: what a pool's
// parent does while nothing is limited and nobody asks.
#ifndef UDS_TCL_RELAY_H
#define UDS_TCL_RELAY_H

#include "tcl_listener.h"
#include "tcl_support.h"

#include <tcl.h>

#include <sys/types.h>

#include <cstdint>

namespace uds {

// The queue's channel is to live longer.
class Relay {
public:
    // Up to `most` connections in one go, before other events get their turn.
    // What else there is to do is the script's: anything but "no more wait".
    Relay(Tcl_Interp *interp, Tcl_Channel listener, int queue, int most, ObjRef otherwiseCmd);
    ~Relay();
    Relay(const Relay &) = delete;
    Relay &operator=(const Relay &) = delete;

    uint64_t count() const { return count_; } // that went into the queue

private:
    static void onReadable(void *relay, int mask);
    static void onClose(void *relay);

    Tcl_Interp *interp_;
    Tcl_Channel listener_; // null once it is closed
    int queue_;
    int most_;
    ObjRef otherwiseCmd_;
    pid_t process_;
    uint64_t count_ = 0;
};

} // namespace uds

#endif
