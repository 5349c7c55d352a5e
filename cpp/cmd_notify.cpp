// notify: news for the service manager.
#include "cmd_table.h"
#include "posix_identity.h"
#include "posix_notify.h"

namespace uds {

namespace {

int notifyCommand(const Call &call) {
    const std::string state = toUtf8(call.arguments[0]);
    if (state.empty() || state.find('\0') != state.npos)
        return call.fail(processError("VALUE", "bad state \"" + text(call.arguments[0]) + "\"",
                                      "must be lines of the form VARIABLE=value", "state"));
    std::optional<pid_t> pid;
    if (call.has(0))
        pid = call.option(0, 0);
    Result<bool> sent = notifyManager(state, pid);
    return sent ? call.answer(Tcl_NewBooleanObj(sent.value())) : call.fail(sent.error());
}

} // namespace

std::vector<Command> notifyCommands() {
    const Option pid = {"-pid", Option::Kind::Number, "n", nullptr, 1, INT_MAX};
    return {
        {"unix_process::notify", {pid, Option{}}, 1, 1, "state", notifyCommand},
    };
}

} // namespace uds
