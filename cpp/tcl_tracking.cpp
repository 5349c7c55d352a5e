#include "tcl_tracking.h"

#include "tcl_adopt.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <utility>

namespace uds {

namespace {

constexpr int kLongestLookMs = 50;
constexpr int kSweepMs = 250;
// Looked at in one sweep: ten thousands of idle connections are not to cost anything.
constexpr size_t kSweepMost = 256;

// A file as fstat knows it.
struct FileId {
    dev_t device;
    ino_t number;
    bool operator==(const FileId &other) const {
        return device == other.device && number == other.number;
    }
};

std::optional<FileId> fileId(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) < 0)
        return std::nullopt;
    return FileId{status.st_dev, status.st_ino};
}

} // namespace

struct ChannelTracking::Tracked {
    std::shared_ptr<Numbers> numbers;
    int number;
    std::function<void(int)> closed;
    Tcl_Channel channel; // null once its close handler has run
    std::string name;
    int fd;
    std::optional<FileId> file;
    int lookMs = 1;
};

thread_local std::vector<ChannelTracking::Tracked *> ChannelTracking::closing_;

// Tcl writes what is left after this handler has run, blocking or not.
void ChannelTracking::onClose(void *tracked) {
    auto *own = static_cast<Tracked *>(tracked);
    const bool flushes = Tcl_OutputBuffered(own->channel) > 0;
    {
        const std::lock_guard<std::mutex> lock(own->numbers->mutex);
        own->channel = nullptr;
    }
    if (flushes)
        lookNext(own);
    else
        finish(own);
}

// Most often Tcl writes all of it before it returns to the script. That is seen
// before any other event: a process that is killed meanwhile has served it.
void ChannelTracking::lookNext(Tracked *tracked) {
    closing_.push_back(tracked);
    auto *event = reinterpret_cast<Tcl_Event *>(Tcl_Alloc(sizeof(Tcl_Event)));
    event->proc = [](Tcl_Event *, int) {
        lookNow();
        return 1;
    };
    Tcl_QueueEvent(event, TCL_QUEUE_HEAD);
}

void ChannelTracking::lookNow() {
    for (Tracked *tracked : std::exchange(closing_, {}))
        onTimer(tracked);
}

// Tcl closes the descriptor once all is written, and tells nobody.
void ChannelTracking::onTimer(void *tracked) {
    auto *own = static_cast<Tracked *>(tracked);
    if (own->file && fileId(own->fd) == own->file) {
        Tcl_CreateTimerHandler(own->lookMs, onTimer, own);
        own->lookMs = std::min(2 * own->lookMs, kLongestLookMs);
    } else {
        finish(own);
    }
}

void ChannelTracking::finish(Tracked *tracked) {
    const std::unique_ptr<Tracked> own(tracked);
    {
        const std::lock_guard<std::mutex> lock(own->numbers->mutex);
        own->numbers->open.erase(own->number);
    }
    if (own->closed)
        own->closed(own->number);
}

// Tcl runs no close handler for a channel that is unregistered while its output
// is being written in the background.
void ChannelTracking::onSweep(void *tracking) {
    auto *own = static_cast<ChannelTracking *>(tracking);
    own->sweep_ = nullptr;
    for (Tracked *tracked : own->ended())
        finish(tracked);
    if (own->countOpen() > 0)
        own->sweep_ = Tcl_CreateTimerHandler(kSweepMs, onSweep, own);
}

// Neither registered here any more nor open anywhere in this process: a channel
// that has moved to another thread has its descriptor still.
// Goes on behind those that it looked at the last time.
std::vector<ChannelTracking::Tracked *> ChannelTracking::ended() {
    std::vector<Tracked *> found;
    const Tcl_InterpState state = Tcl_SaveInterpState(interp_, TCL_OK);
    {
        const std::lock_guard<std::mutex> lock(numbers_->mutex);
        const auto &open = numbers_->open;
        auto next = open.upper_bound(swept_);
        for (size_t left = std::min(kSweepMost, open.size()); left > 0; --left, ++next) {
            if (next == open.end())
                next = open.begin();
            Tracked *tracked = next->second;
            swept_ = next->first;
            if (tracked->channel &&
                Tcl_GetChannel(interp_, tracked->name.c_str(), nullptr) != tracked->channel &&
                !(fileId(tracked->fd) == tracked->file))
                found.push_back(tracked);
        }
    }
    Tcl_RestoreInterpState(interp_, state);
    return found;
}

ChannelTracking::~ChannelTracking() {
    Tcl_DeleteTimerHandler(sweep_);
}

int ChannelTracking::track(Tcl_Channel channel, std::function<void(int)> closed) {
    const int number = next_++;
    const int fd = descriptorOf(channel, TCL_WRITABLE).value_or(-1);
    auto *tracked =
        new Tracked{numbers_, number,    std::move(closed), channel, Tcl_GetChannelName(channel),
                    fd,       fileId(fd)}; // freed by finish
    Tcl_CreateCloseHandler(channel, onClose, tracked);
    if (interp_ && !sweep_)
        sweep_ = Tcl_CreateTimerHandler(kSweepMs, onSweep, this);
    const std::lock_guard<std::mutex> lock(numbers_->mutex);
    numbers_->open[number] = tracked;
    return number;
}

bool ChannelTracking::isOpen(int number) const {
    lookNow();
    const std::lock_guard<std::mutex> lock(numbers_->mutex);
    return numbers_->open.count(number) > 0;
}

std::optional<int> ChannelTracking::descriptor(int number) const {
    const std::lock_guard<std::mutex> lock(numbers_->mutex);
    const auto found = numbers_->open.find(number);
    if (found == numbers_->open.end())
        return std::nullopt;
    const Tracked &tracked = *found->second;
    return tracked.file && fileId(tracked.fd) == tracked.file ? std::optional(tracked.fd)
                                                              : std::nullopt;
}

int ChannelTracking::countOpen() const {
    lookNow();
    const std::lock_guard<std::mutex> lock(numbers_->mutex);
    return static_cast<int>(numbers_->open.size());
}

} // namespace uds
