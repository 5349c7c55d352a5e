// Channel names, unique in the process: channels move between threads.
#ifndef UDS_TCL_NAMES_H
#define UDS_TCL_NAMES_H

#include <atomic>
#include <string>

namespace uds {

inline std::string nextChannelName(const char *prefix) {
    static std::atomic<unsigned> count{0};
    return prefix + std::to_string(count++);
}

} // namespace uds

#endif
