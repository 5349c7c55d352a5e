#include "tcl_adopt.h"

#include "posix_socket.h"
#include "tcl_channel.h"
#include "tcl_listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace uds {

namespace {

void *asHandle(int fd) {
    return reinterpret_cast<void *>(static_cast<intptr_t>(fd));
}

int directions(int flags) {
    switch (flags & O_ACCMODE) {
    case O_RDONLY:
        return TCL_READABLE;
    case O_WRONLY:
        return TCL_WRITABLE;
    default:
        return TCL_READABLE | TCL_WRITABLE;
    }
}

Tcl_Channel registered(Tcl_Interp *interp, Tcl_Channel channel) {
    Tcl_RegisterChannel(interp, channel);
    return channel;
}

enum class Kind { Tcp, Unix, Listening, File };

// type: that of a socket, or -1
Result<Kind> kindOf(int fd, int type) {
    if (type < 0)
        return Kind::File;
    const Result<bool> listening = isListening(fd);
    if (!listening)
        return listening.error();
    if (listening.value())
        return Kind::Listening;
    const Result<int> family = socketFamily(fd);
    if (!family)
        return family.error();
    if (family.value() == AF_UNIX && (type == SOCK_STREAM || type == SOCK_SEQPACKET))
        return Kind::Unix;
    if (type == SOCK_STREAM && (family.value() == AF_INET || family.value() == AF_INET6))
        return Kind::Tcp;
    return Kind::File;
}

Tcl_Channel makeListening(UniqueFd fd) {
    std::vector<UniqueFd> sockets;
    sockets.push_back(std::move(fd));
    return openListener(std::move(sockets), std::nullopt);
}

// The channel becomes the owner of the descriptor.
Tcl_Channel makeChannel(Kind kind, UniqueFd fd, int type, int flags) {
    switch (kind) {
    case Kind::Listening:
        return makeListening(std::move(fd));
    case Kind::Unix:
        return openUnixChannel(std::move(fd), type);
    case Kind::Tcp:
        return Tcl_MakeTcpClientChannel(asHandle(fd.release()));
    case Kind::File:
        break;
    }
    return Tcl_MakeFileChannel(asHandle(fd.release()), directions(flags));
}

#if TCL_MAJOR_VERSION >= 9

bool isTcp(Tcl_Channel channel) {
    return strcmp(Tcl_ChannelName(Tcl_GetChannelType(channel)), "tcp") == 0;
}

// Before Tcl shuts the socket down, a fresh one takes over its number.
void replaceSocket(void *closing) {
    const Tcl_Channel channel = static_cast<Tcl_Channel>(closing);
    if (Tcl_OutputBuffered(channel) > 0)
        Tcl_Flush(channel); // Tcl would do it next, into the fresh socket
    const std::optional<int> fd = descriptorOf(channel, TCL_READABLE);
    if (!fd)
        return;
    Tcl_DeleteFileHandler(*fd);
    Result<UniqueFd> fresh = openSocket(AF_UNIX, SOCK_STREAM);
    if (fresh)
        ::dup3(fresh.value().get(), *fd, O_CLOEXEC);
}

#endif

Tcl_Interp *childInterp(Tcl_Interp *interp, Tcl_Obj *name) {
#if TCL_MAJOR_VERSION >= 9
    return Tcl_GetChild(interp, Tcl_GetString(name));
#else
    return Tcl_GetSlave(interp, Tcl_GetString(name));
#endif
}

Tcl_Interp *parentInterp(Tcl_Interp *interp) {
#if TCL_MAJOR_VERSION >= 9
    return Tcl_GetParent(interp);
#else
    return Tcl_GetMaster(interp);
#endif
}

// The list that a command answers with.
std::vector<ObjRef> answerOf(Tcl_Interp *interp, const char *command) {
    std::vector<ObjRef> answers;
    Tcl_Size count = 0;
    Tcl_Obj **words = nullptr;
    Tcl_InterpState saved = Tcl_SaveInterpState(interp, TCL_OK);
    if (Tcl_EvalEx(interp, command, -1, TCL_EVAL_GLOBAL) == TCL_OK &&
        Tcl_ListObjGetElements(nullptr, Tcl_GetObjResult(interp), &count, &words) == TCL_OK)
        for (Tcl_Size i = 0; i < count; ++i)
            answers.emplace_back(words[i]);
    Tcl_RestoreInterpState(interp, saved);
    return answers;
}

void forEachChannelBelow(Tcl_Interp *interp,
                         const std::function<void(Tcl_Interp *, Tcl_Channel)> &visit) {
    for (const ObjRef &name : answerOf(interp, "::chan names")) {
        Tcl_Channel channel = Tcl_GetChannel(interp, Tcl_GetString(name.get()), nullptr);
        if (channel)
            visit(interp, channel);
    }
    for (const ObjRef &name : answerOf(interp, "::interp slaves")) {
        Tcl_Interp *child = childInterp(interp, name.get());
        if (child)
            forEachChannelBelow(child, visit);
    }
}

} // namespace

Result<Tcl_Channel> adopt(Tcl_Interp *interp, UniqueFd &fd) {
    const std::string what = "couldn't adopt \"" + std::to_string(fd.get()) + "\"";
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0)
        return systemError(what);
    const Result<int> type = socketType(fd.get());
    if (!type)
        return systemError(what, type.error().code);
    const Result<Kind> kind = kindOf(fd.get(), type.value());
    if (!kind)
        return systemError(what, kind.error().code);
    const bool listens = kind.value() == Kind::Listening;
    const int wanted = listens ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    const bool change = kind.value() != Kind::Unix && wanted != flags;
    if (change && ::fcntl(fd.get(), F_SETFL, wanted) < 0)
        return systemError(what);
    return registered(interp, makeChannel(kind.value(), std::move(fd), type.value(), flags));
}

Connected connectedChannel(Tcl_Interp *interp, UniqueFd fd, const Address &peer) {
    const bool isInet = peer.family() == AF_INET || peer.family() == AF_INET6;
    Address shown = peer;
    if (!isInet)
        if (Result<Address> local = localAddress(fd.get()))
            shown = local.value();
    const Kind kind = isInet ? Kind::Tcp : Kind::Unix;
    const Result<int> asked = isInet ? Result<int>(SOCK_STREAM) : socketType(fd.get());
    const int type = asked ? asked.value() : SOCK_STREAM; // nearly all are: it is served
    return {registered(interp, makeChannel(kind, std::move(fd), type, O_RDWR)), shown};
}

Tcl_Obj *connectionWords(Tcl_Interp *interp, UniqueFd fd, const Address &peer) {
    const Connected made = connectedChannel(interp, std::move(fd), peer);
    return newList({Tcl_NewStringObj(Tcl_GetChannelName(made.channel), -1),
                    fromSystem(made.shown.host()), Tcl_NewIntObj(made.shown.port())});
}

std::optional<int> descriptorOf(Tcl_Channel channel, int direction) {
    void *handle = nullptr;
    if (Tcl_GetChannelHandle(channel, direction, &handle) == TCL_OK)
        return static_cast<int>(reinterpret_cast<intptr_t>(handle));
    // Or the channel would report this failure as that of its next operation.
    Tcl_SetChannelError(channel, nullptr);
    return std::nullopt;
}

void detachOnClose(Tcl_Channel channel) {
#if TCL_MAJOR_VERSION >= 9
    if (!isTcp(channel))
        return;
    Tcl_DeleteCloseHandler(channel, replaceSocket, channel); // at most one
    Tcl_CreateCloseHandler(channel, replaceSocket, channel);
#else
    static_cast<void>(channel);
#endif
}

void forEachChannel(Tcl_Interp *interp,
                    const std::function<void(Tcl_Interp *, Tcl_Channel)> &visit) {
    while (Tcl_Interp *parent = parentInterp(interp))
        interp = parent;
    forEachChannelBelow(interp, visit);
}

} // namespace uds
