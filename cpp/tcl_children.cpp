#include "tcl_children.h"

#include "tcl_interp.h"
#include "tcl_notifier.h"

#include <optional>

namespace uds {

namespace {

// How often to look at children where the system has no pidfd.
constexpr int kPollMs = 20;

} // namespace

struct ChildWatch::Child {
    ChildWatch *watch;
    pid_t pid;
    ObjRef command;
    UniqueFd pidfd;
    Tcl_TimerToken timer = nullptr;
    std::optional<ExitStatus> status; // known before the callback was due
};

ChildWatch::ChildWatch(Tcl_Interp *interp) : interp_(interp) {}

ChildWatch::~ChildWatch() {
    forgetAll();
}

Status ChildWatch::set(pid_t pid, ObjRef command) {
    const auto known = children_.find(pid);
    if (known != children_.end()) {
        known->second->command = std::move(command);
        return Nothing{};
    }
    Status status = checkChild(pid);
    if (!status)
        return status;
    Result<UniqueFd> pidfd = openPidfd(pid);
    if (!pidfd && pidfd.error().code != ENOSYS)
        return pidfd.error();
    auto &child = children_[pid];
    child.reset(new Child{this, pid, std::move(command), UniqueFd(), nullptr, std::nullopt});
    if (pidfd) {
        child->pidfd = std::move(pidfd.value());
        watchFile(child->pidfd.get(), TCL_READABLE, onReadable, child.get());
    } else {
        startTimer(*child, kPollMs);
    }
    return Nothing{};
}

void ChildWatch::startTimer(Child &child, int ms) {
    child.timer = Tcl_CreateTimerHandler(ms, onTimer, &child);
}

void ChildWatch::stopWatching(Child &child) {
    if (child.pidfd)
        forgetFile(child.pidfd.get());
    child.pidfd.reset();
    Tcl_DeleteTimerHandler(child.timer);
    child.timer = nullptr;
}

void ChildWatch::remove(pid_t pid) {
    const auto found = children_.find(pid);
    if (found == children_.end())
        return;
    stopWatching(*found->second);
    children_.erase(found);
}

ObjRef ChildWatch::get(pid_t pid) const {
    const auto found = children_.find(pid);
    return found == children_.end() ? ObjRef() : found->second->command;
}

std::vector<pid_t> ChildWatch::watched() const {
    std::vector<pid_t> pids;
    for (const auto &[pid, child] : children_)
        pids.push_back(pid);
    return pids;
}

void ChildWatch::ended(pid_t pid, const ExitStatus &status) {
    const auto found = children_.find(pid);
    if (found == children_.end())
        return;
    Child &child = *found->second;
    stopWatching(child);
    child.status = status;
    startTimer(child, 0);
}

void ChildWatch::forgetAll() {
    while (!children_.empty())
        remove(children_.begin()->first);
}

void ChildWatch::onReadable(void *child, int) {
    auto *own = static_cast<Child *>(child);
    ChildWatch *watch = own->watch;
    const pid_t pid = own->pid;
    dataOf(watch->interp_); // in a forked child: forgets the parent's children
    if (watch->children_.count(pid) > 0)
        watch->reap(*own);
}

void ChildWatch::onTimer(void *child) {
    auto *own = static_cast<Child *>(child);
    own->timer = nullptr;
    own->watch->reap(*own);
}

void ChildWatch::reap(Child &child) {
    if (!child.status) {
        Result<std::optional<ExitStatus>> waited = waitFor(child.pid, true);
        if (waited && !waited.value()) {
            if (!child.pidfd)
                startTimer(child, kPollMs);
            return;
        }
        // Another part of the program reaped it: its status is lost.
        child.status = waited ? waited.value() : ExitStatus{false, -1};
    }
    const ObjRef command = child.command;
    const ObjRef status(newString(child.status->text()));
    const ObjRef pid(Tcl_NewWideIntObj(child.pid));
    Tcl_Interp *interp = interp_;
    remove(child.pid);
    callBack(interp, command, {pid.get(), status.get()});
}

} // namespace uds
