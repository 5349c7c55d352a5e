// DisownFile, OwnFile, and what has PidFile in its name: the files of a program,
// which another one may take over; all of it private.
#include "cmd_table.h"
#include "posix_daemon.h"
#include "posix_socket.h"
#include "tcl_listener.h"

namespace uds {

namespace {

// ---- socket files --------------------------------------------------------------

// {path device inode}, for OwnFile; empty if closing would remove no file.
int disownFileCommand(const Call &call) {
    Listener *listener = findListener(call, 0, "disown the file of");
    if (!listener)
        return TCL_ERROR;
    const std::optional<SocketFile> file = disownFile(*listener);
    if (!file)
        return TCL_OK;
    return call.answer(newList({fromSystem(file->path()),
                                Tcl_NewWideIntObj(static_cast<Tcl_WideInt>(file->device())),
                                Tcl_NewWideIntObj(static_cast<Tcl_WideInt>(file->inode()))}));
}

// The path may have been relative when the socket was bound to it.
Result<bool> isBoundTo(const Listener &listener, const std::string &path) {
    Result<Address> address = localAddress(socketsOf(listener).front());
    if (!address)
        return address.error();
    const std::string bound = address.value().path();
    const bool isEnd = !bound.empty() && path.size() > bound.size() &&
                       path.compare(path.size() - bound.size() - 1, path.npos, "/" + bound) == 0;
    return isEnd || (!bound.empty() && bound == path);
}

// True if closing the listener removes the file from now on; false if the file
// is another one, or none.
int ownFileCommand(const Call &call) {
    Listener *listener = findListener(call, 0, "own the file of");
    Tcl_Size count = 0;
    Tcl_Obj **words = nullptr;
    Tcl_WideInt device = 0;
    Tcl_WideInt inode = 0;
    if (!listener ||
        Tcl_ListObjGetElements(call.interp, call.arguments[1], &count, &words) != TCL_OK)
        return TCL_ERROR;
    if (count != 3 || Tcl_GetWideIntFromObj(nullptr, words[1], &device) != TCL_OK ||
        Tcl_GetWideIntFromObj(nullptr, words[2], &inode) != TCL_OK)
        return call.fail(ownError("VALUE", "bad file \"" + text(call.arguments[1]) + "\"",
                                  "must be what DisownFile returns", text(call.arguments[1])));
    const std::string path = toSystem(words[0]);
    const std::optional<SocketFile> file =
        SocketFile::takenOver(path, static_cast<dev_t>(device), static_cast<ino_t>(inode));
    const Result<bool> isBound = isBoundTo(*listener, path);
    if (!isBound)
        return call.fail(systemError("couldn't own the file of \"" + text(call.arguments[0]) + "\"",
                                     isBound.error().code));
    const bool isOurs = file && isBound.value();
    if (isOurs)
        ownFile(*listener, *file);
    return call.answer(Tcl_NewBooleanObj(isOurs));
}

// ---- pid files -----------------------------------------------------------------

void removeAtExit() {
    Tcl_CreateExitHandler([](void *) { removePidFile(); }, nullptr);
}

// For a process that is no daemon. Answers the pid of the process that holds the
// file, 0 if it has not told it; empty if it is ours now.
int takePidFileCommand(const Call &call) {
    Result<std::optional<pid_t>> holder = takePidFile(toSystem(call.arguments[0]));
    if (!holder)
        return call.fail(holder.error());
    if (holder.value())
        return call.answer(Tcl_NewWideIntObj(*holder.value()));
    removeAtExit();
    return TCL_OK;
}

// {path fd}, the descriptor being a borrowed one; empty without a pid file.
int pidFileCommand(const Call &call) {
    const std::optional<HeldPidFile> held = heldPidFile();
    if (!held)
        return TCL_OK;
    return call.answer(newList({fromSystem(held->path), Tcl_NewIntObj(held->fd)}));
}

int adoptPidFileCommand(const Call &call) {
    int fd = -1;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &fd) != TCL_OK)
        return TCL_ERROR;
    PidLock lock{toSystem(call.arguments[1]), UniqueFd(fd)};
    Status held = holdPidFile(lock);
    static_cast<void>(lock.fd.release()); // after an error still the caller's
    return held ? TCL_OK : call.fail(held.error());
}

int ownPidFileCommand(const Call &call) {
    if (Status owned = ownPidFile(); !owned)
        return call.fail(owned.error());
    removeAtExit();
    return TCL_OK;
}

int disownPidFileCommand(const Call &) {
    disownPidFile();
    return TCL_OK;
}

} // namespace

std::vector<Command> handoverCommands() {
    return {
        {"unix_sockets::DisownFile", {}, 1, 1, "listener", disownFileCommand},
        {"unix_sockets::OwnFile", {}, 2, 2, "listener file", ownFileCommand},
        {"unix_process::TakePidFile", {}, 1, 1, "path", takePidFileCommand},
        {"unix_process::PidFile", {}, 0, 0, "", pidFileCommand},
        {"unix_process::AdoptPidFile", {}, 2, 2, "fd path", adoptPidFileCommand},
        {"unix_process::OwnPidFile", {}, 0, 0, "", ownPidFileCommand},
        {"unix_process::DisownPidFile", {}, 0, 0, "", disownPidFileCommand},
    };
}

} // namespace uds
