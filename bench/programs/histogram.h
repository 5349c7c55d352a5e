// histogram.h: many times, in little memory.

#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>

// Counts of microseconds, 32 ranges for each power of two: the width of a range is at
// most 3% of its values.
class Histogram {
public:
    static constexpr size_t kSteps = 32;
    static constexpr size_t kRanges = kSteps * 28;

    void add(uint64_t value) {
        ++counts_[rangeOf(value)];
        ++total_;
        largest_ = std::max(largest_, value);
    }

    void add(const Histogram &other) {
        for (size_t i = 0; i < kRanges; ++i)
            counts_[i] += other.counts_[i];
        total_ += other.total_;
        largest_ = std::max(largest_, other.largest_);
    }

    // The middle of the range that holds it.
    uint64_t quantile(double share) const {
        const auto wanted = static_cast<uint64_t>(share * static_cast<double>(total_));
        uint64_t seen = 0;
        for (size_t i = 0; i < kRanges; ++i) {
            seen += counts_[i];
            if (seen > wanted)
                return std::min((lowestOf(i) + lowestOf(i + 1)) / 2, largest_);
        }
        return largest_;
    }

    uint64_t total() const { return total_; }
    uint64_t largest() const { return largest_; }

    // Each four ranges together: a chart needs no more.
    void print() const {
        const char *separator = "";
        for (size_t i = 0; i < kRanges; i += 4) {
            const uint64_t count = counts_[i] + counts_[i + 1] + counts_[i + 2] + counts_[i + 3];
            if (count == 0)
                continue;
            printf("%s[%llu, %llu]", separator, static_cast<unsigned long long>(lowestOf(i)),
                   static_cast<unsigned long long>(count));
            separator = ", ";
        }
    }

private:
    static size_t rangeOf(uint64_t value) {
        if (value < kSteps)
            return static_cast<size_t>(value);
        const auto shift = static_cast<size_t>(58 - __builtin_clzll(value));
        return std::min(shift * kSteps + static_cast<size_t>(value >> shift), kRanges - 1);
    }

    static uint64_t lowestOf(size_t range) {
        if (range < 2 * kSteps)
            return range;
        const size_t shift = range / kSteps - 1;
        return static_cast<uint64_t>(range - shift * kSteps) << shift;
    }

    uint64_t counts_[kRanges]{};
    uint64_t total_ = 0;
    uint64_t largest_ = 0;
};

#endif
