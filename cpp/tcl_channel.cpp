#include "tcl_channel.h"

#include "posix_socket.h"
#include "tcl_names.h"
#include "tcl_notifier.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace uds {

namespace {

// One call moves what a reader and a writer would else need 30 of Tcl's 4 KiB for. Less
// than malloc maps for itself. Memory that is not written to costs nothing.
constexpr int kStreamBuffer = 120 * 1024;
// The longest record, and the data of a message that recvfd takes.
constexpr int kRecordBuffer = 64 * 1024;
constexpr size_t kMappedBlock = size_t{512} * 1024;

constexpr int kFirstRetryMs = 1;
constexpr int kLastRetryMs = 50;

// A connection whose server had no place in its backlog yet.
struct Connecting {
    Address server;
    Deadline deadline;
    int retryMs = kFirstRetryMs;
    Tcl_TimerToken timer = nullptr;
};

// The descriptors of one message that an ordinary read brought, or why there
// are none.
struct Passed {
    std::vector<UniqueFd> descriptors;
    std::optional<Error> error;
};

} // namespace

class UnixChannel {
public:
    UniqueFd fd;
    int type = SOCK_STREAM;
    Tcl_Channel channel = nullptr;
    bool nonBlocking = false;
    bool closing = false; // the whole channel, not one half
    int interest = 0;     // TCL_READABLE, ... that Tcl waits for

    std::optional<Connecting> connecting;
    int connectError = 0;

    bool passDescriptors = false;
    std::deque<Passed> passed;
    ReceiveRequest *request = nullptr; // set while recvfd reads

    int silenceMs = 0; // the limit; 0: none
    std::chrono::steady_clock::time_point lastMoved = std::chrono::steady_clock::now();
};

namespace {

UnixChannel &stateOf(void *instance) {
    return *static_cast<UnixChannel *>(instance);
}

// ---- waiting -------------------------------------------------------------

void onReady(void *instance, int mask) {
    Tcl_NotifyChannel(stateOf(instance).channel, mask);
}

void applyInterest(UnixChannel &state) {
    if (state.interest != 0 && !state.connecting)
        watchFile(state.fd.get(), state.interest, onReady, &state);
    else
        forgetFile(state.fd.get());
}

// ---- connecting ----------------------------------------------------------

void onRetry(void *instance);

void stopTimer(Connecting &connecting) {
    Tcl_DeleteTimerHandler(connecting.timer);
    connecting.timer = nullptr;
}

void startTimer(UnixChannel &state) {
    Connecting &connecting = *state.connecting;
    const int left = remainingMs(connecting.deadline);
    const int delay = left < 0 ? connecting.retryMs : std::min(connecting.retryMs, left);
    connecting.retryMs = std::min(connecting.retryMs * 2, kLastRetryMs);
    connecting.timer = Tcl_CreateTimerHandler(delay, onRetry, &state);
}

void finishConnecting(UnixChannel &state, int code) {
    stopTimer(*state.connecting);
    state.connecting.reset();
    state.connectError = code;
    // An unconnected socket shows as writable and hung up, so that whoever
    // waits is told of a failure as well.
    applyInterest(state);
}

void onRetry(void *instance) {
    UnixChannel &state = stateOf(instance);
    state.connecting->timer = nullptr;
    Status connected = tryConnect(state.fd.get(), state.connecting->server);
    if (connected)
        finishConnecting(state, 0);
    else if (!isWouldBlock(connected.error().code))
        finishConnecting(state, connected.error().code);
    else if (expired(state.connecting->deadline))
        finishConnecting(state, ETIMEDOUT);
    else
        startTimer(state);
}

// 0 when the channel may be used, else the errno for the caller.
int ensureConnected(UnixChannel &state) {
    if (state.connecting && state.nonBlocking)
        return EAGAIN;
    if (state.connecting) {
        Status connected =
            connectBy(state.fd.get(), state.connecting->server, state.connecting->deadline);
        finishConnecting(state, connected ? 0 : connected.error().code);
    }
    return state.connectError;
}

// ---- reading and writing -------------------------------------------------

int answer(const Result<size_t> &moved, int *errorCode) {
    if (moved)
        return static_cast<int>(moved.value());
    *errorCode = moved.error().code;
    return -1;
}

// As Tcl's own sockets do: a peer that closed with our bytes unread is gone,
// which a reader sees as the end.
Result<size_t> endAfterReset(Result<size_t> received) {
    if (!received && received.error().code == ECONNRESET)
        return size_t{0};
    return received;
}

Error tooMany(int maxDescriptors, size_t received) {
    // All that were asked for came, so it was not for lack of room here.
    if (received >= static_cast<size_t>(maxDescriptors))
        return ownError("TRUNCATED", "couldn't receive descriptors",
                        "message holds more than " + std::to_string(maxDescriptors) +
                            "; all of them were closed",
                        std::to_string(maxDescriptors));
    return ownError("TRUNCATED", "couldn't receive descriptors",
                    "too many open files in this process; all of them were closed", "EMFILE");
}

Result<size_t> receiveKeeping(UnixChannel &state, char *buffer, size_t size, bool nonBlocking) {
    Result<Message> message =
        receiveMessage(state.fd.get(), buffer, size, kMaxDescriptors, nonBlocking);
    if (!message)
        return message.error();
    std::vector<UniqueFd> &descriptors = message.value().descriptors;
    if (message.value().descriptorsLost)
        state.passed.push_back({{}, tooMany(kMaxDescriptors, descriptors.size())});
    else if (!descriptors.empty())
        state.passed.push_back({std::move(descriptors), std::nullopt});
    return message.value().size;
}

// Serves recvfd; the byte that Tcl asked for only carries the outcome.
Result<size_t> receiveRequested(const UnixChannel &state, char *byte, bool nonBlocking) {
    // Kept, and never cleared: this much memory for each message would cost more than it.
    thread_local std::unique_ptr<unsigned char[]> data(new unsigned char[kRecordBuffer]);
    ReceiveRequest &request = *state.request;
    Result<Message> message = receiveMessage(state.fd.get(), data.get(), kRecordBuffer,
                                             request.maxDescriptors, nonBlocking);
    if (!message)
        return message.error();
    request.data = data.get();
    request.size = message.value().size;
    *byte = 0;
    if (message.value().descriptorsLost) {
        request.error = tooMany(request.maxDescriptors, message.value().descriptors.size());
        return size_t{1};
    }
    request.descriptors = std::move(message.value().descriptors);
    return std::min<size_t>(message.value().size, 1);
}

// Another process that shares the socket may be faster after each wait.
template <class Move> Result<size_t> moveInTime(const UnixChannel &state, short events, Move move) {
    for (;;) {
        const bool silent = !waitFor(state.fd.get(), events, state.silenceMs);
        if (silent)
            if (Status ended = shutDown(state.fd.get(), SHUT_RDWR); !ended)
                return ended.error();
        if (silent && events == POLLOUT)
            return systemError("send", ETIMEDOUT);
        Result<size_t> moved = move(true);
        if (moved || !isWouldBlock(moved.error().code))
            return moved;
    }
}

// `move` is told whether it must not wait.
template <class Move> Result<size_t> moveBytes(UnixChannel &state, short events, Move move) {
    const bool limited = state.silenceMs > 0 && !state.nonBlocking;
    Result<size_t> moved = limited ? moveInTime(state, events, move) : move(state.nonBlocking);
    if (moved && moved.value() > 0)
        state.lastMoved = std::chrono::steady_clock::now();
    return moved;
}

int inputProc(void *instance, char *buffer, int size, int *errorCode) {
    UnixChannel &state = stateOf(instance);
    *errorCode = ensureConnected(state);
    if (*errorCode != 0)
        return -1;
    const size_t room = static_cast<size_t>(size);
    const auto receive = [&](bool nonBlocking) {
        if (state.request)
            return receiveRequested(state, buffer, nonBlocking);
        if (state.passDescriptors)
            return receiveKeeping(state, buffer, room, nonBlocking);
        // What recvmsg tells more is for records.
        return state.type == SOCK_STREAM ? receiveStream(state.fd.get(), buffer, room, nonBlocking)
                                         : receiveBytes(state.fd.get(), buffer, room, nonBlocking);
    };
    return answer(endAfterReset(moveBytes(state, POLLIN, receive)), errorCode);
}

int outputProc(void *instance, const char *bytes, int size, int *errorCode) {
    UnixChannel &state = stateOf(instance);
    *errorCode = ensureConnected(state);
    if (*errorCode != 0)
        return -1;
    const auto send = [&](bool nonBlocking) {
        return sendBytes(state.fd.get(), bytes, static_cast<size_t>(size), nonBlocking);
    };
    return answer(moveBytes(state, POLLOUT, send), errorCode);
}

// ---- options -------------------------------------------------------------

int badValue(Tcl_Interp *interp, const char *name, int code) {
    return interp ? fail(interp, systemError(std::string("couldn't get ") + name, code))
                  : TCL_ERROR;
}

std::string peerCredentialsText(const Credentials &peer) {
    return "pid " + std::to_string(peer.pid) + " uid " + std::to_string(peer.uid) + " gid " +
           std::to_string(peer.gid);
}

int getConnecting(UnixChannel &state, Tcl_Interp *, Tcl_DString *value) {
    Tcl_DStringAppend(value, state.connecting ? "1" : "0", 1);
    return TCL_OK;
}

int getError(UnixChannel &state, Tcl_Interp *, Tcl_DString *value) {
    const int code = state.connectError != 0 ? state.connectError : pendingError(state.fd.get());
    if (code != 0)
        Tcl_DStringAppend(value, Tcl_ErrnoMsg(code), -1);
    return TCL_OK;
}

int getPassFds(UnixChannel &state, Tcl_Interp *, Tcl_DString *value) {
    Tcl_DStringAppend(value, state.passDescriptors ? "1" : "0", 1);
    return TCL_OK;
}

int getPeerCred(UnixChannel &state, Tcl_Interp *interp, Tcl_DString *value) {
    Result<Credentials> peer = peerCredentials(state.fd.get());
    if (!peer)
        return badValue(interp, "-peercred", peer.error().code);
    const std::string text = peerCredentialsText(peer.value());
    Tcl_DStringAppend(value, text.c_str(), -1);
    return TCL_OK;
}

int getAddress(const char *name, const Result<Address> &address, Tcl_Interp *interp,
               Tcl_DString *value) {
    if (!address)
        return badValue(interp, name, address.error().code);
    const ObjRef host(fromSystem(address.value().host()));
    Tcl_DStringAppend(value, Tcl_GetString(host.get()), -1);
    return TCL_OK;
}

int getPeerName(UnixChannel &state, Tcl_Interp *interp, Tcl_DString *value) {
    return getAddress("-peername", peerAddress(state.fd.get()), interp, value);
}

int getSockName(UnixChannel &state, Tcl_Interp *interp, Tcl_DString *value) {
    return getAddress("-sockname", localAddress(state.fd.get()), interp, value);
}

int getType(UnixChannel &state, Tcl_Interp *, Tcl_DString *value) {
    Tcl_DStringAppend(value, state.type == SOCK_SEQPACKET ? "seqpacket" : "stream", -1);
    return TCL_OK;
}

struct ReadableOption {
    const char *name;
    int (*get)(UnixChannel &, Tcl_Interp *, Tcl_DString *);
    bool listed; // shown when all options are asked for
};

// -error is left out of the list because reading it clears it.
const ReadableOption kOptions[] = {
    {"-connecting", getConnecting, true},
    {"-error", getError, false},
    {"-passfds", getPassFds, true},
    {"-peercred", getPeerCred, true},
    {"-peername", getPeerName, true},
    {"-sockname", getSockName, true},
    {"-type", getType, true},
};

int listOptions(UnixChannel &state, Tcl_DString *value) {
    for (const ReadableOption &option : kOptions) {
        if (!option.listed)
            continue;
        Tcl_DString one;
        Tcl_DStringInit(&one);
        if (option.get(state, nullptr, &one) == TCL_OK) {
            Tcl_DStringAppendElement(value, option.name);
            Tcl_DStringAppendElement(value, Tcl_DStringValue(&one));
        }
        Tcl_DStringFree(&one);
    }
    return TCL_OK;
}

int getOptionProc(void *instance, Tcl_Interp *interp, const char *name, Tcl_DString *value) {
    UnixChannel &state = stateOf(instance);
    if (!name)
        return listOptions(state, value);
    for (const ReadableOption &option : kOptions)
        if (strcmp(name, option.name) == 0)
            return option.get(state, interp, value);
    return Tcl_BadChannelOption(interp, name,
                                "connecting error passfds peercred peername sockname type");
}

int setOptionProc(void *instance, Tcl_Interp *interp, const char *name, const char *value) {
    if (strcmp(name, "-passfds") != 0)
        return Tcl_BadChannelOption(interp, name, "passfds");
    int flag = 0;
    if (Tcl_GetBoolean(interp, value, &flag) != TCL_OK)
        return TCL_ERROR;
    stateOf(instance).passDescriptors = flag != 0;
    return TCL_OK;
}

// ---- the rest of the driver ----------------------------------------------

void watchProc(void *instance, int mask) {
    UnixChannel &state = stateOf(instance);
    state.interest = mask;
    applyInterest(state);
}

int getHandleProc(void *instance, int, void **handle) {
    *handle = reinterpret_cast<void *>(static_cast<intptr_t>(stateOf(instance).fd.get()));
    return TCL_OK;
}

// Tcl calls this before it tells the driver to close its read side on the way
// to a full close; a shutdown then would end the connection for the other
// processes that hold it.
void onClosing(void *instance) {
    stateOf(instance).closing = true;
}

int close2Proc(void *instance, Tcl_Interp *, int flags) {
    UnixChannel &state = stateOf(instance);
    const int half = flags & (TCL_CLOSE_READ | TCL_CLOSE_WRITE);
    if (half != 0) {
        if (state.closing)
            return 0;
        Status status = shutDown(state.fd.get(), half == TCL_CLOSE_READ ? SHUT_RD : SHUT_WR);
        return status ? 0 : status.error().code;
    }
    if (state.connecting)
        stopTimer(*state.connecting);
    forgetFile(state.fd.get());
    delete &state; // the channel was its owner
    return 0;
}

int blockModeProc(void *instance, int mode) {
    stateOf(instance).nonBlocking = mode == TCL_MODE_NONBLOCKING;
    return 0;
}

// The channel moves to another thread: what waits in this one must go, and
// starts again there.
void threadActionProc(void *instance, int action) {
    UnixChannel &state = stateOf(instance);
    if (action == TCL_CHANNEL_THREAD_REMOVE) {
        state.interest = 0;
        forgetFile(state.fd.get());
        if (state.connecting)
            stopTimer(*state.connecting);
    } else if (state.connecting && !state.connecting->timer) {
        startTimer(state);
    }
}

// clang-format off
const Tcl_ChannelType kUnixChannelType = {
    "unix_socket",
    TCL_CHANNEL_VERSION_5,
    TCL_CLOSE2PROC,
    inputProc,
    outputProc,
    nullptr, // seek
    setOptionProc,
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

// The C library of Linux gives memory back to the kernel once 128 KiB are free at the end
// of the heap, and asks for it again: for each short connection, whose buffers are larger.
// To free one block that it mapped makes it keep twice as much as that, see mallopt(3).
void keepFreedMemory() {
#ifdef __GLIBC__
    void *volatile block = ::malloc(kMappedBlock); // volatile: or nothing is done
    ::free(block);
#endif
}

Tcl_Channel open(UnixChannel *state) {
    static std::once_flag kept;
    std::call_once(kept, keepFreedMemory);
    const std::string name = nextChannelName("unix_socket");
    state->channel =
        Tcl_CreateChannel(&kUnixChannelType, name.c_str(), state, TCL_READABLE | TCL_WRITABLE);
    Tcl_SetChannelBufferSize(state->channel,
                             state->type == SOCK_STREAM ? kStreamBuffer : kRecordBuffer);
    Tcl_CreateCloseHandler(state->channel, onClosing, state);
    return state->channel;
}

} // namespace

Tcl_Channel openUnixChannel(UniqueFd fd, int type) {
    auto state = std::make_unique<UnixChannel>();
    state->fd = std::move(fd);
    state->type = type;
    return open(state.release()); // owned by the channel, see close2Proc
}

Tcl_Channel openConnectingChannel(UniqueFd fd, const Address &server, const Deadline &deadline) {
    auto state = std::make_unique<UnixChannel>();
    state->fd = std::move(fd);
    state->connecting = Connecting{server, deadline};
    UnixChannel *owned = state.release(); // by the channel, see close2Proc
    const Tcl_Channel channel = open(owned);
    if (!owned->connecting->timer) // not yet started by threadActionProc
        startTimer(*owned);
    return channel;
}

bool isUnixChannel(Tcl_Channel channel) {
    return Tcl_GetChannelType(channel) == &kUnixChannelType;
}

UnixChannel *unixChannelOf(Tcl_Channel channel) {
    const Tcl_Channel top = Tcl_GetTopChannel(channel);
    return isUnixChannel(top) ? &stateOf(Tcl_GetChannelInstanceData(top)) : nullptr;
}

UnixChannel *unixChannelBelow(Tcl_Channel channel) {
    while (const Tcl_Channel below = Tcl_GetStackedChannel(channel))
        channel = below;
    return isUnixChannel(channel) ? &stateOf(Tcl_GetChannelInstanceData(channel)) : nullptr;
}

int descriptorOf(const UnixChannel &channel) {
    return channel.fd.get();
}

bool isNonBlocking(const UnixChannel &channel) {
    return channel.nonBlocking;
}

bool holdsDescriptors(const UnixChannel &channel) {
    return !channel.passed.empty();
}

int heldMessages(const UnixChannel &channel) {
    return static_cast<int>(channel.passed.size());
}

bool isConnecting(const UnixChannel &channel) {
    return channel.connecting.has_value();
}

void limitSilence(UnixChannel &channel, int ms) {
    channel.silenceMs = ms;
}

int silentMs(const UnixChannel &channel) {
    const auto silent = std::chrono::steady_clock::now() - channel.lastMoved;
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(silent).count();
    return static_cast<int>(std::min<long long>(ms, INT_MAX));
}

namespace {

bool takePassed(UnixChannel &state, ReceiveRequest &request) {
    Passed message = std::move(state.passed.front());
    state.passed.pop_front();
    request.error = std::move(message.error);
    if (message.descriptors.size() > static_cast<size_t>(request.maxDescriptors))
        request.error = tooMany(request.maxDescriptors, message.descriptors.size());
    if (!request.error)
        request.descriptors = std::move(message.descriptors);
    return !request.error;
}

} // namespace

bool receive(Tcl_Channel channel, UnixChannel &state, ReceiveRequest &request) {
    if (!state.passed.empty())
        return takePassed(state, request);
    char byte;
    state.request = &request;
    const int count = Tcl_ReadRaw(channel, &byte, 1);
    state.request = nullptr;
    if (count < 0 && !isWouldBlock(Tcl_GetErrno()))
        request.error = systemError("couldn't receive descriptors", Tcl_GetErrno());
    return count > 0 && !request.error;
}

} // namespace uds
