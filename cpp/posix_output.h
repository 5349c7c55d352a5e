// Files that a program appends its output to: standard output and error, and logs. They
// are opened by name again and again, often by root in a directory of the user that the
// program's workers run as.
#ifndef UDS_POSIX_OUTPUT_H
#define UDS_POSIX_OUTPUT_H

#include "posix_fd.h"

#include <sys/types.h>

#include <string>

namespace uds {

// Opens, and makes it if it is missing. A symbolic link in the place of the file is followed
// if it is root's or this user's: another user's would have this process write anywhere. A
// FIFO that nobody reads is ENXIO: opening does not wait.
Result<UniqueFd> openForAppending(const std::string &path);

// Gives the open file to a user, if it is this one's and a plain file without content: one
// with some may be another one, that the user has given this name. EMLINK if it has one
// more name, which may be that of a file of more importance.
Status giveTo(int fd, uid_t user);

} // namespace uds

#endif
