// Daemons: a process of its own session, the grandchild of the one that
// starts it, which hears whether the daemon got ready.
//
//   starter --fork--> watcher --setsid, fork--> daemon
//      ^------ outcome ---'  ^----- report -------'
//
// The watcher ends once the daemon has reported, and passes on how it ended
// if it did so before. It runs no Tcl. The starter opens all files, so that
// what is wrong with them is known before there is a process.
#ifndef UDS_POSIX_DAEMON_H
#define UDS_POSIX_DAEMON_H

#include "posix_process.h"

#include <optional>
#include <string>

namespace uds {

struct DaemonOptions {
    std::string directory; // all paths are absolute
    int mask = -1;         // -1: the starter's umask
    std::string pidFile;   // empty: none
    std::string output;    // empty: /dev/null
    std::string errors;    // likewise
};

// The lock (flock) is the daemon's for as long as it lives; its forked
// children let go of it. The holder's pid stands in the file.
struct PidLock {
    std::string path;
    UniqueFd fd;
};

struct DaemonPlan {
    int mask = -1;
    UniqueFd directory, input, output, errors;
    PidLock lock;
    // Somebody else has the lock: a pid, or 0 for one that has not told it.
    std::optional<pid_t> holder;
};

// Waits up to a second for another daemon with the same pid file that is just
// starting to tell its pid.
Result<DaemonPlan> planDaemon(const DaemonOptions &options);

struct DaemonOutcome {
    enum class Kind { Ready, Failed, Ended, Lost };
    Kind kind = Kind::Lost;
    pid_t pid = 0;
    ExitStatus status;   // Ended
    std::string message; // Failed
};

// Blocks until the daemon has reported or ended. Nullopt in the daemon, where
// all signals are blocked, as after forkBlocked().
Result<std::optional<DaemonOutcome>> startDaemon(DaemonPlan plan);

// For the daemon, once: it serves, or (failure) why it cannot. False if this
// process is no daemon or has reported already, or if nobody listens any more.
bool reportReady(const std::string *failure);

// For a process that is no daemon: its pid file from now on. The holder if
// somebody else has it; waits for its pid as planDaemon does.
Result<std::optional<pid_t>> takePidFile(const std::string &path);

// Removes the pid file, if this process is the one that wrote it and the file
// is still the same.
void removePidFile();

// How another program takes the pid file over. It gets a copy of the descriptor
// and holds it, so that the lock is both processes'. Then the first one disowns
// the file, and the other one owns it. Until then nothing has changed for the
// first one, should the other one end.

struct HeldPidFile {
    std::string path;
    int fd; // borrowed
};
std::optional<HeldPidFile> heldPidFile();
// For the copy; writes nothing yet. Forked children let go of it. After an error
// the caller still owns the descriptor.
Status holdPidFile(PidLock &lock);
// Writes this process's pid into the file that it holds.
Status ownPidFile();
// Closes it; the file stays.
void disownPidFile();

} // namespace uds

#endif
