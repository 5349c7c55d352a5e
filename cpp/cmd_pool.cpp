// What the pools of socketserver need; all of it private. Scoreboards, workers that
// serve a queue, and a parent that looks at a connection before it hands it on.
#include "cmd_table.h"
#include "posix_clock.h"
#include "posix_queue.h"
#include "posix_socket.h"
#include "tcl_adopt.h"
#include "tcl_interp.h"
#include "tcl_serving.h"

#include <sys/socket.h>

namespace uds {

namespace {

// ---- scoreboards -----------------------------------------------------------

constexpr int kMaxSlots = 16384;

int getBoard(const Call &call, std::shared_ptr<Scoreboard> &board) {
    int number = 0;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &number) != TCL_OK)
        return TCL_ERROR;
    const auto &boards = dataOf(call.interp).boards;
    const auto found = boards.find(number);
    if (found == boards.end())
        return call.fail(ownError("BOARD",
                                  "couldn't find scoreboard \"" + std::to_string(number) + "\"",
                                  "there is none", std::to_string(number)));
    board = found->second;
    return TCL_OK;
}

int getSlot(const Call &call, size_t index, const Scoreboard &board, int &slot) {
    if (Tcl_GetIntFromObj(call.interp, call.arguments[index], &slot) != TCL_OK)
        return TCL_ERROR;
    if (slot >= 0 && slot < board.size())
        return TCL_OK;
    return call.fail(ownError("SLOT", "couldn't find slot \"" + std::to_string(slot) + "\"",
                              "the scoreboard has " + std::to_string(board.size()),
                              std::to_string(slot)));
}

int getBoardAndSlot(const Call &call, std::shared_ptr<Scoreboard> &board, int &slot) {
    if (getBoard(call, board) != TCL_OK)
        return TCL_ERROR;
    return getSlot(call, 1, *board, slot);
}

Tcl_Obj *number(uint64_t value) {
    return Tcl_NewWideIntObj(static_cast<Tcl_WideInt>(value));
}

// {board channel}: the channel turns readable when a worker did what Ask named.
int openCommand(const Call &call) {
    int slots = 0;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &slots) != TCL_OK)
        return TCL_ERROR;
    if (slots < 1 || slots > kMaxSlots)
        return call.fail(ownError("SLOT", "couldn't open a scoreboard",
                                  "it has 1 to " + std::to_string(kMaxSlots) + " slots",
                                  std::to_string(slots)));
    Result<Scoreboard> opened = Scoreboard::open(slots);
    if (!opened)
        return call.fail(systemError("couldn't open a scoreboard", opened.error().code));
    auto board = std::make_shared<Scoreboard>(std::move(opened.value()));
    UniqueFd reader = board->takeWakeReader();
    Result<Tcl_Channel> channel = adopt(call.interp, reader);
    if (!channel)
        return call.fail(channel.error());
    auto &boards = dataOf(call.interp).boards;
    const int name = boards.empty() ? 1 : boards.rbegin()->first + 1;
    boards[name] = board;
    return call.answer(
        newList({Tcl_NewIntObj(name), Tcl_NewStringObj(Tcl_GetChannelName(channel.value()), -1)}));
}

int closeCommand(const Call &call) {
    std::shared_ptr<Scoreboard> board;
    int name = 0;
    if (getBoard(call, board) != TCL_OK ||
        Tcl_GetIntFromObj(call.interp, call.arguments[0], &name) != TCL_OK)
        return TCL_ERROR;
    dataOf(call.interp).boards.erase(name);
    return TCL_OK;
}

// {taken done waitMicros age}; age: milliseconds since its event loop turned.
int slotCommand(const Call &call) {
    std::shared_ptr<Scoreboard> board;
    int index = 0;
    if (getBoardAndSlot(call, board, index) != TCL_OK)
        return TCL_ERROR;
    const Slot &slot = board->slot(index);
    const uint64_t done = slot.done.load();
    const uint64_t taken = slot.taken.load();
    const uint64_t beat = slot.beatMicros.load();
    const uint64_t now = monotonicMicros();
    const uint64_t age = beat == 0 || beat > now ? 0 : (now - beat) / 1000;
    return call.answer(
        newList({number(taken), number(done), number(slot.waitMicros.load()), number(age)}));
}

// {taken done taking} of all slots, past ones too; taking: in how many a connection
// may have left the queue that is not counted yet.
int countsCommand(const Call &call) {
    std::shared_ptr<Scoreboard> board;
    if (getBoard(call, board) != TCL_OK)
        return TCL_ERROR;
    const Totals totals = totalsOf(*board);
    return call.answer(
        newList({number(totals.taken), number(totals.done), Tcl_NewIntObj(totals.taking)}));
}

// {mean p50 p99}: microseconds in the queue.
int waitsCommand(const Call &call) {
    std::shared_ptr<Scoreboard> board;
    if (getBoard(call, board) != TCL_OK)
        return TCL_ERROR;
    const Totals totals = totalsOf(*board);
    const std::vector<uint64_t> waits = waitsOf(*board, {0.5, 0.99});
    const double mean = totals.taken == 0 ? 0.0
                                          : static_cast<double>(totals.waitMicros) /
                                                static_cast<double>(totals.taken);
    return call.answer(newList({Tcl_NewDoubleObj(mean), number(waits[0]), number(waits[1])}));
}

// The process of this slot has ended. {taken done taking} of it.
int foldCommand(const Call &call) {
    std::shared_ptr<Scoreboard> board;
    int index = 0;
    if (getBoardAndSlot(call, board, index) != TCL_OK)
        return TCL_ERROR;
    const uint64_t taken = board->slot(index).taken.load();
    const uint64_t done = board->slot(index).done.load();
    const bool taking = board->slot(index).taking.load() != 0;
    board->fold(index);
    // What it was serving is over.
    board->slot(0).done += taken - done;
    return call.answer(newList({number(taken), number(done), Tcl_NewBooleanObj(taking)}));
}

int askCommand(const Call &call) {
    std::shared_ptr<Scoreboard> board;
    int onTake = 0;
    int onDone = 0;
    if (getBoard(call, board) != TCL_OK ||
        Tcl_GetBooleanFromObj(call.interp, call.arguments[1], &onTake) != TCL_OK ||
        Tcl_GetBooleanFromObj(call.interp, call.arguments[2], &onDone) != TCL_OK)
        return TCL_ERROR;
    board->ask((onTake ? Scoreboard::kOnTake : 0u) | (onDone ? Scoreboard::kOnDone : 0u));
    return TCL_OK;
}

int beatCommand(const Call &call) {
    std::shared_ptr<Scoreboard> board;
    int index = 0;
    if (getBoardAndSlot(call, board, index) != TCL_OK)
        return TCL_ERROR;
    board->use(index);
    noteBeat(board->slot(index));
    return TCL_OK;
}

// Milliseconds of a clock that nobody sets.
int nowCommand(const Call &call) {
    return call.answer(number(monotonicMicros() / 1000));
}

// ---- the worker: serving ---------------------------------------------------

// Connections come from the queue to the handler from now on, once ServeMore says so.
int serveCommand(const Call &call) {
    std::shared_ptr<Scoreboard> board;
    int slot = 0;
    int queue = -1;
    if (getBoardAndSlot(call, board, slot) != TCL_OK || getQueue(call, 2, queue) != TCL_OK)
        return TCL_ERROR;
    dataOf(call.interp).serving = std::make_shared<Serving>(
        call.interp, Serving::Settings{board, slot, queue, static_cast<size_t>(call.option(0, 1)),
                                       static_cast<uint64_t>(call.option(1, 0)), call.option(2, 0),
                                       call.option(3, 0), call.option(4, 0),
                                       ObjRef(call.arguments[3]), ObjRef(call.arguments[4])});
    return TCL_OK;
}

int getServing(const Call &call, std::shared_ptr<Serving> &serving) {
    serving = dataOf(call.interp).serving;
    if (serving)
        return TCL_OK;
    return call.fail(
        ownError("NOTSERVING", "couldn't find a queue", "this process serves none", ""));
}

int serveMoreCommand(const Call &call) {
    std::shared_ptr<Serving> serving;
    int wanted = 0;
    if (getServing(call, serving) != TCL_OK ||
        Tcl_GetBooleanFromObj(call.interp, call.arguments[0], &wanted) != TCL_OK)
        return TCL_ERROR;
    serving->want(wanted != 0);
    return TCL_OK;
}

int serveUntilEmptyCommand(const Call &call) {
    std::shared_ptr<Serving> serving;
    if (getServing(call, serving) != TCL_OK)
        return TCL_ERROR;
    serving->tellWhenEmpty();
    return TCL_OK;
}

// {taken open calls}: connections so far and now, handlers that run.
int servingCommand(const Call &call) {
    std::shared_ptr<Serving> serving;
    if (getServing(call, serving) != TCL_OK)
        return TCL_ERROR;
    return call.answer(newList(
        {number(serving->taken()), number(serving->open()), Tcl_NewIntObj(serving->calls())}));
}

int servedChannelsCommand(const Call &call) {
    std::shared_ptr<Serving> serving;
    return getServing(call, serving) == TCL_OK ? call.answer(serving->channels()) : TCL_ERROR;
}

// ---- the parent: looking before handing on ---------------------------------

// {address port} of the next connection, which stays the next one; the path
// and 0 of a unix listener.
int lookCommand(const Call &call) {
    Listener *listener = findListener(call, 0, "accept on");
    if (!listener)
        return TCL_ERROR;
    Result<const Accepted *> next = lookAt(*listener);
    if (!next) {
        const auto stop = stopReason(next.error().code, HandOff::Stop::Empty);
        if (!stop)
            return call.fail(systemError("couldn't accept on \"" + text(call.arguments[0]) + "\"",
                                         next.error().code));
        return answerStop(call, 1, *stop);
    }
    if (answerStop(call, 1, HandOff::Stop::Max) != TCL_OK)
        return TCL_ERROR;
    const Address &peer = next.value()->peer;
    const bool isInet = peer.family() == AF_INET || peer.family() == AF_INET6;
    Result<Address> local = localAddress(next.value()->fd.get());
    const Address &shown = isInet || !local ? peer : local.value();
    return call.answer(newList({fromSystem(shown.host()), Tcl_NewIntObj(shown.port())}));
}

// Has each connection go into the queue.
int relayCommand(const Call &call) {
    int queue = -1;
    int most = 0;
    if (!findListener(call, 0, "hand off from") || getQueue(call, 1, queue) != TCL_OK ||
        Tcl_GetIntFromObj(call.interp, call.arguments[2], &most) != TCL_OK)
        return TCL_ERROR;
    const Tcl_Channel listener = findChannel(call.interp, call.arguments[0]);
    dataOf(call.interp).relays[listener] =
        std::make_unique<Relay>(call.interp, listener, queue, most, ObjRef(call.arguments[3]));
    return TCL_OK;
}

// No longer: how many did.
int relayedCommand(const Call &call) {
    if (!findListener(call, 0, "hand off from"))
        return TCL_ERROR;
    auto &relays = dataOf(call.interp).relays;
    const auto found = relays.find(findChannel(call.interp, call.arguments[0]));
    if (found == relays.end())
        return call.answer(number(0));
    const uint64_t count = found->second->count();
    relays.erase(found);
    return call.answer(number(count));
}

// Hands the next connection off with an id: why not, or "max".
int handOffOneCommand(const Call &call) {
    Listener *listener = findListener(call, 0, "hand off from");
    int queue = -1;
    Tcl_WideInt id = 0;
    if (!listener || getQueue(call, 1, queue) != TCL_OK ||
        Tcl_GetWideIntFromObj(call.interp, call.arguments[2], &id) != TCL_OK)
        return TCL_ERROR;
    Result<HandOff> done = handOffOne(*listener, queue, static_cast<uint64_t>(id));
    if (!done)
        return call.fail(systemError("couldn't hand off from \"" + text(call.arguments[0]) + "\"",
                                     done.error().code));
    return call.answer(Tcl_NewStringObj(stopName(done.value().stop), -1));
}

// Closes up to max connections, each after it got the banner: how many, and why no more.
int refuseCommand(const Call &call) {
    Listener *listener = findListener(call, 0, "accept on");
    int max = 0;
    Tcl_Size size = 0;
    if (!listener || Tcl_GetIntFromObj(call.interp, call.arguments[1], &max) != TCL_OK)
        return TCL_ERROR;
    const unsigned char *banner = bytesOf(call.interp, call.arguments[2], size);
    if (!banner)
        return TCL_ERROR;
    auto stop = std::optional(HandOff::Stop::Max);
    int count = 0;
    for (; count < max; ++count) {
        Result<Accepted> next = acceptFrom(*listener);
        if (!next) {
            stop = stopReason(next.error().code, HandOff::Stop::Empty);
            if (!stop)
                return call.fail(systemError(
                    "couldn't accept on \"" + text(call.arguments[0]) + "\"", next.error().code));
            break;
        }
        refuse(std::move(next.value().fd), banner, static_cast<size_t>(size));
    }
    if (answerStop(call, 3, *stop) != TCL_OK)
        return TCL_ERROR;
    return call.answer(Tcl_NewIntObj(count));
}

// The descriptors of its sockets, which stay its own.
int listenerSocketsCommand(const Call &call) {
    const Listener *listener = findListener(call, 0, "find the sockets of");
    if (!listener)
        return TCL_ERROR;
    Tcl_Obj *numbers = newList({});
    for (int fd : socketsOf(*listener))
        Tcl_ListObjAppendElement(nullptr, numbers, Tcl_NewIntObj(fd));
    return call.answer(numbers);
}

// Puts a connection back that a worker has returned; the caller keeps its copy.
int requeueCommand(const Call &call) {
    int queue = -1;
    int fd = -1;
    if (getQueue(call, 0, queue) != TCL_OK ||
        Tcl_GetIntFromObj(call.interp, call.arguments[1], &fd) != TCL_OK)
        return TCL_ERROR;
    Result<Address> peer = peerAddress(fd);
    Status sent = enqueue(queue, fd, peer ? peer.value() : Address());
    return sent ? TCL_OK
                : call.fail(systemError("couldn't put a connection back", sent.error().code));
}

} // namespace

std::vector<Command> poolCommands() {
    const Option concurrency = {"-concurrency", Option::Kind::Number, "n", nullptr, 1, INT_MAX};
    const Option limit = {"-limit", Option::Kind::Number, "n", nullptr, 0, INT_MAX};
    const Option silence = {"-silence", Option::Kind::Number, "ms", nullptr, 0, INT_MAX};
    const Option life = {"-life", Option::Kind::Number, "ms", nullptr, 0, INT_MAX};
    const Option retry = {"-retry", Option::Kind::Number, "ms", nullptr, 0, INT_MAX};
    // clang-format off
    return {
        {"socketserver::BoardOpen", {}, 1, 1, "slots", openCommand},
        {"socketserver::BoardClose", {}, 1, 1, "board", closeCommand},
        {"socketserver::BoardSlot", {}, 2, 2, "board slot", slotCommand},
        {"socketserver::BoardCounts", {}, 1, 1, "board", countsCommand},
        {"socketserver::BoardWaits", {}, 1, 1, "board", waitsCommand},
        {"socketserver::BoardFold", {}, 2, 2, "board slot", foldCommand},
        {"socketserver::BoardAsk", {}, 3, 3, "board onTake onDone", askCommand},
        {"socketserver::BoardBeat", {}, 2, 2, "board slot", beatCommand},
        {"socketserver::Now", {}, 0, 0, "", nowCommand},
        {"socketserver::ServeQueue", {concurrency, limit, silence, life, retry, Option{}}, 5, 5,
         "board slot queue handlerCmd toldCmd", serveCommand},
        {"socketserver::ServeMore", {}, 1, 1, "boolean", serveMoreCommand},
        {"socketserver::ServeUntilEmpty", {}, 0, 0, "", serveUntilEmptyCommand},
        {"socketserver::Serving", {}, 0, 0, "", servingCommand},
        {"socketserver::ServedChannels", {}, 0, 0, "", servedChannelsCommand},
        {"socketserver::Look", {}, 1, 2, "listener ?reasonName?", lookCommand},
        {"socketserver::Relay", {}, 4, 4, "listener queue max otherwiseCmd", relayCommand},
        {"socketserver::Relayed", {}, 1, 1, "listener", relayedCommand},
        {"socketserver::HandOffOne", {}, 3, 3, "listener queue id", handOffOneCommand},
        {"socketserver::Refuse", {}, 3, 4, "listener max banner ?reasonName?", refuseCommand},
        {"socketserver::ListenerSockets", {}, 1, 1, "listener", listenerSocketsCommand},
        {"socketserver::Requeue", {}, 2, 2, "queue fd", requeueCommand},
    };
    // clang-format on
}

} // namespace uds
