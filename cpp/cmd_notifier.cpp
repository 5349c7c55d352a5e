// notifier: what the event loop waits with.
#include "cmd_table.h"
#include "tcl_notifier.h"

namespace uds {

namespace {

const char *const kNotifierNames[] = {"epoll", "default", nullptr};

int notifierCommand(const Call &call) {
    int which = 0;
    if (call.argument(0)) {
        if (Tcl_GetIndexFromObj(call.interp, call.argument(0), kNotifierNames, "notifier", 0,
                                &which) != TCL_OK)
            return TCL_ERROR;
        Status changed = which == 0 ? useOwnNotifier(call.interp) : useDefaultNotifier(call.interp);
        if (!changed)
            return call.fail(changed.error());
    }
    return call.answer(Tcl_NewStringObj(notifierName(), -1));
}

} // namespace

std::vector<Command> notifierCommands() {
    return {{"unix_process::notifier", {}, 0, 1, "?epoll|default?", notifierCommand}};
}

} // namespace uds
