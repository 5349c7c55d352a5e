#include "tcl_tracking.h"

namespace uds {

struct ChannelTracking::Tracked {
    std::shared_ptr<Numbers> numbers;
    int number;
    std::function<void(int)> closed;
};

void ChannelTracking::onClose(void *tracked) {
    const std::unique_ptr<Tracked> own(static_cast<Tracked *>(tracked));
    {
        const std::lock_guard<std::mutex> lock(own->numbers->mutex);
        own->numbers->open.erase(own->number);
    }
    if (own->closed)
        own->closed(own->number);
}

int ChannelTracking::track(Tcl_Channel channel, std::function<void(int)> closed) {
    const int number = next_++;
    auto tracked = std::make_unique<Tracked>(Tracked{numbers_, number, std::move(closed)});
    Tcl_CreateCloseHandler(channel, onClose, tracked.release()); // freed by onClose
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
