// Messages to the service manager that started this process, see sd_notify(3).
#ifndef UDS_POSIX_NOTIFY_H
#define UDS_POSIX_NOTIFY_H

#include "posix_fd.h"

#include <sys/types.h>

#include <optional>
#include <string>

namespace uds {

// Sends the bytes to the socket that NOTIFY_SOCKET names, a path or an abstract
// name. False if the variable is not set. Does not block: EAGAIN while the
// manager does not take messages. With a pid the message counts as that
// process's, for which the system wants a privilege.
Result<bool> notifyManager(const std::string &state, std::optional<pid_t> pid);

} // namespace uds

#endif
