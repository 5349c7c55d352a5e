#include "posix_signal.h"

#include "posix_socket.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <strings.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <set>

namespace uds {

namespace {

#ifdef NSIG
constexpr int kSignals = NSIG;
#else
constexpr int kSignals = 65;
#endif

struct NamedSignal {
    int number;
    const char *name;
};

const NamedSignal kNames[] = {
    {SIGHUP, "SIGHUP"},       {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"},   {SIGILL, "SIGILL"},
    {SIGTRAP, "SIGTRAP"},     {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},     {SIGFPE, "SIGFPE"},
    {SIGKILL, "SIGKILL"},     {SIGUSR1, "SIGUSR1"}, {SIGSEGV, "SIGSEGV"},   {SIGUSR2, "SIGUSR2"},
    {SIGPIPE, "SIGPIPE"},     {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"},   {SIGCHLD, "SIGCHLD"},
    {SIGCONT, "SIGCONT"},     {SIGSTOP, "SIGSTOP"}, {SIGTSTP, "SIGTSTP"},   {SIGTTIN, "SIGTTIN"},
    {SIGTTOU, "SIGTTOU"},     {SIGURG, "SIGURG"},   {SIGXCPU, "SIGXCPU"},   {SIGXFSZ, "SIGXFSZ"},
    {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"}, {SIGWINCH, "SIGWINCH"}, {SIGIO, "SIGIO"},
    {SIGSYS, "SIGSYS"},
#ifdef SIGPWR
    {SIGPWR, "SIGPWR"},
#endif
};

// Where each caught signal goes, as descriptor + 1; 0 for one not caught.
std::atomic<int> targets[kSignals];
// The signals that are in their pipe: each once, so that a pipe never fills
// up with one of them and loses another.
std::atomic<bool> pending[kSignals];
struct sigaction previous[kSignals];

extern "C" void writeSignal(int signal) {
    const int saved = errno;
    const unsigned char number = static_cast<unsigned char>(signal);
    const int target = targets[signal].load();
    if (target > 0 && !pending[signal].exchange(true) &&
        retry([&] { return ::write(target - 1, &number, 1); }) < 0)
        pending[signal] = false;
    errno = saved;
}

bool canBeCaught(int signal) {
    switch (signal) {
    case 0:
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV: // these return to the instruction that raised them
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
        return false;
    default:
        return true;
    }
}

// A child that was forked by anybody must not write into the parent's pipe.
void releaseInForkedChildren() {
    static std::once_flag once;
    std::call_once(once, [] { ::pthread_atfork(nullptr, nullptr, releaseAllSignals); });
}

} // namespace

std::string signalName(int signal) {
    for (const NamedSignal &each : kNames)
        if (each.number == signal)
            return each.name;
#ifdef SIGRTMIN
    if (signal >= SIGRTMIN && signal <= SIGRTMAX)
        return "SIGRTMIN+" + std::to_string(signal - SIGRTMIN);
#endif
    return "SIG" + std::to_string(signal);
}

Result<int> parseSignal(const std::string &text) {
    for (int signal = 0; signal < kSignals; ++signal)
        if (text == std::to_string(signal))
            return signal;
    const char *name = text.c_str();
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (int signal = 1; signal < kSignals; ++signal)
        if (strcasecmp(name, signalName(signal).c_str() + 3) == 0)
            return signal;
    Error error = ownError("SIGNAL", "bad signal \"" + text + "\"",
                           "must be a name such as SIGTERM or a number from 0 to " +
                               std::to_string(kSignals - 1),
                           text);
    error.domain = "UNIX_PROCESS";
    return error;
}

Status catchSignal(int signal, int pipe) {
    const std::string what = "couldn't catch \"" + signalName(signal) + "\"";
    if (!canBeCaught(signal))
        return systemError(what, EINVAL);
    releaseInForkedChildren();
    const int before = targets[signal].exchange(pipe + 1);
    pending[signal] = false; // it may be in another pipe, which nobody reads
    if (before > 0)
        return Nothing{};
    struct sigaction action {};
    action.sa_handler = writeSignal;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    if (::sigaction(signal, &action, &previous[signal]) < 0) {
        targets[signal] = 0;
        return systemError(what);
    }
    return Nothing{};
}

void releaseSignal(int signal, int pipe) {
    if (targets[signal].load() != pipe + 1)
        return;
    ::sigaction(signal, &previous[signal], nullptr);
    targets[signal] = 0;
}

void releaseAllSignals() {
    for (int signal = 1; signal < kSignals; ++signal)
        if (const int target = targets[signal].load(); target > 0)
            releaseSignal(signal, target - 1);
}

void resetSignals(const std::vector<int> &blocked) {
    for (int signal = 1; signal < kSignals; ++signal)
        ::signal(signal, SIG_DFL); // fails for SIGKILL and SIGSTOP, rightly
    ::signal(SIGPIPE, SIG_IGN);    // Tcl does so in every program
    sigset_t mask;
    sigemptyset(&mask);
    for (int signal : blocked)
        sigaddset(&mask, signal);
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

Result<SignalPipe> openSignalPipe() {
    int ends[2];
#if defined(__linux__) && !defined(UDS_PORTABLE)
    // At once: another thread may start a program meanwhile, which must not get them.
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return systemError("pipe2");
    return SignalPipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
#else
    if (::pipe(ends) < 0)
        return systemError("pipe");
    SignalPipe made{UniqueFd(ends[0]), UniqueFd(ends[1])};
    for (int end : ends) {
        Status status = setCloseOnExec(end);
        if (status)
            status = setNonBlocking(end, true);
        if (!status)
            return status.error();
    }
    return made;
#endif
}

std::vector<int> drainSignals(int reader) {
    std::set<int> came;
    unsigned char bytes[256];
    for (;;) {
        const ssize_t count = retry([&] { return ::read(reader, bytes, sizeof bytes); });
        if (count <= 0)
            return std::vector<int>(came.begin(), came.end());
        for (const unsigned char *each = bytes; each < bytes + count; ++each) {
            came.insert(*each);
            pending[*each % kSignals] = false;
        }
    }
}

} // namespace uds
