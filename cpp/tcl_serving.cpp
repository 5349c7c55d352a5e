#include "tcl_serving.h"

#include "posix_clock.h"
#include "posix_pid.h"
#include "posix_silence.h"
#include "posix_socket.h"
#include "tcl_adopt.h"
#include "tcl_channel.h"
#include "tcl_interp.h"
#include "tcl_notifier.h"

#include <sched.h>
#include <sys/socket.h>

#include <utility>
#include <vector>

namespace uds {

namespace {

// Connections are taken and served for so long before other events, those that have
// come meanwhile too, get their turn. After a long call of the handler it is to be known
// whether the parent lives, and still wants a connection taken.
constexpr uint64_t kTurnMicros = 1000;
// Connections that a worker may have more than another one before it goes to the
// end of the row, and before it lets others go first.
constexpr uint64_t kRotateLead = 2;
constexpr uint64_t kMostAhead = 4;
constexpr int kYieldMs = 1;

Result<QueuedConnection> takeCounted(const Scoreboard &board, int number, int queue) {
    Slot &slot = board.slot(number);
    const Taking taking(slot);
    Result<QueuedConnection> taken = dequeue(queue);
    if (taken && taken.value().fd)
        noteTaken(board, slot, taken.value().waitedMicros);
    return taken;
}

void limitSilenceOf(Tcl_Channel channel, int ms) {
    if (UnixChannel *ours = unixChannelBelow(channel))
        limitSilence(*ours, ms);
    else if (const std::optional<int> fd = descriptorOf(channel, TCL_READABLE))
        static_cast<void>(limitSilence(*fd, ms)); // its client has gone already
}

Tcl_Obj *word(const char *string) {
    return Tcl_NewStringObj(string, -1);
}

Tcl_Obj *wide(uint64_t value) {
    return Tcl_NewWideIntObj(static_cast<Tcl_WideInt>(value));
}

} // namespace

// Of a connection, for the handler.
struct Serving::Words {
    ObjRef channel, address, port;
};

// In an event, for which the interpreter may be gone. A connection may have been
// closed in another thread.
struct Serving::Later {
    std::weak_ptr<Serving> serving;
    int number;
    uint64_t claim;
};

namespace {

struct Event {
    Tcl_Event header;
    void *content;
};

// The event owns its content.
Tcl_Event *newEvent(Tcl_EventProc *proc, void *content) {
    auto *event = reinterpret_cast<Event *>(Tcl_Alloc(sizeof(Event)));
    event->header.proc = proc;
    event->content = content;
    return &event->header;
}

} // namespace

Serving::Serving(Tcl_Interp *interp, Settings settings)
    : interp_(interp), settings_(std::move(settings)), thread_(Tcl_GetCurrentThread()) {
    Tcl_CreateEventSource(onSetup, nullptr, this);
    wakeOneFor(settings_.queue);
}

Serving::~Serving() {
    abandon();
    Tcl_DeleteEventSource(onSetup, nullptr, this);
}

void Serving::abandon() {
    abandoned_ = true;
    Tcl_DeleteTimerHandler(std::exchange(rest_, nullptr));
    Tcl_DeleteTimerHandler(std::exchange(end_, nullptr));
    watch();
}

void Serving::want(bool wanted) {
    wanted_ = wanted;
    watch();
}

Tcl_Obj *Serving::channels() const {
    Tcl_Obj *names = newList({});
    for (const auto &[number, connection] : open_)
        Tcl_ListObjAppendElement(nullptr, names, connection.channel.get());
    return names;
}

// ---- when to take ------------------------------------------------------------

bool Serving::takes() const {
    return wanted_ && !abandoned_ && !rest_ && open_.size() < settings_.concurrency;
}

// Wakes only for connections that it may take.
void Serving::watch() {
    const bool wanted = takes();
    if (wanted == watching_)
        return;
    watching_ = wanted;
    if (wanted)
        watchFile(settings_.queue, TCL_READABLE, onReadable, this);
    else
        forgetFile(settings_.queue);
    if (wanted && tellsEmpty_)
        turnLater();
}

void Serving::turnLater() {
    Tcl_QueueEvent(newEvent(onTurn, new Later{weak_from_this(), 0, 0}), TCL_QUEUE_TAIL);
}

// An empty queue causes no event, unless its other end is closed.
void Serving::tellWhenEmpty() {
    tellsEmpty_ = true;
    turnLater();
}

// Others have their turn, or the system lacks something.
void Serving::rest(int ms) {
    if (!rest_)
        rest_ = Tcl_CreateTimerHandler(ms, onRested, this);
    watch();
}

void Serving::onRested(void *serving) {
    auto *own = static_cast<Serving *>(serving);
    own->rest_ = nullptr;
    if (own->yielding_)
        own->turn();
    else
        own->watch();
}

// Before the event loop waits. A handler may wait with events, and must not wake
// then for a connection that it cannot take; most do not, and need no change here.
void Serving::onSetup(void *serving, int) {
    auto *own = static_cast<Serving *>(serving);
    if (own->watching_ && !own->takes())
        own->watch();
}

void Serving::onReadable(void *serving, int) {
    auto *own = static_cast<Serving *>(serving);
    if (std::exchange(own->othersFirst_, false))
        own->turnLater();
    else
        own->turn();
}

int Serving::onTurn(Tcl_Event *event, int) {
    const std::unique_ptr<Later> later = contentOf(event);
    if (const auto own = later->serving.lock())
        own->turn();
    return 1;
}

std::unique_ptr<Serving::Later> Serving::contentOf(Tcl_Event *event) {
    return std::unique_ptr<Later>(static_cast<Later *>(reinterpret_cast<Event *>(event)->content));
}

// A worker that serves one after the other takes the next at once; others leave it
// to whoever wakes first.
void Serving::turn() {
    const auto self = shared_from_this(); // a handler may delete the interpreter
    if (yieldsFirst())
        return;
    const uint64_t until = monotonicMicros() + kTurnMicros;
    const bool took = takes() && takeOne();
    bool more = took;
    if (more && settings_.concurrency > 1) {
        giveWay();
        more = false;
    }
    while (more && takes() && !(othersFirst_ = monotonicMicros() >= until))
        more = (tellsEmpty_ || waitsNext()) && takeOne();
    watch();
    if (took && tellsEmpty_ && takes())
        turnLater();
}

// Who is ready to run on this processor goes first, the parent or a client perhaps: a
// connection that it brings needs nobody to be woken. Where nobody is, that costs little.
bool Serving::waitsNext() const {
    if (isQueued(settings_.queue))
        return true;
    ::sched_yield();
    return isQueued(settings_.queue);
}

// Where each connection wakes all workers, one that is far ahead lets the others try
// first; it takes the connection if they have not.
bool Serving::yieldsFirst() {
    if (std::exchange(yielding_, false) || settings_.concurrency == 1 || wakesOnlyOne() ||
        !takes() || leadOf(*settings_.board, settings_.slot) <= kMostAhead)
        return false;
    yielding_ = true;
    rest(kYieldMs);
    return true;
}

// Connections that stay are to be spread over the workers: who has more than another
// one goes to the end of the row, and who has many more lets that one wake up.
void Serving::giveWay() {
    if (!wakesOnlyOne() || open_.size() < kRotateLead)
        return;
    const uint64_t lead = leadOf(*settings_.board, settings_.slot);
    if (lead >= kRotateLead)
        wakeOneFor(settings_.queue);
    if (lead > kMostAhead)
        rest(kYieldMs);
}

// ---- taking and serving --------------------------------------------------------

// Whether there was one.
bool Serving::takeOne() {
    Result<QueuedConnection> taken = takeCounted(*settings_.board, settings_.slot, settings_.queue);
    if (!taken && isWouldBlock(taken.error().code)) {
        if (tellsEmpty_)
            tell({word("empty")});
        return false;
    }
    if (!taken) {
        failedTaking(taken.error());
        return false;
    }
    troubled_ = false;
    if (!taken.value().fd) {
        tell({word("closed")});
        return false;
    }
    begin(std::move(taken.value()));
    return true;
}

// No descriptor to take it with, most often: it stays queued.
void Serving::failedTaking(const Error &error) {
    if (!std::exchange(troubled_, true)) {
        fail(interp_,
             error.code == 0 ? error : systemError("couldn't take a connection", error.code));
        tellFailed(TCL_ERROR, word(""));
    }
    rest(settings_.retryMs);
}

void Serving::begin(QueuedConnection connection) {
    const Connected made = connectedChannel(interp_, std::move(connection.fd), connection.peer);
    const Words words{ObjRef(word(Tcl_GetChannelName(made.channel))),
                      ObjRef(fromSystem(made.shown.host())),
                      ObjRef(Tcl_NewIntObj(made.shown.port()))};
    const int number = track(made.channel, connection.id);
    open_[number] = Connection{words.channel, connection.id, monotonicMicros() / 1000};
    if (settings_.lifeMs > 0 && !end_)
        endIn(static_cast<uint64_t>(settings_.lifeMs));
    ++taken_;
    if (connection.id > 0)
        tell({word("claimed"), wide(connection.id)});
    if (taken_ == settings_.limit)
        tell({word("last")});
    if (settings_.silenceMs > 0)
        limitSilenceOf(made.channel, settings_.silenceMs);
    callHandler(words, number);
    if (!wanted_ && !abandoned_ && open_.empty() && calls_ == 0)
        tell({word("idle")});
}

void Serving::callHandler(const Words &words, int number) {
    Tcl_Size count = 0;
    Tcl_Obj **prefix = nullptr;
    Tcl_ListObjGetElements(nullptr, settings_.handlerCmd.get(), &count, &prefix);
    std::vector<ObjRef> held;
    held.reserve(static_cast<size_t>(count));
    std::vector<Tcl_Obj *> call(prefix, prefix + count);
    for (Tcl_Obj *each : call)
        held.emplace_back(each); // the list may lose them meanwhile
    call.insert(call.end(), {words.channel.get(), words.address.get(), words.port.get()});
    Tcl_Preserve(interp_);
    ++calls_;
    const int code =
        Tcl_EvalObjv(interp_, static_cast<Tcl_Size>(call.size()), call.data(), TCL_EVAL_GLOBAL);
    --calls_;
    ChannelTracking::lookNow();
    if (code == TCL_OK || code == TCL_RETURN)
        Tcl_ResetResult(interp_);
    else if (!abandoned_)
        tellFailed(code, open_.count(number) > 0 ? words.channel.get() : word(""));
    Tcl_Release(interp_);
}

// ---- ends of connections ---------------------------------------------------------

int Serving::track(Tcl_Channel channel, uint64_t claim) {
    return dataOf(interp_).connections.track(
        channel, [board = settings_.board, slot = settings_.slot, thread = thread_,
                  process = ownPid(), claim, serving = weak_from_this()](int number) {
            if (process != ownPid())
                return; // a forked child's copy
            noteDone(*board, board->slot(slot));
            if (thread == Tcl_GetCurrentThread()) {
                if (const auto own = serving.lock())
                    own->closed(number);
                return;
            }
            Tcl_ThreadQueueEvent(thread,
                                 newEvent(onClosedElsewhere, new Later{serving, number, claim}),
                                 TCL_QUEUE_TAIL);
            Tcl_ThreadAlert(thread);
        });
}

int Serving::onClosedElsewhere(Tcl_Event *event, int) {
    const std::unique_ptr<Later> closed = contentOf(event);
    if (const auto own = closed->serving.lock())
        own->closed(closed->number);
    return 1;
}

// While it is being closed, perhaps by a script: that hears of it in an event.
void Serving::closed(int number) {
    const auto found = open_.find(number);
    if (found == open_.end() || abandoned_)
        return;
    const uint64_t claim = found->second.claim;
    open_.erase(found);
    if (claim > 0 || !wanted_)
        Tcl_QueueEvent(newEvent(onReleased, new Later{weak_from_this(), number, claim}),
                       TCL_QUEUE_TAIL);
    if (!watching_)
        watch();
}

int Serving::onReleased(Tcl_Event *event, int) {
    const std::unique_ptr<Later> closed = contentOf(event);
    const auto own = closed->serving.lock();
    if (!own || own->abandoned_)
        return 1;
    if (closed->claim > 0)
        own->tell({word("released"), wide(closed->claim)});
    if (!own->wanted_ && own->open_.empty() && own->calls_ == 0)
        own->tell({word("idle")});
    return 1;
}

// Ends those that have lasted long enough: their handlers see the end, and close them.
void Serving::endOldOnes() {
    const uint64_t now = monotonicMicros() / 1000;
    const auto life = static_cast<uint64_t>(settings_.lifeMs);
    for (auto next = open_.upper_bound(lastOld_); next != open_.end(); ++next) {
        const uint64_t end = next->second.beganMs + life;
        if (now < end) {
            endIn(end - now);
            return;
        }
        lastOld_ = next->first;
        if (const auto fd = dataOf(interp_).connections.descriptor(next->first))
            static_cast<void>(shutDown(*fd, SHUT_RDWR)); // its client has gone already
    }
}

void Serving::endIn(uint64_t ms) {
    const auto onTime = [](void *serving) {
        auto *own = static_cast<Serving *>(serving);
        own->end_ = nullptr;
        own->endOldOnes();
    };
    end_ = Tcl_CreateTimerHandler(static_cast<int>(ms), onTime, this);
}

// ---- telling ---------------------------------------------------------------------

void Serving::tell(std::initializer_list<Tcl_Obj *> words) {
    if (!Tcl_InterpDeleted(interp_))
        callBack(interp_, settings_.toldCmd, words);
}

// What the interpreter's result says.
void Serving::tellFailed(int code, Tcl_Obj *channel) {
    const ObjRef name(channel);
    const ObjRef message(Tcl_GetObjResult(interp_));
    const ObjRef options(Tcl_GetReturnOptions(interp_, code));
    tell({word("failed"), message.get(), options.get(), Tcl_NewIntObj(code), name.get()});
}

} // namespace uds
