// This process's number, without a system call for each look.
#ifndef UDS_POSIX_PID_H
#define UDS_POSIX_PID_H

#include <sys/types.h>

namespace uds {

// As getpid(2); right in a forked child too.
pid_t ownPid();

} // namespace uds

#endif
