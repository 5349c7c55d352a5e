// Which of some channels are still open, known even when their names are
// given to others afterwards.
#ifndef UDS_TCL_TRACKING_H
#define UDS_TCL_TRACKING_H

#include <tcl.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace uds {

class ChannelTracking {
public:
    // With an interpreter, also channels whose end Tcl tells nobody are seen to be
    // closed, a moment later: those that were unregistered from it while Tcl was
    // writing what they had buffered.
    explicit ChannelTracking(Tcl_Interp *interp = nullptr) : interp_(interp) {}
    ~ChannelTracking();
    ChannelTracking(const ChannelTracking &) = delete;
    ChannelTracking &operator=(const ChannelTracking &) = delete;

    // The number stands for this channel until it is closed, and what was written
    // to it has been sent. `closed` is called with it then, in the thread that
    // closes, also in a forked child.
    int track(Tcl_Channel channel, std::function<void(int)> closed = nullptr);
    bool isOpen(int number) const;
    // Also of one that is closed for scripts, while its last output is being sent.
    std::optional<int> descriptor(int number) const;
    int countOpen() const;
    // For who has called a script that may have closed some, in this thread: what
    // became of them would be seen in the event loop.
    static void lookNow();

private:
    // A tracked channel may move to another thread and be closed there, or
    // outlive the interpreter: both sides share this.
    struct Tracked;
    struct Numbers {
        std::mutex mutex;
        std::map<int, Tracked *> open;
    };
    static void onClose(void *tracked);
    static void lookNext(Tracked *tracked);
    static void onTimer(void *tracked);
    static void onSweep(void *tracking);
    static void finish(Tracked *tracked);
    std::vector<Tracked *> ended();

    // Closed for scripts in this thread, and not looked at since.
    static thread_local std::vector<Tracked *> closing_;

    Tcl_Interp *interp_;
    Tcl_TimerToken sweep_ = nullptr;
    int swept_ = -1; // the number up to which the last sweep looked
    std::shared_ptr<Numbers> numbers_ = std::make_shared<Numbers>();
    int next_ = 0;
};

} // namespace uds

#endif
