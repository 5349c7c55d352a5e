#include "tcl_tracking.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>

namespace uds {

namespace {

constexpr int kLongestLookMs = 50;

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

bool isNonBlocking(Tcl_Channel channel) {
    Tcl_DString value;
    Tcl_DStringInit(&value);
    const bool known = Tcl_GetChannelOption(nullptr, channel, "-blocking", &value) == TCL_OK;
    const bool is = known && Tcl_DStringValue(&value)[0] == '0';
    Tcl_DStringFree(&value);
    return is;
}

// The descriptor that Tcl will go on writing to after the channel is closed; -1
// if it will not.
int descriptorToFlush(Tcl_Channel channel) {
    ClientData handle = nullptr;
    if (Tcl_OutputBuffered(channel) == 0 || !isNonBlocking(channel) ||
        Tcl_GetChannelHandle(channel, TCL_WRITABLE, &handle) != TCL_OK)
        return -1;
    return static_cast<int>(reinterpret_cast<intptr_t>(handle));
}

} // namespace

struct ChannelTracking::Tracked {
    std::shared_ptr<Numbers> numbers;
    int number;
    std::function<void(int)> closed;
    Tcl_Channel channel; // until it is closed
    // From then on, while Tcl still writes.
    int fd = -1;
    std::optional<FileId> file = std::nullopt;
    int lookMs = 1;
};

void ChannelTracking::onClose(void *tracked) {
    auto *own = static_cast<Tracked *>(tracked);
    own->fd = descriptorToFlush(own->channel);
    if (own->fd >= 0)
        own->file = fileId(own->fd);
    if (own->file)
        Tcl_CreateTimerHandler(0, onTimer, own);
    else
        finish(own);
}

// Tcl closes the descriptor once all is written, and tells nobody.
void ChannelTracking::onTimer(void *tracked) {
    auto *own = static_cast<Tracked *>(tracked);
    if (fileId(own->fd) == own->file) {
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

int ChannelTracking::track(Tcl_Channel channel, std::function<void(int)> closed) {
    const int number = next_++;
    auto tracked = std::make_unique<Tracked>(Tracked{numbers_, number, std::move(closed), channel});
    Tcl_CreateCloseHandler(channel, onClose, tracked.release()); // freed by finish
    const std::lock_guard<std::mutex> lock(numbers_->mutex);
    numbers_->open.insert(number);
    return number;
}

bool ChannelTracking::isOpen(int number) const {
    const std::lock_guard<std::mutex> lock(numbers_->mutex);
    return numbers_->open.count(number) > 0;
}

int ChannelTracking::countOpen() const {
    const std::lock_guard<std::mutex> lock(numbers_->mutex);
    return static_cast<int>(numbers_->open.size());
}

} // namespace uds
