// The command table, and the entry point that critcl's glue calls.
#include "cmd_table.h"
#include "tcl_interp.h"

namespace uds {

namespace {

const std::vector<Command> &commandTable() {
    static const std::vector<Command> table = [] {
        std::vector<Command> all;
        for (const auto &group :
             {socketCommands(), passingCommands(), queueCommands(), poolCommands(),
              notifierCommands(), connectionCommands(), processCommands(), identityCommands(),
              notifyCommands(), handoverCommands(), forkserverCommands()})
            all.insert(all.end(), group.begin(), group.end());
        return all;
    }();
    return table;
}

// {name usage} of every command that is written in C++.
int describeCommands(void *, Tcl_Interp *interp, int, Tcl_Obj *const[]) {
    Tcl_Obj *list = newList({});
    for (const Command &command : commandTable())
        Tcl_ListObjAppendElement(
            nullptr, list,
            newList({Tcl_NewStringObj(command.name, -1), newString(command.usage())}));
    Tcl_SetObjResult(interp, list);
    return TCL_OK;
}

} // namespace

} // namespace uds

extern "C" int udsInit(Tcl_Interp *interp) {
    for (const uds::Command &command : uds::commandTable())
        Tcl_CreateObjCommand(interp, command.name, uds::commandProc(),
                             const_cast<uds::Command *>(&command), nullptr);
    Tcl_CreateObjCommand(interp, "unix_sockets::Commands", uds::describeCommands, nullptr, nullptr);
    uds::dataOf(interp);
    return TCL_OK;
}
