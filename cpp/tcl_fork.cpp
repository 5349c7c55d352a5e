#include "tcl_fork.h"

#include "posix_process.h"
#include "tcl_adopt.h"
#include "tcl_interp.h"
#include "tcl_listener.h"
#include "tcl_notifier.h"
#include "tcl_support.h"

#include <utility>
#include <vector>

namespace uds {

namespace {

// Takes the channel's event scripts away, or has them watched by the child's
// own notifier.
void renewEvents(Tcl_Interp *interp, Tcl_Channel channel, bool keep) {
    if (Listener *listener = listenerOf(channel))
        renewHandler(*listener, keep);
    const ObjRef name(Tcl_NewStringObj(Tcl_GetChannelName(channel), -1));
    const ObjRef event(Tcl_NewStringObj("::fileevent", -1));
    const ObjRef nothing(Tcl_NewStringObj("", 0));
    const int open = Tcl_GetChannelMode(channel);
    for (const auto &[mode, direction] :
         {std::pair(TCL_READABLE, "readable"), std::pair(TCL_WRITABLE, "writable")}) {
        const ObjRef which(Tcl_NewStringObj(direction, -1));
        Tcl_Obj *words[] = {event.get(), name.get(), which.get(), nothing.get()};
        if ((open & mode) == 0 || Tcl_EvalObjv(interp, 3, words, TCL_EVAL_GLOBAL) != TCL_OK)
            continue;
        const ObjRef script(Tcl_GetObjResult(interp));
        if (isEmpty(script.get()))
            continue;
        Tcl_EvalObjv(interp, 4, words, TCL_EVAL_GLOBAL);
        words[3] = script.get();
        if (keep)
            Tcl_EvalObjv(interp, 4, words, TCL_EVAL_GLOBAL);
    }
    Tcl_ResetResult(interp);
}

// What unix_process.tcl does in a child, where that is loaded.
void callHook(Tcl_Interp *interp) {
    const char *hook = "::unix_process::BecomeChild";
    Tcl_CmdInfo info;
    if (!Tcl_InterpDeleted(interp) && Tcl_GetCommandInfo(interp, hook, &info))
        callBack(interp, ObjRef(Tcl_NewStringObj(hook, -1)), {});
}

} // namespace

void prepareFork(Tcl_Interp *interp) {
    dataOf(interp);
    // What is buffered now must not be written by both.
    for (int standard : {TCL_STDOUT, TCL_STDERR})
        if (const Tcl_Channel channel = Tcl_GetStdChannel(standard))
            Tcl_Flush(channel);
    // From here on closing a connection in one of the two must not end it for
    // the other.
    forEachChannel(interp, [](Tcl_Interp *, Tcl_Channel channel) { detachOnClose(channel); });
    prepareChildNotifier();
}

void settleChild(Tcl_Interp *interp, bool keepEvents) {
    startChildNotifier();
    forgetParentsCallbacks();
    forEachChannel(interp, [&](Tcl_Interp *owner, Tcl_Channel channel) {
        renewEvents(owner, channel, keepEvents);
    });
    unblockSignals();
}

void callChildHooks() {
    // Copied and held: a hook may delete an interpreter, or make one.
    std::vector<Tcl_Interp *> interps;
    for (const InterpData *data : interpsOfThread()) {
        Tcl_Preserve(data->interp);
        interps.push_back(data->interp);
    }
    for (Tcl_Interp *each : interps) {
        callHook(each);
        Tcl_Release(each);
    }
}

void becomeChild(Tcl_Interp *interp, bool keepEvents) {
    settleChild(interp, keepEvents);
    callChildHooks();
}

} // namespace uds
