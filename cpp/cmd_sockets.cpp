// listen, connect, pair, listener, accept, adopt.
#include "cmd_table.h"
#include "posix_socket.h"
#include "posix_socket_file.h"
#include "tcl_adopt.h"
#include "tcl_channel.h"
#include "tcl_listener.h"

#include <sys/socket.h>
#include <unistd.h>

namespace uds {

namespace {

constexpr int kDefaultBacklog = 1024;
constexpr int kMaxBacklog = 65535;

const char *const kReplaceNames[] = {"any", "socket", "stale", "never", nullptr};
const char *const kTypeNames[] = {"stream", "seqpacket", nullptr};

// Their order is that of the declarations at the end of this file.
enum ListenOption { kBacklog, kPermissions, kReplace, kReusePort };

UnixListenOptions unixOptions(const Call &call) {
    UnixListenOptions options;
    options.backlog = call.option(kBacklog, kDefaultBacklog);
    options.permissions = call.option(kPermissions, -1);
    options.replace = static_cast<Replace>(call.option(kReplace, 0));
    return options;
}

Result<Tcl_Channel> openUnixListener(const Address &address, const UnixListenOptions &options) {
    Result<UnixListener> opened = listenUnix(address, options);
    if (!opened)
        return opened.error();
    std::vector<UniqueFd> sockets;
    sockets.push_back(std::move(opened.value().fd));
    return openListener(std::move(sockets), std::move(opened.value().file));
}

int listenCommand(const Call &call) {
    Tcl_Size length = 0;
    if (Tcl_ListObjLength(call.interp, call.arguments[1], &length) != TCL_OK)
        return TCL_ERROR;
    if (length == 0)
        return call.fail(
            ownError("HANDLER", "bad accept handler \"\"", "must be a command prefix", ""));
    Result<Address> address = unixAddress(toSystem(call.arguments[0]));
    if (!address)
        return call.fail(address.error());
    Result<Tcl_Channel> channel = openUnixListener(address.value(), unixOptions(call));
    if (!channel)
        return call.fail(channel.error());
    Tcl_Obj *name = registerChannel(call.interp, channel.value());
    setHandler(*listenerOf(channel.value()), text(call.arguments[1]));
    return call.answer(name);
}

enum ConnectOption { kAsync, kTimeout };

Result<Tcl_Channel> connectTo(const Address &server, bool async, int timeoutMs) {
    Result<UniqueFd> opened = openSocket(AF_UNIX, SOCK_STREAM);
    if (!opened)
        return opened.error();
    UniqueFd fd = std::move(opened.value());
    const Deadline deadline = deadlineIn(timeoutMs);
    Status connected = async ? tryConnect(fd.get(), server) : connectBy(fd.get(), server, deadline);
    if (connected)
        return openUnixChannel(std::move(fd), SOCK_STREAM);
    if (async && isWouldBlock(connected.error().code))
        return openConnectingChannel(std::move(fd), server, deadline);
    return connected.error();
}

int connectCommand(const Call &call) {
    Result<Address> server = unixAddress(toSystem(call.arguments[0]));
    if (!server)
        return call.fail(server.error());
    Result<Tcl_Channel> channel =
        connectTo(server.value(), call.has(kAsync), call.option(kTimeout, -1));
    if (!channel)
        return call.fail(channel.error());
    return call.answer(registerChannel(call.interp, channel.value()));
}

int pairCommand(const Call &call) {
    const int type = call.option(0, 0) == 0 ? SOCK_STREAM : SOCK_SEQPACKET;
    auto ends = openPair(type);
    if (!ends)
        return call.fail(ends.error());
    Tcl_Obj *first =
        registerChannel(call.interp, openUnixChannel(std::move(ends.value().first), type));
    Tcl_Obj *second =
        registerChannel(call.interp, openUnixChannel(std::move(ends.value().second), type));
    return call.answer(newList({first, second}));
}

// Options that mean nothing for this kind of endpoint are refused, not ignored.
int refuseOption(const Call &call, const char *name, const char *kind) {
    return call.fail(ownError(
        "OPTION", std::string("bad option \"") + name + "\"",
        "is not for " + std::string(kind) + " endpoint \"" + text(call.arguments[0]) + "\"", name));
}

Result<Tcl_Channel> listenOnUnix(const Call &call, const Endpoint &endpoint) {
    return openUnixListener(endpoint.addresses[0], unixOptions(call));
}

Result<Tcl_Channel> listenOnInet(const Call &call, const Endpoint &endpoint) {
    auto sockets = listenInet(endpoint.addresses, call.option(kBacklog, kDefaultBacklog),
                              call.option(kReusePort, 0) != 0);
    if (!sockets)
        return sockets.error();
    return openListener(std::move(sockets.value()), std::nullopt);
}

// A second owner would close the number a second time, when it may be
// somebody else's.
bool channelOwns(Tcl_Interp *interp, int fd) {
    bool owned = false;
    forEachChannel(interp, [&](Tcl_Interp *, Tcl_Channel channel) {
        const Listener *listener = listenerOf(channel);
        owned = owned || (listener && ownsSocket(*listener, fd));
        for (int direction : {TCL_READABLE, TCL_WRITABLE})
            owned = owned || descriptorOf(channel, direction) == fd;
    });
    return owned;
}

Result<Tcl_Channel> listenOnInherited(const Call &call, const Endpoint &endpoint) {
    if (!isOpen(endpoint.fd))
        return systemError("fcntl", EBADF);
    const Result<bool> listening = isListening(endpoint.fd);
    if (!listening)
        return listening.error();
    if (!listening.value())
        return systemError("listen", EINVAL);
    // inetd gives the socket as standard input, of which Tcl makes a channel.
    if (endpoint.fd > STDERR_FILENO && channelOwns(call.interp, endpoint.fd))
        return ownError("INUSE", "couldn't listen on \"" + text(call.arguments[0]) + "\"",
                        "a channel owns this descriptor", std::to_string(endpoint.fd));
    if (call.has(kBacklog) && ::listen(endpoint.fd, call.option(kBacklog, 0)) < 0)
        return systemError("listen");
    Status status = setNonBlocking(endpoint.fd, true);
    if (status)
        status = setCloseOnExec(endpoint.fd);
    if (!status)
        return status.error();
    std::vector<UniqueFd> sockets;
    sockets.emplace_back(endpoint.fd);
    return openListener(std::move(sockets), std::nullopt);
}

int listenerCommand(const Call &call) {
    Result<Endpoint> endpoint = parseEndpoint(toSystem(call.arguments[0]));
    if (!endpoint)
        return call.fail(endpoint.error());
    const Endpoint &where = endpoint.value();
    const bool isUnix = where.kind == Endpoint::Kind::Unix;
    const char *kind = isUnix ? "unix" : where.kind == Endpoint::Kind::Inet ? "TCP" : "inherited";
    if (call.has(kPermissions) && !isUnix)
        return refuseOption(call, "-permissions", kind);
    if (call.has(kReplace) && !isUnix)
        return refuseOption(call, "-replace", kind);
    if (call.has(kReusePort) && where.kind != Endpoint::Kind::Inet)
        return refuseOption(call, "-reuseport", kind);
    Result<Tcl_Channel> channel = isUnix ? listenOnUnix(call, where)
                                  : where.kind == Endpoint::Kind::Inet
                                      ? listenOnInet(call, where)
                                      : listenOnInherited(call, where);
    if (!channel && channel.error().code != 0)
        return call.fail(systemError("couldn't listen on \"" + text(call.arguments[0]) + "\"",
                                     channel.error().code));
    if (!channel)
        return call.fail(channel.error());
    return call.answer(registerChannel(call.interp, channel.value()));
}

int acceptCommand(const Call &call) {
    Listener *listener = findListener(call, 0, "accept on");
    if (!listener)
        return TCL_ERROR;
    const std::string name = text(call.arguments[0]);
    Result<Accepted> accepted = acceptFrom(*listener);
    if (!accepted && isWouldBlock(accepted.error().code))
        return TCL_OK;
    if (!accepted)
        return call.fail(systemError("couldn't accept on \"" + name + "\"", accepted.error().code));
    return call.answer(
        connectionWords(call.interp, std::move(accepted.value().fd), accepted.value().peer));
}

Result<Tcl_Channel> adoptNumber(const Call &call, int fd) {
    const std::string number = std::to_string(fd);
    if (channelOwns(call.interp, fd))
        return ownError("INUSE", "couldn't adopt \"" + number + "\"",
                        "a channel owns this descriptor", number);
    if (Status set = setCloseOnExec(fd); !set)
        return systemError("couldn't adopt \"" + number + "\"", set.error().code);
    UniqueFd owned(fd);
    Result<Tcl_Channel> channel = adopt(call.interp, owned);
    static_cast<void>(owned.release()); // after an error still the caller's
    return channel;
}

int adoptCommand(const Call &call) {
    int fd = -1;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &fd) != TCL_OK)
        return TCL_ERROR;
    Result<Tcl_Channel> channel = adoptNumber(call, fd);
    if (!channel)
        return call.fail(channel.error());
    return call.answer(Tcl_NewStringObj(Tcl_GetChannelName(channel.value()), -1));
}

const Option kBacklogOption = {"-backlog", Option::Kind::Number, "n", nullptr, 0, kMaxBacklog};
const Option kPermissionsOption = {"-permissions", Option::Kind::Mode, "mode", nullptr, 0, 0};
const Option kReplaceOption = {"-replace", Option::Kind::Choice, nullptr, kReplaceNames, 0, 0};
const Option kReusePortOption = {"-reuseport", Option::Kind::Boolean, "bool", nullptr, 0, 0};
const Option kAsyncOption = {"-async", Option::Kind::Flag, nullptr, nullptr, 0, 0};
const Option kTimeoutOption = {"-timeout", Option::Kind::Number, "ms", nullptr, 0, INT_MAX};
const Option kTypeOption = {"-type", Option::Kind::Choice, nullptr, kTypeNames, 0, 0};
const Option kEnd = {};

} // namespace

std::vector<Command> socketCommands() {
    // clang-format off
    return {
        {"unix_sockets::listen", {kBacklogOption, kPermissionsOption, kReplaceOption, kEnd}, 2, 2,
         "path accept_handler", listenCommand},
        {"unix_sockets::connect", {kAsyncOption, kTimeoutOption, kEnd}, 1, 1, "path",
         connectCommand},
        {"unix_sockets::pair", {kTypeOption, kEnd}, 0, 0, "", pairCommand},
        {"unix_sockets::listener",
         {kBacklogOption, kPermissionsOption, kReplaceOption, kReusePortOption, kEnd}, 1, 1,
         "endpoint", listenerCommand},
        {"unix_sockets::accept", {}, 1, 1, "listener", acceptCommand},
        {"unix_sockets::adopt", {}, 1, 1, "fd", adoptCommand},
    };
    // clang-format on
}

} // namespace uds
