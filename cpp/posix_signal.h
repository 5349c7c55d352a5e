// Signals as bytes in a pipe: the handler only writes the number, the event
// loop reads it. The table of caught signals is one for the process, because
// dispositions are.
#ifndef UDS_POSIX_SIGNAL_H
#define UDS_POSIX_SIGNAL_H

#include "posix_fd.h"

#include <string>
#include <vector>

namespace uds {

// "SIGTERM"; "SIGRTMIN+2" for a real-time signal.
std::string signalName(int signal);
// By name, with or without "SIG" in any case, or by number. 0 (which only
// tests that a process exists) is a signal here.
Result<int> parseSignal(const std::string &text);

// From now on `signal` writes a byte with its number to `pipe`, instead of
// what it did before. The last caller gets the signal.
Status catchSignal(int signal, int pipe);
// Brings back what the signal did before the first catchSignal(), if `pipe`
// still is where it goes.
void releaseSignal(int signal, int pipe);
// The same for all of them; done in every forked child. Async-signal-safe.
void releaseAllSignals();

// All signals get their default action, but SIGPIPE is ignored. The given ones
// are blocked, the others not.
void resetSignals(const std::vector<int> &blocked);

struct SignalPipe {
    UniqueFd reader;
    UniqueFd writer;
};
Result<SignalPipe> openSignalPipe();
// The signals that came since the last call, each once.
std::vector<int> drainSignals(int reader);

} // namespace uds

#endif
