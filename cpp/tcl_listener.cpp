#include "tcl_listener.h"

#include "tcl_channel.h"
#include "tcl_interp.h"
#include "tcl_names.h"
#include "tcl_notifier.h"

#include <sys/socket.h>

#include <cstring>
#include <memory>

namespace uds {

namespace {

// How long a listener with a handler rests when the system has nothing to
// give (descriptors, memory), or when it was moved to an interpreter without
// this library: trying again at once would only spin.
constexpr int kRestMs = 100;

} // namespace

class Listener {
public:
    std::vector<UniqueFd> sockets;
    std::optional<SocketFile> file;
    std::optional<Accepted> pending; // accepted, not yet handed off
    size_t turn = 0;                 // the socket that is asked first
    Tcl_Channel channel = nullptr;
    int interest = 0;
    bool hasHandler = false;
    // A string, not an object: the channel may move to another thread.
    std::string handler;
    Tcl_TimerToken rest = nullptr;
    bool complained = false; // about the failure that made it rest
};

namespace {

Listener &stateOf(void *instance) {
    return *static_cast<Listener *>(instance);
}

void applyInterest(Listener &listener);

// ---- the handler -----------------------------------------------------------

// The listener may have been transferred since it was made.
Tcl_Interp *interpOf(const Listener &listener) {
    for (InterpData *data : interpsOfThread())
        if (Tcl_IsChannelRegistered(data->interp, listener.channel))
            return data->interp;
    return nullptr;
}

void onRested(void *instance) {
    stateOf(instance).rest = nullptr;
    applyInterest(stateOf(instance));
}

void takeRest(Listener &listener, int ms) {
    listener.rest = Tcl_CreateTimerHandler(ms, onRested, &listener);
    applyInterest(listener);
}

// As with Tcl's own server sockets, a failed handler loses its connection.
void callHandler(Tcl_Interp *interp, const ObjRef &handler, Tcl_Channel channel) {
    Tcl_RegisterChannel(interp, channel);
    Tcl_RegisterChannel(nullptr, channel); // held while the handler runs
    Tcl_Preserve(interp);
    const int code = callBack(interp, handler, {Tcl_NewStringObj(Tcl_GetChannelName(channel), -1)});
    if (code != TCL_OK && Tcl_IsChannelRegistered(interp, channel))
        Tcl_UnregisterChannel(interp, channel);
    Tcl_Release(interp);
    Tcl_UnregisterChannel(nullptr, channel);
}

void serveHandler(Listener &listener) {
    Tcl_Interp *interp = interpOf(listener);
    if (!interp) {
        takeRest(listener, kRestMs); // nobody to call: the clients stay in the backlog
        return;
    }
    Result<Accepted> accepted = acceptFrom(listener);
    if (!accepted && isWouldBlock(accepted.error().code))
        return;
    if (!accepted) {
        takeRest(listener, kRestMs);
        if (!std::exchange(listener.complained, true))
            Tcl_BackgroundException(interp, fail(interp, accepted.error()));
        return;
    }
    listener.complained = false;
    const ObjRef handler(newString(listener.handler));
    const Tcl_Channel channel = openUnixChannel(std::move(accepted.value().fd), SOCK_STREAM);
    callHandler(interp, handler, channel); // may close the listener
}

// ---- waiting ---------------------------------------------------------------

void onReady(void *instance, int mask) {
    Listener &listener = stateOf(instance);
    if (listener.hasHandler)
        serveHandler(listener);
    else
        Tcl_NotifyChannel(listener.channel, mask);
}

bool wantsConnections(const Listener &listener) {
    if (!listener.hasHandler)
        return (listener.interest & TCL_READABLE) != 0;
    return !listener.rest;
}

void applyInterest(Listener &listener) {
    const bool wanted = wantsConnections(listener);
    for (const UniqueFd &socket : listener.sockets)
        if (wanted)
            watchFile(socket.get(), TCL_READABLE, onReady, &listener);
        else
            forgetFile(socket.get());
}

// ---- options ---------------------------------------------------------------

// One socket: {address port} for TCP, the path for unix. As with Tcl's own
// server sockets, several give several.
Result<std::string> socketNames(const Listener &listener) {
    std::vector<Address> addresses;
    for (const UniqueFd &socket : listener.sockets) {
        Result<Address> address = localAddress(socket.get());
        if (!address)
            return systemError("couldn't get -sockname", address.error().code);
        addresses.push_back(address.value());
    }
    Tcl_DString names;
    Tcl_DStringInit(&names);
    for (const Address &address : addresses) {
        const ObjRef host(fromSystem(address.host()));
        if (address.isUnix()) {
            Tcl_DStringAppend(&names, Tcl_GetString(host.get()), -1);
            continue;
        }
        Tcl_DStringAppendElement(&names, Tcl_GetString(host.get()));
        Tcl_DStringAppendElement(&names, Tcl_GetString(host.get()));
        Tcl_DStringAppendElement(&names, std::to_string(address.port()).c_str());
    }
    std::string text = Tcl_DStringValue(&names);
    Tcl_DStringFree(&names);
    return text;
}

// Without what cannot be told.
void listOptions(const Listener &listener, Tcl_DString *value) {
    if (const Result<std::string> names = socketNames(listener)) {
        Tcl_DStringAppendElement(value, "-sockname");
        Tcl_DStringAppendElement(value, names.value().c_str());
    }
    Tcl_DStringAppendElement(value, "-type");
    Tcl_DStringAppendElement(value, "stream");
}

int getOptionProc(void *instance, Tcl_Interp *interp, const char *name, Tcl_DString *value) {
    Listener &listener = stateOf(instance);
    if (!name) {
        listOptions(listener, value);
        return TCL_OK;
    }
    if (strcmp(name, "-sockname") == 0) {
        const Result<std::string> names = socketNames(listener);
        if (!names)
            return interp ? fail(interp, names.error()) : TCL_ERROR;
        Tcl_DStringAppend(value, names.value().c_str(), -1);
    } else if (strcmp(name, "-type") == 0) {
        Tcl_DStringAppend(value, "stream", -1);
    } else if (strcmp(name, "-error") == 0) {
        const int code = pendingError(listener.sockets[0].get());
        if (code != 0)
            Tcl_DStringAppend(value, Tcl_ErrnoMsg(code), -1);
    } else {
        return Tcl_BadChannelOption(interp, name, "error sockname type");
    }
    return TCL_OK;
}

// ---- the rest of the driver ------------------------------------------------

int inputProc(void *, char *, int, int *errorCode) {
    *errorCode = ENOTCONN;
    return -1;
}

int outputProc(void *, const char *, int, int *errorCode) {
    *errorCode = ENOTCONN;
    return -1;
}

void watchProc(void *instance, int mask) {
    stateOf(instance).interest = mask;
    applyInterest(stateOf(instance));
}

int getHandleProc(void *instance, int, void **handle) {
    *handle = reinterpret_cast<void *>(static_cast<intptr_t>(stateOf(instance).sockets[0].get()));
    return TCL_OK;
}

int close2Proc(void *instance, Tcl_Interp *, int flags) {
    // Never a shutdown: other processes may listen on the same socket.
    if ((flags & (TCL_CLOSE_READ | TCL_CLOSE_WRITE)) != 0)
        return 0;
    Listener &listener = stateOf(instance);
    Tcl_DeleteTimerHandler(listener.rest);
    for (const UniqueFd &socket : listener.sockets)
        forgetFile(socket.get());
    if (listener.file)
        listener.file->remove(); // while the inode is still taken
    delete &listener;            // the channel was its owner
    return 0;
}

int blockModeProc(void *, int) {
    return 0; // accepting never blocks
}

void threadActionProc(void *instance, int action) {
    Listener &listener = stateOf(instance);
    Tcl_DeleteTimerHandler(listener.rest);
    listener.rest = nullptr;
    if (action == TCL_CHANNEL_THREAD_INSERT) {
        // Later: the channel is not registered with an interpreter yet.
        if (listener.hasHandler)
            takeRest(listener, 0);
        return;
    }
    listener.interest = 0;
    for (const UniqueFd &socket : listener.sockets)
        forgetFile(socket.get());
}

// clang-format off
const Tcl_ChannelType kListenerType = {
    "listener",
    TCL_CHANNEL_VERSION_5,
    TCL_CLOSE2PROC,
    inputProc,
    outputProc,
    nullptr, // seek
    nullptr, // setOption
    getOptionProc,
    watchProc,
    getHandleProc,
    close2Proc,
    blockModeProc,
    nullptr, // flush
    nullptr, // handler
    nullptr, // wideSeek
    threadActionProc,
    nullptr, // truncate
};
// clang-format on

Result<HandOff> stopped(const Error &error, HandOff::Stop whenItWouldBlock) {
    const auto stop = stopReason(error.code, whenItWouldBlock);
    if (!stop)
        return error;
    return HandOff{0, *stop};
}

} // namespace

Tcl_Channel openListener(std::vector<UniqueFd> sockets, std::optional<SocketFile> file) {
    auto listener = std::make_unique<Listener>();
    listener->sockets = std::move(sockets);
    listener->file = std::move(file);
    const Result<int> family = socketFamily(listener->sockets[0].get());
    const bool isUnix = family && family.value() == AF_UNIX;
    const std::string name = nextChannelName(isUnix ? "unix_socket" : "tcp_listener");
    Listener *owned = listener.release(); // by the channel, see close2Proc
    owned->channel = Tcl_CreateChannel(&kListenerType, name.c_str(), owned, TCL_READABLE);
    return owned->channel;
}

void setHandler(Listener &listener, const std::string &handler) {
    listener.handler = handler;
    listener.hasHandler = true;
    applyInterest(listener);
}

void renewHandler(Listener &listener, bool keep) {
    if (!listener.hasHandler)
        return;
    listener.hasHandler = keep;
    if (!keep) {
        Tcl_DeleteTimerHandler(listener.rest);
        listener.rest = nullptr;
    }
    applyInterest(listener);
}

bool isListener(Tcl_Channel channel) {
    return Tcl_GetChannelType(channel) == &kListenerType;
}

Listener *listenerOf(Tcl_Channel channel) {
    return isListener(channel) ? &stateOf(Tcl_GetChannelInstanceData(channel)) : nullptr;
}

bool ownsSocket(const Listener &listener, int fd) {
    for (const UniqueFd &socket : listener.sockets)
        if (socket.get() == fd)
            return true;
    return false;
}

std::vector<int> socketsOf(const Listener &listener) {
    std::vector<int> sockets;
    for (const UniqueFd &socket : listener.sockets)
        sockets.push_back(socket.get());
    return sockets;
}

size_t socketCount(const Listener &listener) {
    return listener.sockets.size();
}

std::optional<SocketFile> disownFile(Listener &listener) {
    std::optional<SocketFile> file = std::exchange(listener.file, std::nullopt);
    if (file && !file->isOurs())
        file.reset();
    return file;
}

void ownFile(Listener &listener, SocketFile file) {
    listener.file = std::move(file);
}

Result<Accepted> acceptFrom(Listener &listener) {
    if (listener.pending) {
        Accepted kept = std::move(*listener.pending);
        listener.pending.reset();
        return kept;
    }
    // Each socket goes first in turn, so that neither starves the other.
    const size_t count = listener.sockets.size();
    Result<Accepted> accepted = systemError("accept", EAGAIN);
    for (size_t i = 0; i < count; ++i) {
        listener.turn = (listener.turn + 1) % count;
        accepted = acceptFrom(listener.sockets[listener.turn].get());
        if (accepted || !isWouldBlock(accepted.error().code))
            break;
    }
    return accepted;
}

std::optional<HandOff::Stop> stopReason(int code, HandOff::Stop whenItWouldBlock) {
    if (isWouldBlock(code))
        return whenItWouldBlock;
    switch (code) {
    case EMFILE:
    case ENFILE:
        return HandOff::Stop::Descriptors;
    case ENOBUFS:
    case ENOMEM:
        return HandOff::Stop::Memory;
    case ETOOMANYREFS:
        return HandOff::Stop::InFlight;
    default:
        return std::nullopt;
    }
}

Result<const Accepted *> lookAt(Listener &listener) {
    if (!listener.pending) {
        Result<Accepted> accepted = acceptFrom(listener);
        if (!accepted)
            return accepted.error();
        listener.pending = std::move(accepted.value());
    }
    return static_cast<const Accepted *>(&*listener.pending);
}

Result<HandOff> handOffOne(Listener &listener, int queue, uint64_t id) {
    Result<const Accepted *> next = lookAt(listener);
    if (!next)
        return stopped(next.error(), HandOff::Stop::Empty);
    Status sent = enqueue(queue, next.value()->fd.get(), next.value()->peer, id);
    if (!sent)
        return stopped(sent.error(), HandOff::Stop::Full);
    listener.pending.reset();
    return HandOff{1, HandOff::Stop::Max};
}

Result<HandOff> handOff(Listener &listener, int queue, int max) {
    int count = 0;
    for (; count < max || listener.pending; ++count) {
        Result<HandOff> one = handOffOne(listener, queue, 0);
        if (!one)
            return one;
        if (one.value().stop != HandOff::Stop::Max)
            return HandOff{count, one.value().stop};
    }
    return HandOff{count, HandOff::Stop::Max};
}

} // namespace uds
