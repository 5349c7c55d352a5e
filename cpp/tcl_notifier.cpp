#include "tcl_notifier.h"

#include "posix_poller.h"
#include "posix_signal.h"

#include <tcl.h>

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <climits>
#include <memory>
#include <mutex>
#include <unordered_map>
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
    SignalPipe alert; // a byte in it ends the wait
};

thread_local std::unique_ptr<Notifier> threadNotifier;

// The threads whose notifier this is: Tcl alerts them by the pointer that
// the init procedure returned. The thread that installed us has its pointer
// from Tcl's own notifier, and is the one meant by an unknown pointer.
std::mutex alertMutex;
std::unordered_map<void *, int> alertWriters;
int installerWriter = -1;
bool installed = false;

short pollEvents(int mask) {
    return static_cast<short>(((mask & TCL_READABLE) ? POLLIN : 0) |
                              ((mask & TCL_WRITABLE) ? POLLOUT : 0) |
                              ((mask & TCL_EXCEPTION) ? POLLPRI : 0));
}

int tclMask(short events) {
    return ((events & POLLIN) ? TCL_READABLE : 0) | ((events & POLLOUT) ? TCL_WRITABLE : 0) |
           ((events & POLLPRI) ? TCL_EXCEPTION : 0);
}

Notifier &notifier() {
    if (threadNotifier)
        return *threadNotifier;
    threadNotifier = std::make_unique<Notifier>();
    Result<SignalPipe> alert = openSignalPipe();
    if (!alert)
        Tcl_Panic("couldn't make the notifier's pipe: %s", Tcl_ErrnoMsg(alert.error().code));
    threadNotifier->alert = std::move(alert.value());
    threadNotifier->poller.watch(threadNotifier->alert.reader.get(), POLLIN);
    return *threadNotifier;
}

struct FileEvent {
    Tcl_Event header;
    int fd;
};

int serveFileEvent(Tcl_Event *event, int flags) {
    if ((flags & TCL_FILE_EVENTS) == 0)
        return 0;
    // The handler may have been replaced or deleted since the event was queued.
    const auto found = notifier().handlers.find(reinterpret_cast<FileEvent *>(event)->fd);
    if (found == notifier().handlers.end())
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
    if (notifier().handlers.erase(fd) > 0)
        notifier().poller.forget(fd);
}

void setTimer(const Tcl_Time *) {
    // Only for notifiers inside a foreign event loop: Tcl's own passes the
    // time of its next timer to waitForEvent.
}

void serviceModeHook(int) {}

void *initNotifier() {
    Notifier &own = notifier();
    const std::lock_guard<std::mutex> lock(alertMutex);
    alertWriters[&own] = own.alert.writer.get();
    return &own;
}

void finalizeNotifier(void *clientData) {
    const std::lock_guard<std::mutex> lock(alertMutex);
    if (alertWriters.erase(clientData) == 0)
        installerWriter = -1;
    threadNotifier.reset();
}

void alertNotifier(void *clientData) {
    const std::lock_guard<std::mutex> lock(alertMutex);
    const auto found = alertWriters.find(clientData);
    const int writer = found == alertWriters.end() ? installerWriter : found->second;
    const char byte = 0;
    // A full pipe wakes the thread as well.
    if (writer >= 0 && ::write(writer, &byte, 1) < 0)
        return;
}

// For a fork that is not ours (TclX) in a process that uses this notifier:
// parent and child must not share an epoll instance.
void unshareAfterFork() {
    if (!threadNotifier)
        return;
    Notifier &own = *threadNotifier;
    own.poller.reset(true);
    own.poller.forget(own.alert.reader.get());
    Result<SignalPipe> alert = openSignalPipe();
    if (!alert)
        return;
    own.alert = std::move(alert.value());
    own.poller.watch(own.alert.reader.get(), POLLIN);
    for (auto &[clientData, writer] : alertWriters)
        writer = own.alert.writer.get(); // the child has this one thread
    installerWriter = own.alert.writer.get();
}

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
    ::pthread_atfork(nullptr, nullptr, unshareAfterFork);
    installed = true;
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

#else

Tcl_EventProc *tclFileEventProc = nullptr;

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

void startChildNotifier() {
    // A lock held by a thread of the parent is held for ever here.
    new (&alertMutex) std::mutex;
    threadNotifier.reset();
    alertWriters.clear();
    if (!installed)
        dropInheritedHandlers();
    installerWriter = notifier().alert.writer.get();
    if (!installed)
        install();
}

} // namespace uds
