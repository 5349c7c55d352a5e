// ReadProxy, OnClose, LimitSilence, SilentMs, Hangup: what a worker asks of a
// connection; all of it private.
#include "cmd_table.h"
#include "posix_connection.h"
#include "posix_proxy.h"
#include "posix_silence.h"
#include "posix_socket.h"
#include "tcl_adopt.h"
#include "tcl_channel.h"
#include "tcl_interp.h"

#include <sys/socket.h>

#include <memory>

namespace uds {

namespace {

Error serverError(const char *kind, const std::string &what, const char *reason,
                  const std::string &channel) {
    Error error = ownError(kind, what + " \"" + channel + "\"", reason, channel);
    error.domain = "SOCKETSERVER";
    return error;
}

// An error of the system about the channel that the first argument names.
int failSystem(const Call &call, const char *what, const Error &error) {
    return call.fail(
        systemError(std::string(what) + " \"" + text(call.arguments[0]) + "\"", error.code));
}

// The descriptor of the channel that the first argument names.
int getDescriptor(const Call &call, const char *what, Tcl_Channel &channel, int &fd) {
    channel = findChannel(call.interp, call.arguments[0]);
    if (!channel)
        return TCL_ERROR;
    const std::optional<int> found = descriptorOf(channel, TCL_READABLE);
    if (!found)
        return call.fail(serverError("NODESCRIPTOR", what, "the channel has no descriptor",
                                     text(call.arguments[0])));
    fd = *found;
    return TCL_OK;
}

// ---- the PROXY protocol --------------------------------------------------------

const char kCannotReadHeader[] = "couldn't read a header from";

// Only what the system still holds can be looked at and left there.
Status checkUntouched(Tcl_Channel channel, int fd, const std::string &name) {
    if (Tcl_GetStackedChannel(Tcl_GetTopChannel(channel)))
        return serverError("STACKED", kCannotReadHeader, "a channel is stacked on it", name);
    if (Tcl_InputBuffered(channel) > 0)
        return serverError("UNREAD", kCannotReadHeader, "it has unread input in its buffer", name);
    const Result<int> type = socketType(fd);
    if (!type)
        return systemError(std::string(kCannotReadHeader) + " \"" + name + "\"", type.error().code);
    if (type.value() != SOCK_STREAM)
        return serverError("NOTSTREAM", kCannotReadHeader, "it is not a stream socket", name);
    return Nothing{};
}

Tcl_Obj *headerWords(const ProxyHeader &header) {
    switch (header.kind) {
    case ProxyHeader::Kind::More:
        return newList({newString("more")});
    case ProxyHeader::Kind::None:
        return newList({newString("none")});
    case ProxyHeader::Kind::Bad:
        return newList({newString("bad"), newString(header.reason)});
    case ProxyHeader::Kind::Whole:
        break;
    }
    if (header.source.family() == AF_UNSPEC)
        return newList({newString("header")});
    return newList({newString("header"), newString(header.source.host()),
                    Tcl_NewIntObj(header.source.port())});
}

// Nullopt when nothing came and nothing will. Of what waits to be read only a
// whole header is taken.
Result<std::optional<ProxyHeader>> takeHeader(int fd) {
    char bytes[kMaxProxyHeader];
    Result<Peeked> peeked = peekBytes(fd, bytes, sizeof bytes);
    if (!peeked && isWouldBlock(peeked.error().code))
        return std::optional(ProxyHeader());
    if (!peeked)
        return peeked.error();
    const auto [size, ended] = peeked.value();
    if (size == 0)
        return std::optional<ProxyHeader>();
    const ProxyHeader header = parseProxyHeader(bytes, size, ended);
    for (size_t done = 0; header.kind == ProxyHeader::Kind::Whole && done < header.length;) {
        Result<size_t> taken = receiveBytes(fd, bytes, header.length - done, true);
        if (!taken)
            return taken.error();
        if (taken.value() == 0)
            break;
        done += taken.value();
    }
    return std::optional(header);
}

// The answer is {more}, {none}, {bad REASON}, {eof}, {header ADDRESS PORT}, or
// {header} when it tells no address.
int readProxyCommand(const Call &call) {
    Tcl_Channel channel = nullptr;
    int fd = -1;
    if (getDescriptor(call, kCannotReadHeader, channel, fd) != TCL_OK)
        return TCL_ERROR;
    const std::string name = text(call.arguments[0]);
    if (Status status = checkUntouched(channel, fd, name); !status)
        return call.fail(status.error());
    Result<std::optional<ProxyHeader>> header = takeHeader(fd);
    if (!header)
        return call.fail(
            systemError(std::string(kCannotReadHeader) + " \"" + name + "\"", header.error().code));
    return call.answer(header.value() ? headerWords(*header.value()) : newList({newString("eof")}));
}

// ---- closing ---------------------------------------------------------------------

// A string, not an object: the channel may move to another thread.
struct ClosingCall {
    Tcl_Interp *interp;
    std::string command;
};

// Nobody is told if the interpreter is of another thread or gone.
void onClosing(void *data) {
    const std::unique_ptr<ClosingCall> call(static_cast<ClosingCall *>(data));
    for (const InterpData *each : interpsOfThread()) {
        if (each->interp != call->interp)
            continue;
        Tcl_InterpState saved = Tcl_SaveInterpState(call->interp, TCL_OK);
        callBack(call->interp, ObjRef(newString(call->command)), {});
        Tcl_RestoreInterpState(call->interp, saved);
        return;
    }
}

// Calls the command prefix while the channel is being closed.
int onCloseCommand(const Call &call) {
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[0]);
    if (!channel)
        return TCL_ERROR;
    auto closing = std::make_unique<ClosingCall>(ClosingCall{call.interp, text(call.arguments[1])});
    Tcl_CreateCloseHandler(channel, onClosing, closing.release()); // freed by onClosing
    return TCL_OK;
}

// ---- silence ---------------------------------------------------------------------

// A connection that is silent for so long ends, also for who blocks in reading it.
// That of a unix channel ends only so; the time when nobody reads does not count.
int limitSilenceCommand(const Call &call) {
    const char what[] = "couldn't limit the silence of";
    Tcl_Channel channel = nullptr;
    int fd = -1;
    int ms = 0;
    if (getDescriptor(call, what, channel, fd) != TCL_OK ||
        Tcl_GetIntFromObj(call.interp, call.arguments[1], &ms) != TCL_OK)
        return TCL_ERROR;
    if (ms < 0)
        return call.fail(serverError("VALUE", "bad limit", "must be milliseconds, 0 or more",
                                     text(call.arguments[1])));
    if (UnixChannel *ours = unixChannelBelow(channel)) {
        limitSilence(*ours, ms);
        return TCL_OK;
    }
    Status limited = limitSilence(fd, ms);
    return limited ? TCL_OK : failSystem(call, what, limited.error());
}

// -1 where it is not known.
int silentMsCommand(const Call &call) {
    Tcl_Channel channel = nullptr;
    int fd = -1;
    if (getDescriptor(call, "couldn't ask", channel, fd) != TCL_OK)
        return TCL_ERROR;
    const UnixChannel *ours = unixChannelBelow(channel);
    return call.answer(Tcl_NewIntObj(ours ? silentMs(*ours) : silentMs(fd).value_or(-1)));
}

// Ends the connection for all who hold it; the channel stays open.
int hangupCommand(const Call &call) {
    const char what[] = "couldn't hang up";
    Tcl_Channel channel = nullptr;
    int fd = -1;
    if (getDescriptor(call, what, channel, fd) != TCL_OK)
        return TCL_ERROR;
    Status ended = shutDown(fd, SHUT_RDWR);
    return ended ? TCL_OK : failSystem(call, what, ended.error());
}

} // namespace

std::vector<Command> connectionCommands() {
    return {
        {"socketserver::LimitSilence", {}, 2, 2, "channel ms", limitSilenceCommand},
        {"socketserver::SilentMs", {}, 1, 1, "channel", silentMsCommand},
        {"socketserver::Hangup", {}, 1, 1, "channel", hangupCommand},
        {"socketserver::ReadProxy", {}, 1, 1, "channel", readProxyCommand},
        {"socketserver::OnClose", {}, 2, 2, "channel cmd", onCloseCommand},
    };
}

} // namespace uds
