#include "posix_silence.h"

#include "posix_clock.h"
#include "posix_pid.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <vector>

namespace uds {

namespace {

// For reads and writes that block. Tcl's channels do not take EAGAIN for an end.
Status limitCalls(int fd, int ms) {
    const timeval limit{ms / 1000, (ms % 1000) * 1000L};
    for (int option : {SO_RCVTIMEO, SO_SNDTIMEO})
        if (::setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit) < 0)
            return systemError("setsockopt");
    return Nothing{};
}

} // namespace

#if defined(__linux__) && !defined(UDS_PORTABLE)

namespace {

constexpr int kGranularity = 8;
constexpr int kLeastMs = 5;

uint64_t nowMs() {
    return monotonicMicros() / 1000;
}

// Async-signal-safe.
std::optional<int> tcpSilentMs(int fd) {
    tcp_info info{};
    socklen_t length = sizeof info;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
        return std::nullopt;
    // What is only sent again and again does not get there.
    const unsigned sent = info.tcpi_retransmits == 0
                              ? info.tcpi_last_data_sent
                              : std::max(info.tcpi_last_data_sent, info.tcpi_last_ack_recv);
    return static_cast<int>(std::min({sent, info.tcpi_last_data_recv, unsigned{INT_MAX}}));
}

struct Limit {
    int ms = 0; // 0: none
    ino_t socket = 0;
    uint64_t since = 0;
};

// The sockets' own numbers tell whether a descriptor has been given to another
// one meanwhile.
Result<ino_t> socketNumber(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) < 0)
        return systemError("fstat");
    return info.st_ino;
}

// One for the process, of the thread that has used it first. The handler runs in
// that thread, and the signal is blocked there while the limits change. Other
// threads do not look at it.
struct Watch {
    int signal = 0;
    timer_t timer = nullptr;
    std::vector<Limit> limits; // by descriptor
};

std::atomic<pid_t> claimedIn{0}; // the process of which a thread has the watch
thread_local pid_t ownedIn = 0;  // the one in which this thread has it

Watch &watch() {
    static Watch &only = *new Watch; // lives as long as the timer
    return only;
}

// Async-signal-safe. What cannot be asked is taken for what it was.
bool isOver(const Limit &limit, int fd) {
    struct stat info {};
    if (limit.ms == 0)
        return true;
    return ::fstat(fd, &info) == 0 ? info.st_ino != limit.socket : errno == EBADF;
}

std::optional<int> silentOf(const Limit &limit, int fd) {
    if (isOver(limit, fd))
        return std::nullopt;
    const std::optional<int> silent = tcpSilentMs(fd);
    const uint64_t limited = nowMs() - limit.since;
    return silent ? std::optional(static_cast<int>(std::min<uint64_t>(limited, *silent)))
                  : std::nullopt;
}

void arm(const Watch &watch, int ms) {
    itimerspec when{};
    when.it_value.tv_sec = ms / 1000;
    when.it_value.tv_nsec = (ms % 1000) * 1000000L;
    ::timer_settime(watch.timer, 0, &when, nullptr);
}

bool isArmedWithin(const Watch &watch, int ms) {
    itimerspec left{};
    ::timer_gettime(watch.timer, &left);
    const long long leftMs = left.it_value.tv_sec * 1000LL + left.it_value.tv_nsec / 1000000;
    return (left.it_value.tv_sec != 0 || left.it_value.tv_nsec != 0) && leftMs <= ms;
}

// Not at each limit's very moment: many connections would make it run all the
// time.
int pauseFor(const Limit &limit, int silent) {
    return std::max({limit.ms - silent, limit.ms / kGranularity, kLeastMs});
}

extern "C" void endSilentOnes(int) {
    const int saved = errno;
    Watch &current = watch();
    int pause = INT_MAX;
    for (size_t i = 0; i < current.limits.size(); ++i) {
        Limit &limit = current.limits[i];
        const int fd = static_cast<int>(i);
        if (isOver(limit, fd)) {
            limit.ms = 0;
            continue;
        }
        const int silent = silentOf(limit, fd).value_or(0);
        if (silent >= limit.ms) {
            ::shutdown(fd, SHUT_RDWR);
            limit.ms = 0;
        } else {
            pause = std::min(pause, pauseFor(limit, silent));
        }
    }
    if (pause < INT_MAX)
        arm(current, pause);
    errno = saved;
}

class SignalBlock {
public:
    explicit SignalBlock(int signal) {
        sigemptyset(&set_);
        sigaddset(&set_, signal);
        ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    }
    // Whoever started this process may have blocked it.
    ~SignalBlock() { ::pthread_sigmask(SIG_UNBLOCK, &set_, nullptr); }
    SignalBlock(const SignalBlock &) = delete;
    SignalBlock &operator=(const SignalBlock &) = delete;

private:
    sigset_t set_;
};

int unusedSignal() {
    for (int signal = SIGRTMAX - 1; signal > SIGRTMIN; --signal) {
        struct sigaction current {};
        if (::sigaction(signal, nullptr, &current) == 0 && current.sa_handler == SIG_DFL)
            return signal;
    }
    return 0;
}

// False where there is nothing to make a timer with.
bool startTimer(Watch &watch) {
    if (watch.signal == 0)
        watch.signal = unusedSignal();
    struct sigaction action {};
    action.sa_handler = endSilentOnes;
    action.sa_flags = SA_RESTART;
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = watch.signal;
    event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
    if (watch.signal == 0 || ::sigaction(watch.signal, &action, nullptr) < 0 ||
        ::timer_create(CLOCK_MONOTONIC, &event, &watch.timer) < 0)
        return false;
    watch.limits.clear(); // of the process that this one was forked from
    return true;
}

// False in another thread, too.
bool isReady() {
    const pid_t process = ownPid();
    if (ownedIn == process)
        return true;
    pid_t before = claimedIn.load();
    if (before == process || !claimedIn.compare_exchange_strong(before, process))
        return false;
    if (startTimer(watch()))
        ownedIn = process;
    else
        claimedIn = 0;
    return ownedIn == process;
}

} // namespace

Status limitSilence(int fd, int ms) {
    // Also what is left to send after a close: the connection ends with ETIMEDOUT.
    if (::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms) < 0)
        return systemError("setsockopt");
    const Result<ino_t> socket = socketNumber(fd);
    if (!socket)
        return socket.error();
    if (!isReady())
        return limitCalls(fd, ms);
    Watch &current = watch();
    const SignalBlock block(current.signal);
    const auto index = static_cast<size_t>(fd);
    if (current.limits.size() <= index)
        current.limits.resize(index + 1);
    current.limits[index] = {ms, socket.value(), nowMs()};
    if (ms > 0 && !isArmedWithin(current, ms))
        arm(current, ms);
    return Nothing{};
}

std::optional<int> silentMs(int fd) {
    const auto index = static_cast<size_t>(fd);
    const bool isOurs = ownedIn == ownPid() && index < watch().limits.size();
    const std::optional<int> limited =
        isOurs ? silentOf(watch().limits[index], fd) : std::optional<int>();
    return limited ? limited : tcpSilentMs(fd);
}

#else

Status limitSilence(int fd, int ms) {
    return limitCalls(fd, ms);
}

std::optional<int> silentMs(int) {
    return std::nullopt;
}

#endif

} // namespace uds
