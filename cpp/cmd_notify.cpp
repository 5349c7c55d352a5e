// notify: news for the service manager.
#include "cmd_table.h"
#include "posix_identity.h"
#include "posix_notify.h"

namespace uds {

namespace {

// In real UTF-8, as the manager wants it.
std::string toUtf8(Tcl_Obj *object) {
    Tcl_Encoding utf8 = Tcl_GetEncoding(nullptr, "utf-8");
    Tcl_Size length = 0;
    const char *string = Tcl_GetStringFromObj(object, &length);
    Tcl_DString buffer;
    Tcl_UtfToExternalDString(utf8, string, length, &buffer);
    std::string bytes(Tcl_DStringValue(&buffer), static_cast<size_t>(Tcl_DStringLength(&buffer)));
    Tcl_DStringFree(&buffer);
    Tcl_FreeEncoding(utf8);
    return bytes;
}

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
