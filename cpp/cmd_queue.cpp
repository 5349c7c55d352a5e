// queue, handoff, take, depth: accepted connections on their way to workers.
#include "cmd_table.h"
#include "posix_queue.h"
#include "posix_socket.h"
#include "tcl_adopt.h"
#include "tcl_channel.h"
#include "tcl_interp.h"
#include "tcl_listener.h"

#include <sys/socket.h>

namespace uds {

namespace {

constexpr int kDefaultBatch = 64;

int queueCommand(const Call &call) {
    auto ends = openQueue(call.option(0, 0));
    if (!ends)
        return call.fail(ends.error());
    UniqueFd &sender = ends.value().first;
    UniqueFd &receiver = ends.value().second;
    const Result<int> type = socketType(sender.get());
    if (!type)
        return call.fail(type.error());
    Tcl_Obj *first = registerChannel(call.interp, openUnixChannel(std::move(sender), type.value()));
    Tcl_Obj *second =
        registerChannel(call.interp, openUnixChannel(std::move(receiver), type.value()));
    return call.answer(newList({first, second}));
}

int handoffCommand(const Call &call) {
    Listener *listener = findListener(call, 0, "hand off from");
    int fd = -1;
    if (!listener || getQueue(call, 1, fd) != TCL_OK)
        return TCL_ERROR;
    Result<HandOff> done = handOff(*listener, fd, call.option(0, kDefaultBatch));
    if (!done)
        return call.fail(systemError("couldn't hand off from \"" + text(call.arguments[0]) + "\"",
                                     done.error().code));
    if (answerStop(call, 2, done.value().stop) != TCL_OK)
        return TCL_ERROR;
    return call.answer(Tcl_NewIntObj(done.value().count));
}

int takeCommand(const Call &call) {
    int fd = -1;
    if (getQueue(call, 0, fd) != TCL_OK)
        return TCL_ERROR;
    Result<QueuedConnection> taken = dequeue(fd);
    if (!taken && isWouldBlock(taken.error().code))
        return TCL_OK;
    if (!taken)
        return failTake(call, 0, taken.error());
    if (!taken.value().fd) {
        const std::string name = text(call.arguments[0]);
        return call.fail(ownError("CLOSED", "couldn't take from \"" + name + "\"",
                                  "nobody can put connections into it any more", name));
    }
    return call.answer(
        connectionWords(call.interp, std::move(taken.value().fd), taken.value().peer));
}

int depthCommand(const Call &call) {
    int fd = -1;
    if (getQueue(call, 0, fd) != TCL_OK)
        return TCL_ERROR;
    Result<int> depth = queueDepth(fd);
    return depth ? call.answer(Tcl_NewIntObj(depth.value())) : call.fail(depth.error());
}

int trackCommand(const Call &call) {
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[0]);
    if (!channel)
        return TCL_ERROR;
    return call.answer(Tcl_NewIntObj(dataOf(call.interp).connections.track(channel)));
}

// Without a number: how many tracked channels are open.
int trackedCommand(const Call &call) {
    const ChannelTracking &connections = dataOf(call.interp).connections;
    int number = 0;
    if (call.arguments.empty())
        return call.answer(Tcl_NewIntObj(connections.countOpen()));
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &number) != TCL_OK)
        return TCL_ERROR;
    return call.answer(Tcl_NewBooleanObj(connections.isOpen(number)));
}

} // namespace

const char *stopName(HandOff::Stop stop) {
    switch (stop) {
    case HandOff::Stop::Max:
        return "max";
    case HandOff::Stop::Empty:
        return "empty";
    case HandOff::Stop::Full:
        return "full";
    case HandOff::Stop::Descriptors:
        return "descriptors";
    case HandOff::Stop::Memory:
        return "memory";
    case HandOff::Stop::InFlight:
        return "inflight";
    }
    return "";
}

int getQueue(const Call &call, size_t index, int &fd) {
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[index]);
    if (!channel)
        return TCL_ERROR;
    const UnixChannel *state = unixChannelOf(channel);
    const std::string name = text(call.arguments[index]);
    if (!state)
        return call.fail(ownError("NOTUNIX", "couldn't use \"" + name + "\" as a queue",
                                  "not a unix-domain socket of this package", name));
    fd = descriptorOf(*state);
    return TCL_OK;
}

Listener *findListener(const Call &call, size_t index, const char *verb) {
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[index]);
    Listener *listener = channel ? listenerOf(channel) : nullptr;
    const std::string name = text(call.arguments[index]);
    if (channel && !listener)
        call.fail(ownError("NOTLISTENER", std::string("couldn't ") + verb + " \"" + name + "\"",
                           "not a listener of this package", name));
    return listener;
}

int answerStop(const Call &call, size_t index, HandOff::Stop stop) {
    if (call.argument(index) &&
        !Tcl_ObjSetVar2(call.interp, call.argument(index), nullptr,
                        Tcl_NewStringObj(stopName(stop), -1), TCL_LEAVE_ERR_MSG))
        return TCL_ERROR;
    return TCL_OK;
}

int failTake(const Call &call, size_t index, const Error &error) {
    if (error.code == 0)
        return call.fail(error);
    return call.fail(
        systemError("couldn't take from \"" + text(call.arguments[index]) + "\"", error.code));
}

std::vector<Command> queueCommands() {
    const Option size = {"-size", Option::Kind::Number, "n", nullptr, 1, INT_MAX};
    const Option max = {"-max", Option::Kind::Number, "n", nullptr, 0, INT_MAX};
    // clang-format off
    return {
        {"unix_sockets::queue", {size, Option{}}, 0, 0, "", queueCommand},
        {"unix_sockets::handoff", {max, Option{}}, 2, 3, "listener queue ?reasonName?",
         handoffCommand},
        {"unix_sockets::take", {}, 1, 1, "queue", takeCommand},
        {"unix_sockets::depth", {}, 1, 1, "queue", depthCommand},
        {"unix_sockets::Track", {}, 1, 1, "channel", trackCommand},
        {"unix_sockets::Tracked", {}, 0, 1, "?number?", trackedCommand},
    };
    // clang-format on
}

} // namespace uds
