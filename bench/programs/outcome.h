// outcome.h: what a program that loads a server has seen, and how it tells it.

#ifndef BENCH_OUTCOME_H
#define BENCH_OUTCOME_H

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

struct Outcome {
    uint64_t answered = 0;
    std::map<std::string, uint64_t> errors;
    // Name -> microseconds, one for each answer.
    std::map<std::string, std::vector<int64_t>> times;
};

inline int64_t percentile(const std::vector<int64_t> &sorted, double share) {
    if (sorted.empty())
        return 0;
    return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

// As one line of JSON. `cpu` is the share of one processor that was used.
inline void print(Outcome &outcome, double seconds, double cpu) {
    printf("{\"answered\": %llu, \"seconds\": %.4f, \"cpu\": %.3f, \"errors\": {",
           static_cast<unsigned long long>(outcome.answered), seconds, cpu);
    const char *separator = "";
    for (const auto &[kind, count] : outcome.errors) {
        printf("%s\"%s\": %llu", separator, kind.c_str(), static_cast<unsigned long long>(count));
        separator = ", ";
    }
    printf("}");
    for (auto &[name, values] : outcome.times) {
        std::sort(values.begin(), values.end());
        for (const auto &[title, share] :
             {std::pair<const char *, double>{"50", 0.5}, {"99", 0.99}, {"999", 0.999}, {"max", 1}})
            printf(", \"%s%s\": %lld", name.c_str(), title,
                   static_cast<long long>(percentile(values, share)));
    }
    printf("}\n");
    fflush(stdout);
}

#endif
