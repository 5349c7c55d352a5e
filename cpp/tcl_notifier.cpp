#include "tcl_notifier.h"

#include "posix_identity.h"
#include "posix_poller.h"
#include "posix_process.h"
#include "posix_signal.h"
#include "posix_socket.h"
#include "tcl_adopt.h"

#include <tcl.h>

#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace uds {

namespace {

struct FileHandler {
    int mask = 0;
    int readyMask = 0;
    Tcl_FileProc *proc = nullptr;
    void *clientData = nullptr;
};

// One a thread, made when it first needs it.
struct Notifier {
    Poller poller;
    std::unordered_map<int, FileHandler> handlers;
    // A byte in it ends the wait. Empty while there is no descriptor for it:
    // only a program with threads needs it.
    SignalPipe alert;
};

thread_local std::unique_ptr<Notifier> threadNotifier;

// Tcl alerts a thread by the pointer that the init procedure returned there.
// The thread that installed us has its pointer from Tcl's own notifier, and
// is the one meant by an unknown pointer.
std::mutex alertMutex;
std::unordered_set<void *> initialized;
Notifier *installer = nullptr;
bool installed = false;
bool forked = false; // Tcl's own notifier is of no use any more

short pollEvents(int mask) {
    return static_cast<short>(((mask & TCL_READABLE) ? POLLIN : 0) |
                              ((mask & TCL_WRITABLE) ? POLLOUT : 0) |
                              ((mask & TCL_EXCEPTION) ? POLLPRI : 0));
}

int tclMask(short events) {
    return ((events & POLLIN) ? TCL_READABLE : 0) | ((events & POLLOUT) ? TCL_WRITABLE : 0) |
           ((events & POLLPRI) ? TCL_EXCEPTION : 0);
}

void openAlert(Notifier &own) {
    Result<SignalPipe> alert = openSignalPipe();
    if (!alert)
        return;
    const std::lock_guard<std::mutex> lock(alertMutex);
    own.alert = std::move(alert.value());
    own.poller.watch(own.alert.reader.get(), POLLIN);
}

Notifier &notifier() {
    if (!threadNotifier) {
        threadNotifier = std::make_unique<Notifier>();
        openAlert(*threadNotifier);
    }
    return *threadNotifier;
}

struct FileEvent {
    Tcl_Event header;
    int fd;
};

int serveFileEvent(Tcl_Event *event, int flags) {
    if ((flags & TCL_FILE_EVENTS) == 0)
        return 0;
    // The handler may have been replaced or deleted since the event was queued, or
    // the notifier with all of them.
    if (!threadNotifier)
        return 1;
    const auto found = threadNotifier->handlers.find(reinterpret_cast<FileEvent *>(event)->fd);
    if (found == threadNotifier->handlers.end())
        return 1;
    FileHandler &handler = found->second;
    const int mask = handler.readyMask & handler.mask;
    handler.readyMask = 0;
    if (mask != 0)
        handler.proc(handler.clientData, mask); // may delete the handler
    return 1;
}

void queueFileEvent(int fd, FileHandler &handler, int mask) {
    if (handler.readyMask == 0) {
        auto *event = reinterpret_cast<FileEvent *>(Tcl_Alloc(sizeof(FileEvent)));
        event->header.proc = serveFileEvent;
        event->fd = fd;
        Tcl_QueueEvent(&event->header, TCL_QUEUE_TAIL);
    }
    handler.readyMask |= mask;
}

int milliseconds(const Tcl_Time *limit) {
    if (!limit)
        return -1;
    const long long ms = limit->sec * 1000LL + (limit->usec + 999) / 1000;
    return ms > INT_MAX ? INT_MAX : static_cast<int>(ms);
}

int waitForEvent(const Tcl_Time *limit) {
    Notifier &own = notifier();
    if (!own.alert.reader)
        openAlert(own);
    for (const Poller::Ready &ready : own.poller.wait(milliseconds(limit))) {
        if (ready.fd == own.alert.reader.get()) {
            drainSignals(ready.fd);
            continue;
        }
        const auto found = own.handlers.find(ready.fd);
        if (found != own.handlers.end())
            queueFileEvent(ready.fd, found->second, tclMask(ready.events));
    }
    return 0;
}

void createFileHandler(int fd, int mask, Tcl_FileProc *proc, void *clientData) {
    FileHandler &handler = notifier().handlers[fd];
    handler.mask = mask;
    handler.proc = proc;
    handler.clientData = clientData;
    notifier().poller.watch(fd, pollEvents(mask));
}

void deleteFileHandler(int fd) {
    if (threadNotifier && threadNotifier->handlers.erase(fd) > 0)
        threadNotifier->poller.forget(fd);
}

void setTimer(const Tcl_Time *) {
    // Only for notifiers inside a foreign event loop: Tcl's own passes the
    // time of its next timer to waitForEvent.
}

void serviceModeHook(int) {}

void *initNotifier() {
    Notifier &own = notifier();
    const std::lock_guard<std::mutex> lock(alertMutex);
    initialized.insert(&own);
    return &own;
}

void finalizeNotifier(void *clientData) {
    const std::lock_guard<std::mutex> lock(alertMutex);
    if (initialized.erase(clientData) == 0)
        installer = nullptr;
    threadNotifier.reset();
}

void alertNotifier(void *clientData) {
    const std::lock_guard<std::mutex> lock(alertMutex);
    const bool known = initialized.count(clientData) > 0;
    Notifier *target = known ? static_cast<Notifier *>(clientData) : installer;
    const char byte = 0;
    // A full pipe wakes the thread as well. A signal handler may be what calls this.
    const int before = errno;
    if (target && target->alert.writer && ::write(target->alert.writer.get(), &byte, 1) < 0)
        errno = before;
}

// For a fork that is not ours (TclX) in a process that uses this notifier:
// parent and child must not share an epoll instance, nor the pipe.
void unshareAfterFork() {
    new (&alertMutex) std::mutex; // as in startChildNotifier
    forked = true;
    if (!threadNotifier)
        return;
    Notifier &own = *threadNotifier;
    own.poller.reset(true); // first: forgetting in the shared one is for both
    own.poller.forget(own.alert.reader.get());
    own.alert = SignalPipe();
    installer = &own; // the child has this one thread
}

// Our own handlers of this thread: descriptor -> handler.
thread_local std::map<int, FileHandler> ownHandlers;

void install() {
    Tcl_NotifierProcs procs{};
    procs.setTimerProc = setTimer;
    procs.waitForEventProc = waitForEvent;
    procs.createFileHandlerProc = createFileHandler;
    procs.deleteFileHandlerProc = deleteFileHandler;
    procs.initNotifierProc = initNotifier;
    procs.finalizeNotifierProc = finalizeNotifier;
    procs.alertNotifierProc = alertNotifier;
    procs.serviceModeHookProc = serviceModeHook;
    Tcl_SetNotifier(&procs);
    static const int registered = ::pthread_atfork(nullptr, nullptr, unshareAfterFork);
    static_cast<void>(registered);
    installed = true;
}

// ---- changing ----------------------------------------------------------------

Error refused(const char *kind, const std::string &reason) {
    return processError(kind, "couldn't change the notifier", reason, std::to_string(::getpid()));
}

// Tcl's server sockets and connections that are being made watch their
// descriptors behind the back of the channel.
Status checkChannels(Tcl_Interp *interp) {
    std::string bad;
    int unknown = 0;
    forEachChannel(interp, [&](Tcl_Interp *, Tcl_Channel channel) {
        const std::optional<int> fd = descriptorOf(channel, TCL_READABLE);
        const bool isTcp = strcmp(Tcl_ChannelName(Tcl_GetChannelType(channel)), "tcp") == 0;
        Tcl_DString connecting;
        Tcl_DStringInit(&connecting);
        const Result<bool> listening = isTcp && fd ? isListening(*fd) : Result<bool>(false);
        if (!listening)
            unknown = listening.error().code;
        else if (listening.value())
            bad = Tcl_GetChannelName(channel);
        if (isTcp && Tcl_GetChannelOption(nullptr, channel, "-connecting", &connecting) == TCL_OK &&
            strcmp(Tcl_DStringValue(&connecting), "1") == 0)
            bad = Tcl_GetChannelName(channel);
        Tcl_DStringFree(&connecting);
    });
    if (unknown != 0)
        return systemError("couldn't change the notifier", unknown);
    if (!bad.empty())
        return processError("CHANNEL", "couldn't change the notifier",
                            "\"" + bad + "\" is a server socket, or not connected yet", bad);
    return Nothing{};
}

// A thread that has been joined may be listed for a moment yet.
Status checkThreads(int most) {
    constexpr int kTries = 200;
    constexpr useconds_t kPauseUs = 1000;
    for (int i = 0; i < kTries; ++i) {
        const Result<int> count = threadCount();
        if (!count)
            return systemError("couldn't change the notifier", count.error().code);
        if (count.value() <= most)
            return Nothing{};
        ::usleep(kPauseUs);
    }
    return refused("THREADS", "this process has more than one thread");
}

// Has a channel's driver watch what its handlers want, with the notifier that
// is in place now; or nothing. A channel without a descriptor needs no notifier,
// and may be a script's: that is not bothered.
void watchChannel(Tcl_Channel channel, bool watch) {
    if (!descriptorOf(channel, TCL_READABLE) && !descriptorOf(channel, TCL_WRITABLE))
        return;
    const Tcl_Channel top = Tcl_GetTopChannel(channel);
    if (!watch) {
        Tcl_ChannelWatchProc(Tcl_GetChannelType(top))(Tcl_GetChannelInstanceData(top), 0);
        return;
    }
    // Adding a handler, even one for nothing, makes Tcl tell the driver anew.
    const auto nothing = [](void *, int) {};
    Tcl_CreateChannelHandler(top, 0, nothing, nullptr);
    Tcl_DeleteChannelHandler(top, nothing, nullptr);
}

// Runs `change` between the time when everything was taken out of the old
// notifier and the time when it is put into the new one.
void changeNotifier(Tcl_Interp *interp, void (*change)()) {
    const std::map<int, FileHandler> own = ownHandlers;
    forEachChannel(interp, [](Tcl_Interp *, Tcl_Channel channel) { watchChannel(channel, false); });
    for (const auto &[fd, handler] : own)
        Tcl_DeleteFileHandler(fd);
    change();
    for (const auto &[fd, handler] : own)
        Tcl_CreateFileHandler(fd, handler.mask, handler.proc, handler.clientData);
    forEachChannel(interp, [](Tcl_Interp *, Tcl_Channel channel) { watchChannel(channel, true); });
}

// Events that Tcl's own notifier has queued and not yet served call the
// parent's handlers. Tcl 8.6 finds no handler any more once it is deleted;
// in Tcl 9 deleting one would take it out of the epoll instance that the
// parent waits on, so there the queued events are dropped instead, known by
// their procedure.

#if TCL_MAJOR_VERSION < 9

constexpr int kSelectLimit = 1024; // what Tcl 8.6's notifier can watch

void dropInheritedHandlers() {
    for (int fd = 0; fd < kSelectLimit; ++fd)
        Tcl_DeleteFileHandler(fd);
}

// The open ends of pipes: descriptor -> the pipe that it belongs to.
Result<std::map<int, ino_t>> pipeEnds() {
    std::map<int, ino_t> ends;
    struct stat info;
    for (int fd = 0; fd < kSelectLimit; ++fd) {
        if (::fstat(fd, &info) == 0) {
            if (S_ISFIFO(info.st_mode))
                ends[fd] = info.st_ino;
        } else if (errno != EBADF) {
            return systemError("fstat");
        }
    }
    return ends;
}

// Those that the thread's end may change. None are looked for where threads of the
// user's may close an end of their own meanwhile.
Result<std::map<int, ino_t>> notifierPipeEnds() {
    const Result<bool> alone = othersWaitInSelect();
    if (!alone)
        return alone.error();
    return alone.value() ? pipeEnds() : std::map<int, ino_t>();
}

// The thread, on its way out, forgets the number of the pipe's other end,
// sometimes before Tcl_FinalizeNotifier has closed it. Nobody else has it.
void closeNotifierPipe(const std::map<int, ino_t> &before) {
    struct stat info;
    for (const auto &[closed, pipe] : before) {
        if (::fstat(closed, &info) == 0 || errno != EBADF)
            continue;
        for (const auto &[fd, other] : before)
            if (other == pipe && ::fstat(fd, &info) == 0 && info.st_ino == pipe)
                const UniqueFd forgotten(fd);
    }
}

#else

std::atomic<Tcl_EventProc *> tclFileEventProc{nullptr};

int noteEventProc(Tcl_Event *event, void *procs) {
    static_cast<std::vector<Tcl_EventProc *> *>(procs)->push_back(event->proc);
    return 0; // keep it
}

std::vector<Tcl_EventProc *> queuedEventProcs() {
    std::vector<Tcl_EventProc *> procs;
    Tcl_DeleteEvents(noteEventProc, &procs);
    return procs;
}

int isTclFileEvent(Tcl_Event *event, void *) {
    return event->proc == tclFileEventProc;
}

void dropInheritedHandlers() {
    Tcl_DeleteEvents(isTclFileEvent, nullptr);
}

// Makes Tcl queue a file event, to see which procedure serves it.
void learnFileEventProc() {
    Result<SignalPipe> probe = openSignalPipe();
    const char byte = 0;
    if (!probe || ::write(probe.value().writer.get(), &byte, 1) != 1)
        return;
    const int fd = probe.value().reader.get();
    const Tcl_Time noWait{0, 0};
    const size_t before = queuedEventProcs().size();
    Tcl_CreateFileHandler(
        fd, TCL_READABLE, [](void *, int) {}, nullptr);
    Tcl_WaitForEvent(&noWait);
    Tcl_DeleteFileHandler(fd);
    const auto after = queuedEventProcs();
    if (after.size() > before)
        tclFileEventProc = after.back();
}

#endif

} // namespace

void prepareChildNotifier() {
#if TCL_MAJOR_VERSION >= 9
    if (!installed && !tclFileEventProc)
        learnFileEventProc();
#endif
}

void watchFile(int fd, int mask, Tcl_FileProc *proc, void *clientData) {
    ownHandlers[fd] = FileHandler{mask, 0, proc, clientData};
    Tcl_CreateFileHandler(fd, mask, proc, clientData);
}

void forgetFile(int fd) {
    ownHandlers.erase(fd);
    Tcl_DeleteFileHandler(fd);
}

const char *notifierName() {
    return installed ? Poller::method() : "default";
}

Status useOwnNotifier(Tcl_Interp *interp) {
    if (installed)
        return Nothing{};
    Status status = checkChannels(interp);
    if (status)
        status = checkThreads(2); // one may be the notifier's
    if (status)
        status = stopNotifierThread();
    if (status)
        status = checkThreads(1);
    if (!status)
        return status;
    changeNotifier(interp, [] {
        installer = &notifier();
        install();
    });
    return Nothing{};
}

Status useDefaultNotifier(Tcl_Interp *interp) {
    if (!installed)
        return Nothing{};
    if (forked)
        return refused("FORKED", "Tcl's own one is its parent's in a forked process");
    Status status = checkChannels(interp);
    if (status)
        status = checkThreads(1);
    if (!status)
        return status;
    changeNotifier(interp, [] {
        Tcl_NotifierProcs tclsOwn{};
        Tcl_SetNotifier(&tclsOwn);
        threadNotifier.reset();
        initialized.clear();
        installer = nullptr;
        installed = false;
    });
    return Nothing{};
}

void wakeOneFor(int fd) {
    if (installed)
        notifier().poller.wakeOne(fd);
}

bool wakesOnlyOne() {
    return installed && Poller::wakesOnlyOne();
}

Status stopNotifierThread() {
#if TCL_MAJOR_VERSION < 9
    // The last user of the notifier ends its thread. File handlers stay.
    if (!installed) {
        const Result<std::map<int, ino_t>> before = notifierPipeEnds();
        if (!before)
            return systemError("couldn't stop Tcl's notifier thread", before.error().code);
        Tcl_FinalizeNotifier(nullptr);
        closeNotifierPipe(before.value());
        Tcl_InitNotifier();
    }
#endif
    return Nothing{};
}

void startChildNotifier() {
    // A lock held by a thread of the parent is held for ever here.
    new (&alertMutex) std::mutex;
    threadNotifier.reset();
    initialized.clear();
    if (!installed)
        dropInheritedHandlers();
    ownHandlers.clear();
    forked = true;
    installer = &notifier();
    if (!installed)
        install();
}

} // namespace uds
