// Counters that the processes of a pool share: memory that is mapped before
// the first fork, with a slot for each worker. Only a slot's own process
// writes it while that process lives; the parent reads, and folds the slot of
// a process that has ended into slot 0, which is the sum of the past.
#ifndef UDS_POSIX_SCOREBOARD_H
#define UDS_POSIX_SCOREBOARD_H

#include "posix_fd.h"
#include "posix_signal.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace uds {

// How often each duration was seen, to an eighth of its size.
constexpr size_t kWaitBuckets = 320;
size_t waitBucket(uint64_t micros);
uint64_t waitOfBucket(size_t bucket); // its middle

struct Slot {
    std::atomic<uint64_t> taken;      // connections out of the queue
    std::atomic<uint64_t> done;       // of these, closed
    std::atomic<uint64_t> waitMicros; // time in the queue of all taken
    std::atomic<uint64_t> beatMicros; // when its event loop turned last
    std::atomic<uint32_t> taking;     // between looking into the queue and counting
    std::array<std::atomic<uint32_t>, kWaitBuckets> waits;
};

class Scoreboard {
public:
    static Result<Scoreboard> open(int slots);
    Scoreboard(Scoreboard &&other) noexcept;
    Scoreboard &operator=(Scoreboard &&) = delete;
    ~Scoreboard();

    int size() const { return slots_; }
    // Slots up to the last that a worker has had.
    int used() const;
    void use(int number) const;
    Slot &slot(int number) const;
    void fold(int number) const;

    // What the parent wants to be woken for. A worker that does it says so
    // once; the parent asks again when it wants to hear of the next.
    enum Wake : uint32_t { kOnTake = 1, kOnDone = 2 };
    void ask(uint32_t wakes) const;
    void tell(Wake what) const;
    // Readable after a tell; the caller's from now on.
    UniqueFd takeWakeReader() { return std::move(pipe_.reader); }

private:
    struct Header;
    Scoreboard(void *memory, size_t size, int slots, SignalPipe pipe);
    Header &header() const;

    void *memory_ = nullptr;
    size_t bytes_ = 0;
    int slots_ = 0;
    SignalPipe pipe_;
};

// What all slots say together.
struct Totals {
    uint64_t taken = 0, done = 0, waitMicros = 0;
    int taking = 0; // slots whose counts may be behind the queue
};
Totals totalsOf(const Scoreboard &board);
// How many connections more this slot's worker has than the one with the fewest, of
// some that are looked at, others each time.
uint64_t leadOf(const Scoreboard &board, int number);
// How long connections waited in the queue: at most so long for each of these
// shares (0.5 for the median) of them.
std::vector<uint64_t> waitsOf(const Scoreboard &board, const std::vector<double> &shares);

// Called by the worker. A connection that has left the queue and is not counted yet
// is lost if the worker is killed: the parent is to know of the possibility.
class Taking {
public:
    explicit Taking(Slot &slot) : slot_(slot) { slot_.taking = 1; }
    ~Taking() { slot_.taking = 0; }
    Taking(const Taking &) = delete;
    Taking &operator=(const Taking &) = delete;

private:
    Slot &slot_;
};
void noteTaken(const Scoreboard &board, Slot &slot, uint64_t waitedMicros);
void noteDone(const Scoreboard &board, Slot &slot);
void noteBeat(Slot &slot);

} // namespace uds

#endif
