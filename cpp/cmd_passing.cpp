// sendfd, recvfd: open files and sockets in messages.
#include "cmd_table.h"
#include "posix_passing.h"
#include "posix_socket.h"
#include "tcl_adopt.h"
#include "tcl_channel.h"
#include "tcl_listener.h"

#include <array>
#include <cctype>
#include <utility>

namespace uds {

namespace {

// Linux takes so much as one piece, whole or not at all. Of more it may take a
// part, and the rest would make a non-blocking channel wait.
constexpr Tcl_Size kMaxData = 32768;

Error cannotSend(Tcl_Obj *handle, const char *kind, const char *reason) {
    const std::string name = text(handle);
    return ownError(kind, "couldn't send \"" + name + "\"", reason, name);
}

// The unix channel that carries the message.
Result<UnixChannel *> carrier(Tcl_Channel channel, Tcl_Obj *word, const char *verb) {
    UnixChannel *state = unixChannelOf(channel);
    if (state)
        return state;
    const std::string name = text(word);
    const std::string what = std::string("couldn't ") + verb + " \"" + name + "\"";
    if (isUnixChannel(channel) || Tcl_GetStackedChannel(Tcl_GetTopChannel(channel)))
        return ownError("STACKED", what, "a channel is stacked on it", name);
    return ownError("NOTUNIX", what, "not a unix-domain socket of this package", name);
}

Status flushAll(Tcl_Channel channel) {
    if (Tcl_OutputBuffered(channel) > 0 && Tcl_Flush(channel) != TCL_OK)
        return systemError("couldn't flush \"" + std::string(Tcl_GetChannelName(channel)) + "\"",
                           Tcl_GetErrno());
    return Nothing{};
}

// The one descriptor behind a channel.
Result<int> handleOf(Tcl_Channel channel, Tcl_Obj *name) {
    const std::optional<int> input = descriptorOf(channel, TCL_READABLE);
    const std::optional<int> output = descriptorOf(channel, TCL_WRITABLE);
    if (!input && !output)
        return cannotSend(name, "NODESCRIPTOR", "the channel has no descriptor");
    const Listener *listener = listenerOf(channel);
    if ((input && output && input != output) || (listener && socketCount(*listener) > 1))
        return cannotSend(name, "SEVERAL", "the channel has more than one descriptor");
    return input ? *input : *output;
}

// What is buffered here would not travel with the descriptor.
Result<int> channelToSend(Tcl_Channel channel, Tcl_Obj *name) {
    if (Tcl_GetStackedChannel(Tcl_GetTopChannel(channel)))
        return cannotSend(name, "STACKED", "a channel is stacked on it");
    if (Tcl_InputBuffered(channel) > 0)
        return cannotSend(name, "UNREAD", "it has unread input in its buffer");
    const UnixChannel *state = unixChannelOf(channel);
    if (state && holdsDescriptors(*state))
        return cannotSend(name, "UNREAD", "it has received descriptors that nobody took");
    if (state && isConnecting(*state))
        return cannotSend(name, "CONNECTING", "it is not connected yet");
    Status flushed = flushAll(channel);
    if (!flushed)
        return flushed.error();
    if (Tcl_OutputBuffered(channel) > 0)
        return cannotSend(name, "UNSENT", "it has unsent output in its buffer");
    return handleOf(channel, name);
}

Result<int> numberToSend(int fd, Tcl_Obj *name) {
    if (!isOpen(fd))
        return systemError("couldn't send \"" + text(name) + "\"", EBADF);
    return fd;
}

// Most handles are channels: no look for a number in what begins like a name.
bool isNumber(Tcl_Obj *handle, int &number) {
    const unsigned char first = static_cast<unsigned char>(Tcl_GetString(handle)[0]);
    return !std::isalpha(first) && Tcl_GetIntFromObj(nullptr, handle, &number) == TCL_OK;
}

struct Handles {
    std::vector<int> descriptors;
    std::vector<Tcl_Channel> channels;
};

Result<Handles> collectHandles(Tcl_Interp *interp, Tcl_Obj *const *words, Tcl_Size count) {
    Handles handles;
    handles.descriptors.reserve(static_cast<size_t>(count));
    handles.channels.reserve(static_cast<size_t>(count));
    for (Tcl_Size i = 0; i < count; ++i) {
        int number = -1;
        const bool numbered = isNumber(words[i], number);
        const Tcl_Channel channel =
            numbered ? nullptr : Tcl_GetChannel(interp, Tcl_GetString(words[i]), nullptr);
        if (!numbered && !channel)
            return cannotSend(words[i], "NOHANDLE", "no open channel or descriptor has this name");
        Result<int> fd =
            numbered ? numberToSend(number, words[i]) : channelToSend(channel, words[i]);
        if (!fd)
            return fd.error();
        handles.descriptors.push_back(fd.value());
        if (channel)
            handles.channels.push_back(channel);
    }
    return handles;
}

Status checkCount(Tcl_Size count) {
    if (count == 0)
        return ownError("NOHANDLE", "couldn't send descriptors", "the list of handles is empty",
                        "");
    if (count <= kMaxDescriptors)
        return Nothing{};
    const std::string limit = std::to_string(kMaxDescriptors);
    return ownError("TOOMANY", "couldn't send descriptors", "a message holds at most " + limit,
                    limit);
}

Error cannotSendOn(Tcl_Channel channel, int code) {
    return systemError("couldn't send on \"" + std::string(Tcl_GetChannelName(channel)) + "\"",
                       code);
}

// Goes after everything that was written to the channel before.
Status sendMessage(Tcl_Channel channel, const UnixChannel &state,
                   const std::vector<int> &descriptors, const void *data, Tcl_Size size) {
    Status flushed = flushAll(channel);
    if (!flushed)
        return flushed;
    if (isConnecting(state) || Tcl_OutputBuffered(channel) > 0)
        return cannotSendOn(channel, EAGAIN);
    Status sent = sendDescriptors(descriptorOf(state), descriptors, data, static_cast<size_t>(size),
                                  isNonBlocking(state));
    if (!sent)
        return cannotSendOn(channel, sent.error().code);
    return sent;
}

Status sendHandles(const Call &call, Tcl_Channel channel, Tcl_Obj *const *words, Tcl_Size count,
                   const void *data, Tcl_Size size) {
    Result<UnixChannel *> state = carrier(channel, call.arguments[0], "send on");
    if (!state)
        return state.error();
    Status counted = checkCount(count);
    if (!counted)
        return counted;
    if (size < 1 || size > kMaxData)
        return ownError("DATA", "couldn't send descriptors",
                        "the data must be 1 to " + std::to_string(kMaxData) + " bytes",
                        std::to_string(size));
    Result<Handles> handles = collectHandles(call.interp, words, count);
    if (!handles)
        return handles.error();
    Status sent = sendMessage(channel, *state.value(), handles.value().descriptors, data, size);
    if (!sent)
        return sent;
    // The receiver's copy has to survive when ours is closed.
    for (Tcl_Channel each : handles.value().channels)
        detachOnClose(each);
    return Nothing{};
}

int sendfdCommand(const Call &call) {
    Tcl_Size count = 0;
    Tcl_Obj **words = nullptr;
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[0]);
    if (!channel ||
        Tcl_ListObjGetElements(call.interp, call.arguments[1], &count, &words) != TCL_OK)
        return TCL_ERROR;
    Tcl_Size size = 1;
    const unsigned char *data = reinterpret_cast<const unsigned char *>("");
    if (call.argument(2))
        data = bytesOf(call.interp, call.argument(2), size);
    if (!data)
        return TCL_ERROR;
    Status sent = sendHandles(call, channel, words, count, data, size);
    return sent ? TCL_OK : call.fail(sent.error());
}

// ---- recvfd ----------------------------------------------------------------

enum ReceiveOption { kRaw, kMax };

// Bytes in Tcl's buffer came before what the socket would give now.
Status checkReadable(Tcl_Channel channel, const UnixChannel &state) {
    if (holdsDescriptors(state) || Tcl_InputBuffered(channel) == 0)
        return Nothing{};
    const std::string name = Tcl_GetChannelName(channel);
    return ownError("UNREAD", "couldn't receive on \"" + name + "\"",
                    "it has unread input in its buffer", name);
}

Tcl_Obj *rawNumbers(std::vector<UniqueFd> descriptors) {
    std::array<Tcl_Obj *, kMaxDescriptors> numbers;
    size_t count = 0;
    for (UniqueFd &fd : descriptors) // the script owns them from here
        numbers[count++] = Tcl_NewIntObj(fd.release());
    return Tcl_NewListObj(static_cast<Tcl_Size>(count), numbers.data());
}

// All or nothing: after an error every descriptor is closed.
Result<Tcl_Obj *> channelNames(Tcl_Interp *interp, std::vector<UniqueFd> descriptors) {
    std::vector<Tcl_Channel> channels;
    channels.reserve(descriptors.size());
    for (UniqueFd &fd : descriptors) {
        Result<Tcl_Channel> channel = adopt(interp, fd);
        if (!channel) {
            for (Tcl_Channel made : channels)
                Tcl_UnregisterChannel(interp, made);
            return channel.error();
        }
        channels.push_back(channel.value());
    }
    std::array<Tcl_Obj *, kMaxDescriptors> names;
    size_t count = 0;
    for (Tcl_Channel channel : channels)
        names[count++] = Tcl_NewStringObj(Tcl_GetChannelName(channel), -1);
    return Tcl_NewListObj(static_cast<Tcl_Size>(count), names.data());
}

int answerMessage(const Call &call, ReceiveRequest request) {
    if (call.argument(1)) {
        Tcl_Obj *data = Tcl_NewByteArrayObj(request.data, static_cast<Tcl_Size>(request.size));
        // On failure the descriptors are closed with the request.
        if (!Tcl_ObjSetVar2(call.interp, call.argument(1), nullptr, data, TCL_LEAVE_ERR_MSG))
            return TCL_ERROR;
    }
    if (call.has(kRaw))
        return call.answer(rawNumbers(std::move(request.descriptors)));
    Result<Tcl_Obj *> names = channelNames(call.interp, std::move(request.descriptors));
    return names ? call.answer(names.value()) : call.fail(names.error());
}

int recvfdCommand(const Call &call) {
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[0]);
    if (!channel)
        return TCL_ERROR;
    Result<UnixChannel *> state = carrier(channel, call.arguments[0], "receive on");
    if (!state)
        return call.fail(state.error());
    Status readable = checkReadable(channel, *state.value());
    if (!readable)
        return call.fail(readable.error());
    ReceiveRequest request;
    request.maxDescriptors = call.option(kMax, kMaxDescriptors);
    // The kernel drops what it cannot install: make sure of room first. Only
    // who says how many come can be sure of room for all.
    if (!holdsDescriptors(*state.value()) &&
        !canOpen(call.option(kMax, 1), descriptorOf(*state.value())))
        return call.fail(systemError("couldn't receive on \"" + text(call.arguments[0]) + "\""));
    receive(channel, *state.value(), request);
    if (request.error)
        return call.fail(*request.error);
    return answerMessage(call, std::move(request));
}

} // namespace

std::vector<Command> passingCommands() {
    const Option raw = {"-raw", Option::Kind::Flag, nullptr, nullptr, 0, 0};
    const Option max = {"-max", Option::Kind::Number, "n", nullptr, 1, kMaxDescriptors};
    return {
        {"unix_sockets::sendfd", {}, 2, 3, "channel handles ?data?", sendfdCommand},
        {"unix_sockets::recvfd", {raw, max, Option{}}, 1, 2, "channel ?dataName?", recvfdCommand},
    };
}

} // namespace uds
