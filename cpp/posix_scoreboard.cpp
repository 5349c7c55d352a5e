#include "posix_scoreboard.h"

#include "posix_clock.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace uds {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
// Each is in a cache line of its own, which its worker writes to.
constexpr unsigned kMostLooks = 16;

} // namespace

struct Scoreboard::Header {
    std::atomic<uint32_t> wakes;
    std::atomic<int> last;
};

// Numbers below 8 have a bucket each; above, each power of two has eight.
size_t waitBucket(uint64_t micros) {
    size_t power = 0;
    while (micros >> power >= 16)
        ++power;
    const size_t bucket = power * 8 + static_cast<size_t>(micros >> power);
    return bucket < kWaitBuckets ? bucket : kWaitBuckets - 1;
}

uint64_t waitOfBucket(size_t bucket) {
    if (bucket < 16)
        return bucket;
    const size_t power = bucket / 8 - 1;
    const uint64_t least = static_cast<uint64_t>(bucket % 8 + 8) << power;
    return least + (uint64_t{1} << power) / 2;
}

Result<Scoreboard> Scoreboard::open(int slots) {
    Result<SignalPipe> pipe = openSignalPipe();
    if (!pipe)
        return pipe.error();
    const size_t bytes = alignof(Slot) * 8 + sizeof(Slot) * static_cast<size_t>(slots);
    // Anonymous memory is zero, which is what the atomics start with.
    void *memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return systemError("mmap");
    return Scoreboard(memory, bytes, slots, std::move(pipe.value()));
}

Scoreboard::Scoreboard(void *memory, size_t bytes, int slots, SignalPipe pipe)
    : memory_(memory), bytes_(bytes), slots_(slots), pipe_(std::move(pipe)) {}

Scoreboard::Scoreboard(Scoreboard &&other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), bytes_(other.bytes_), slots_(other.slots_),
      pipe_(std::move(other.pipe_)) {}

Scoreboard::~Scoreboard() {
    if (memory_)
        ::munmap(memory_, bytes_);
}

Scoreboard::Header &Scoreboard::header() const {
    return *static_cast<Header *>(memory_);
}

Slot &Scoreboard::slot(int number) const {
    char *first = static_cast<char *>(memory_) + alignof(Slot) * 8;
    return reinterpret_cast<Slot *>(first)[number];
}

// Any worker can write to the memory, also one that is in the hands of a client.
int Scoreboard::used() const {
    return std::clamp(header().last.load(), 0, slots_ - 1) + 1;
}

void Scoreboard::use(int number) const {
    int last = header().last.load();
    while (last < number && !header().last.compare_exchange_weak(last, number)) {
    }
}

void Scoreboard::fold(int number) const {
    Slot &from = slot(number);
    Slot &past = slot(0);
    past.taken += from.taken.exchange(0);
    past.done += from.done.exchange(0);
    past.waitMicros += from.waitMicros.exchange(0);
    from.beatMicros = 0;
    from.taking = 0;
    for (size_t i = 0; i < kWaitBuckets; ++i)
        past.waits[i] += from.waits[i].exchange(0);
}

void Scoreboard::ask(uint32_t wakes) const {
    header().wakes.fetch_or(wakes);
}

void Scoreboard::tell(Wake what) const {
    if ((header().wakes.load() & what) == 0)
        return;
    if ((header().wakes.fetch_and(~static_cast<uint32_t>(what)) & what) == 0)
        return; // another worker has told it
    const char byte = 0;
    if (retry([&] { return ::write(pipe_.writer.get(), &byte, 1); }) < 0)
        return; // full: the parent has not heard of the last ones yet
}

Totals totalsOf(const Scoreboard &board) {
    Totals totals;
    for (int i = 0; i < board.used(); ++i) {
        // In this order nothing is counted as done that is not counted as taken.
        totals.done += board.slot(i).done.load();
        totals.taken += board.slot(i).taken.load();
        totals.waitMicros += board.slot(i).waitMicros.load(kRelaxed);
        totals.taking += board.slot(i).taking.load() != 0;
    }
    return totals;
}

uint64_t leadOf(const Scoreboard &board, int number) {
    static std::atomic<unsigned> looks{0};
    const Slot &own = board.slot(number);
    const uint64_t mine = own.taken.load(kRelaxed) - own.done.load(kRelaxed);
    const auto workers = static_cast<unsigned>(board.used() - 1);
    const unsigned first = looks.fetch_add(kMostLooks, kRelaxed);
    uint64_t fewest = mine;
    for (unsigned i = 0; i < workers && i < kMostLooks; ++i) {
        const Slot &slot = board.slot(static_cast<int>(1 + (first + i) % workers));
        const uint64_t done = slot.done.load(kRelaxed);
        const uint64_t taken = slot.taken.load(kRelaxed);
        if (slot.beatMicros.load(kRelaxed) != 0 && taken - done < fewest)
            fewest = taken - done;
    }
    return mine - fewest;
}

std::vector<uint64_t> waitsOf(const Scoreboard &board, const std::vector<double> &shares) {
    std::array<uint64_t, kWaitBuckets> sums{};
    uint64_t all = 0;
    for (int i = 0; i < board.used(); ++i) {
        if (board.slot(i).taken.load(kRelaxed) == 0)
            continue;
        for (size_t bucket = 0; bucket < kWaitBuckets; ++bucket)
            sums[bucket] += board.slot(i).waits[bucket].load(kRelaxed);
    }
    for (uint64_t sum : sums)
        all += sum;
    std::vector<uint64_t> waits;
    for (double share : shares) {
        size_t bucket = 0;
        for (uint64_t seen = sums[0]; bucket + 1 < kWaitBuckets &&
                                      static_cast<double>(seen) < share * static_cast<double>(all);)
            seen += sums[++bucket];
        waits.push_back(waitOfBucket(bucket));
    }
    return waits;
}

void noteTaken(const Scoreboard &board, Slot &slot, uint64_t waitedMicros) {
    slot.beatMicros.store(monotonicMicros(), kRelaxed);
    slot.waitMicros.fetch_add(waitedMicros, kRelaxed);
    slot.waits[waitBucket(waitedMicros)].fetch_add(1, kRelaxed);
    slot.taken.fetch_add(1);
    board.tell(Scoreboard::kOnTake);
}

void noteDone(const Scoreboard &board, Slot &slot) {
    slot.done.fetch_add(1);
    board.tell(Scoreboard::kOnDone);
}

void noteBeat(Slot &slot) {
    slot.beatMicros.store(monotonicMicros(), kRelaxed);
}

} // namespace uds
