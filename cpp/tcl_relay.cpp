#include "tcl_relay.h"

#include "posix_pid.h"

#include <sched.h>

#include <utility>

namespace uds {

Relay::Relay(Tcl_Interp *interp, Tcl_Channel listener, int queue, int most, ObjRef otherwiseCmd)
    : interp_(interp), listener_(listener), queue_(queue), most_(most),
      otherwiseCmd_(std::move(otherwiseCmd)), process_(ownPid()) {
    Tcl_CreateChannelHandler(listener_, TCL_READABLE, onReadable, this);
    Tcl_CreateCloseHandler(listener_, onClose, this);
}

Relay::~Relay() {
    if (!listener_)
        return;
    Tcl_DeleteChannelHandler(listener_, onReadable, this);
    Tcl_DeleteCloseHandler(listener_, onClose, this);
}

void Relay::onClose(void *relay) {
    static_cast<Relay *>(relay)->listener_ = nullptr;
}

// What stopped it short stops the script's own attempt again, which then says why.
void Relay::onReadable(void *relay, int) {
    auto *own = static_cast<Relay *>(relay);
    if (own->process_ == ownPid()) {
        Result<HandOff> done = handOff(*listenerOf(own->listener_), own->queue_, own->most_);
        // Workers and clients that are ready to run on this processor go first: more
        // connections come in one go then, for one wake-up.
        ::sched_yield();
        if (done)
            own->count_ += static_cast<uint64_t>(done.value().count);
        if (done &&
            (done.value().stop == HandOff::Stop::Empty || done.value().stop == HandOff::Stop::Max))
            return;
    }
    callBack(own->interp_, own->otherwiseCmd_, {}); // may delete the relay
}

} // namespace uds
