// fork, wait, kill, onexit, onsignal, exit, pidfd. unix_process.tcl wraps
// those whose names begin with a capital.
#include "cmd_table.h"
#include "posix_daemon.h"
#include "posix_identity.h"
#include "posix_output.h"
#include "posix_process.h"
#include "posix_signal.h"
#include "tcl_adopt.h"
#include "tcl_fork.h"
#include "tcl_interp.h"

#include <unistd.h>

namespace uds {

namespace {

// Only a process that exists can be meant: 0 and negative numbers would name
// whole groups, -1 everything that the user runs.
int getPid(const Call &call, pid_t &pid) {
    int number = 0;
    const std::string given = text(call.arguments[0]);
    if (Tcl_GetIntFromObj(nullptr, call.arguments[0], &number) == TCL_OK && number > 0) {
        pid = number;
        return TCL_OK;
    }
    Error error =
        ownError("PID", "bad process id \"" + given + "\"", "must be a number above 0", given);
    error.domain = "UNIX_PROCESS";
    return call.fail(error);
}

int getSignal(const Call &call, size_t index, int &signal) {
    Result<int> parsed = parseSignal(text(call.arguments[index]));
    if (!parsed)
        return call.fail(parsed.error());
    signal = parsed.value();
    return TCL_OK;
}

const char *const kEventsNames[] = {"drop", "keep", nullptr};

int forkCommand(const Call &call) {
    prepareFork(call.interp);
    Result<pid_t> pid = forkBlocked();
    if (!pid)
        return call.fail(pid.error());
    if (pid.value() == 0)
        becomeChild(call.interp, call.option(0, 0) == 1);
    return call.answer(Tcl_NewIntObj(pid.value()));
}

int waitCommand(const Call &call) {
    pid_t pid = 0;
    if (getPid(call, pid) != TCL_OK)
        return TCL_ERROR;
    Result<std::optional<ExitStatus>> status = waitFor(pid, call.has(0));
    if (!status)
        return call.fail(status.error());
    if (!status.value())
        return TCL_OK;
    dataOf(call.interp).children.ended(pid, *status.value());
    return call.answer(newString(status.value()->text()));
}

int killCommand(const Call &call) {
    pid_t pid = 0;
    int signal = 0;
    if (getPid(call, pid) != TCL_OK || getSignal(call, 1, signal) != TCL_OK)
        return TCL_ERROR;
    Status sent = sendSignal(pid, signal);
    return sent ? TCL_OK : call.fail(sent.error());
}

int checkCallback(const Call &call, Tcl_Obj *command) {
    Tcl_Size length = 0;
    return Tcl_ListObjLength(call.interp, command, &length);
}

int answerCommand(const Call &call, const ObjRef &command) {
    return command ? call.answer(command.get()) : TCL_OK;
}

int onexitCommand(const Call &call) {
    pid_t pid = 0;
    if (getPid(call, pid) != TCL_OK)
        return TCL_ERROR;
    ChildWatch &children = dataOf(call.interp).children;
    Tcl_Obj *command = call.argument(1);
    if (!command)
        return answerCommand(call, children.get(pid));
    if (isEmpty(command)) {
        children.remove(pid);
        return TCL_OK;
    }
    if (checkCallback(call, command) != TCL_OK)
        return TCL_ERROR;
    Status status = children.set(pid, ObjRef(command));
    return status ? TCL_OK : call.fail(status.error());
}

int onsignalCommand(const Call &call) {
    SignalWatch &signals = dataOf(call.interp).signals;
    if (call.arguments.empty()) {
        Tcl_Obj *names = newList({});
        for (int signal : signals.watched())
            Tcl_ListObjAppendElement(nullptr, names, newString(signalName(signal)));
        return call.answer(names);
    }
    int signal = 0;
    if (getSignal(call, 0, signal) != TCL_OK)
        return TCL_ERROR;
    Tcl_Obj *command = call.argument(1);
    if (!command)
        return answerCommand(call, signals.get(signal));
    if (isEmpty(command)) {
        signals.remove(signal);
        return TCL_OK;
    }
    if (checkCallback(call, command) != TCL_OK)
        return TCL_ERROR;
    Status status = signals.set(signal, ObjRef(command));
    return status ? TCL_OK : call.fail(status.error());
}

// The name of a file channel is that of its descriptor: once it is closed, the
// next file gets the same.
int trackCommand(const Call &call) {
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[0]);
    if (!channel)
        return TCL_ERROR;
    return call.answer(Tcl_NewIntObj(dataOf(call.interp).inherited.track(channel)));
}

int isOpenCommand(const Call &call) {
    int number = 0;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &number) != TCL_OK)
        return TCL_ERROR;
    return call.answer(Tcl_NewBooleanObj(dataOf(call.interp).inherited.isOpen(number)));
}

int exitCommand(const Call &call) {
    int code = 0;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &code) != TCL_OK)
        return TCL_ERROR;
    removePidFile();
    ::_exit(code & 0xff);
}

int redirectCommand(const Call &call) {
    Status done = redirectOutput(toSystem(call.arguments[0]));
    return done ? TCL_OK
                : call.fail(systemError("couldn't write to \"" + text(call.arguments[0]) + "\"",
                                        done.error().code));
}

// A channel; a new file is given to the user, if one is named.
int openOutputCommand(const Call &call) {
    const std::string what = "couldn't open \"" + text(call.arguments[0]) + "\"";
    Result<UniqueFd> fd = openForAppending(toSystem(call.arguments[0]));
    if (!fd)
        return call.fail(systemError(what, fd.error().code));
    if (Tcl_Obj *name = call.argument(1)) {
        Result<uid_t> user = findUserId(toSystem(name));
        if (!user)
            return call.fail(user.error());
        if (Status given = giveTo(fd.value().get(), user.value()); !given)
            return call.fail(systemError("couldn't give \"" + text(call.arguments[0]) + "\" to \"" +
                                             text(name) + "\"",
                                         given.error().code));
    }
    Result<Tcl_Channel> channel = adopt(call.interp, fd.value());
    if (!channel)
        return call.fail(channel.error());
    return call.answer(Tcl_NewStringObj(Tcl_GetChannelName(channel.value()), -1));
}

int pidfdCommand(const Call &call) {
    pid_t pid = 0;
    if (getPid(call, pid) != TCL_OK)
        return TCL_ERROR;
    Result<UniqueFd> fd = openPidfd(pid);
    if (!fd)
        return call.fail(fd.error());
    Result<Tcl_Channel> channel = adopt(call.interp, fd.value());
    if (!channel)
        return call.fail(channel.error());
    return call.answer(Tcl_NewStringObj(Tcl_GetChannelName(channel.value()), -1));
}

} // namespace

std::vector<Command> processCommands() {
    const Option noHang = {"-nohang", Option::Kind::Flag, nullptr, nullptr, 0, 0};
    const Option events = {"-events", Option::Kind::Choice, nullptr, kEventsNames, 0, 0};
    return {
        {"unix_process::fork", {events, Option{}}, 0, 0, "", forkCommand},
        {"unix_process::wait", {noHang, Option{}}, 1, 1, "pid", waitCommand, true},
        {"unix_process::kill", {}, 2, 2, "pid signal", killCommand},
        {"unix_process::onexit", {}, 1, 2, "pid ?cmd?", onexitCommand},
        {"unix_process::onsignal", {}, 0, 2, "?name? ?cmd?", onsignalCommand},
        {"unix_process::Track", {}, 1, 1, "channel", trackCommand},
        {"unix_process::IsOpen", {}, 1, 1, "number", isOpenCommand},
        {"unix_process::Exit", {}, 1, 1, "code", exitCommand},
        {"unix_process::Redirect", {}, 1, 1, "path", redirectCommand},
        {"unix_process::OpenOutput", {}, 1, 2, "path ?user?", openOutputCommand},
        {"unix_process::pidfd", {}, 1, 1, "pid", pidfdCommand},
    };
}

} // namespace uds
