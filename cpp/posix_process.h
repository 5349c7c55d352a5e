// Processes: fork, wait, kill, and descriptors that tell of an exit.
#ifndef UDS_POSIX_PROCESS_H
#define UDS_POSIX_PROCESS_H

#include "posix_fd.h"

#include <sys/types.h>

#include <optional>
#include <string>

namespace uds {

// 0 in the child. All signals stay blocked in the child, so that none runs a
// handler of the parent's there, until unblockSignals().
Result<pid_t> forkBlocked();
void unblockSignals();

// How a process ended.
struct ExitStatus {
    bool signalled = false;
    int number = 0;           // exit code or signal
    std::string text() const; // "exit 3" or "signal SIGKILL"
};

// Waits for this child only: the statuses of others belong to others.
// Blocks unless noHang, which gives nullopt while the child runs.
Result<std::optional<ExitStatus>> waitFor(pid_t pid, bool noHang);

// Ok if pid is a child of ours that has not been waited for.
Status checkChild(pid_t pid);

Status sendSignal(pid_t pid, int signal);

// Whether a thread of this process waits in select(2) without a time limit.
// False where the system does not tell.
bool waitsInSelect(pid_t thread);

// Whether that is so for all threads but the calling one. Fails when the system has
// nothing left to find out with.
Result<bool> othersWaitInSelect();

// How many threads this process has; 0 where the system does not tell. Fails likewise.
Result<int> threadCount();

// What others can change in this process at any time, and a fork hands on: limits,
// priority, processors. Of use only to be compared.
std::string changeableByOthers();

// Standard output and error of this process are appended to a file from now on.
Status redirectOutput(const std::string &path);

// Readable once the process has ended. ENOSYS where the system has none.
Result<UniqueFd> openPidfd(pid_t pid);

} // namespace uds

#endif
