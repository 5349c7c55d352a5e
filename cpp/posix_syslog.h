// Messages for the system's log, see syslog(3). May block while the log
// service does not take messages. The connection is the C library's and one
// for the process; a forked child goes on using it.
#ifndef UDS_POSIX_SYSLOG_H
#define UDS_POSIX_SYSLOG_H

#include "posix_identity.h"

#include <string>

namespace uds {

extern const NamedNumber kLogLevels[]; // those of tcllib's logger, and those of syslog
extern const NamedNumber kLogFacilities[];

// Each line is a message of its own; an empty one is none. Long lines go in
// several. Control characters, NUL among them, are written as "#" and three
// octal digits. Nobody tells whether somebody has received it.
void logToSystem(const std::string &ident, int facility, int level, const std::string &text);

} // namespace uds

#endif
