#include "posix_daemon.h"

#include "posix_identity.h"
#include "posix_output.h"
#include "posix_socket.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace uds {

namespace {

const char kNull[] = "/dev/null";

// A working directory need not be readable.
#if defined(O_PATH) && !defined(UDS_PORTABLE)
constexpr int kDirectoryFlags = O_DIRECTORY | O_PATH;
#else
constexpr int kDirectoryFlags = O_DIRECTORY | O_RDONLY;
#endif

// ---- what a daemon holds -----------------------------------------------------

// One for the process, like the session and the descriptors 0 to 2 are.
int reportFd = -1;
int lockFd = -1;
pid_t lockOwner = 0;
char lockPath[4096];

// A forked child must neither keep the lock nor speak for the daemon.
void closeInChild() {
    for (int *fd : {&reportFd, &lockFd})
        if (*fd >= 0)
            ::close(std::exchange(*fd, -1));
}

void closeInForkedChildren() {
    static std::once_flag once;
    std::call_once(once, [] { ::pthread_atfork(nullptr, nullptr, closeInChild); });
}

void holdLock(PidLock &lock, pid_t owner) {
    closeInForkedChildren();
    lockFd = lock.fd.release(); // open until the process ends or disowns it
    lockOwner = owner;
    std::strncpy(lockPath, lock.path.c_str(), sizeof lockPath - 1);
}

void holdInDaemon(UniqueFd report, PidLock lock) {
    closeInForkedChildren();
    reportFd = report.release(); // closed by reportReady
    if (lock.fd)
        holdLock(lock, ::getpid());
}

// ---- opening -----------------------------------------------------------------

// While one lives, new files get the daemon's permissions.
class MaskGuard {
public:
    explicit MaskGuard(int mask) : changed_(mask >= 0) {
        if (changed_)
            before_ = ::umask(static_cast<mode_t>(mask));
    }
    ~MaskGuard() {
        if (changed_)
            ::umask(before_);
    }
    MaskGuard(const MaskGuard &) = delete;
    MaskGuard &operator=(const MaskGuard &) = delete;

private:
    bool changed_;
    mode_t before_ = 0;
};

// Never 0, 1 or 2, which are free in a process that has closed them: what is
// there is replaced in the daemon.
Result<UniqueFd> aboveStandard(UniqueFd fd, const std::string &path) {
    if (fd && fd.get() <= 2)
        fd = UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    if (!fd)
        return systemError("couldn't open \"" + path + "\"");
    return fd;
}

Result<UniqueFd> openFile(const std::string &path, int flags, mode_t permissions) {
    return aboveStandard(
        UniqueFd(retry([&] { return ::open(path.c_str(), flags | O_CLOEXEC, permissions); })),
        path);
}

Status openInto(UniqueFd &fd, const std::string &path, int flags) {
    Result<UniqueFd> opened = openFile(path, flags, 0666);
    if (!opened)
        return opened.error();
    fd = std::move(opened.value());
    return Nothing{};
}

Status openDirectory(UniqueFd &fd, const std::string &path) {
    Status opened = openInto(fd, path, kDirectoryFlags);
    if (opened && ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) < 0)
        return systemError("couldn't enter \"" + path + "\"");
    return opened;
}

Status openOutput(UniqueFd &fd, const std::string &path) {
    if (path.empty())
        return openInto(fd, kNull, O_WRONLY);
    Result<UniqueFd> opened = openForAppending(path);
    if (!opened)
        return systemError("couldn't open \"" + path + "\"", opened.error().code);
    opened = aboveStandard(std::move(opened.value()), path);
    if (!opened)
        return opened.error();
    fd = std::move(opened.value());
    return Nothing{};
}

// ---- pid file ----------------------------------------------------------------

// What the file says: a pid, 0 if it is empty, -1 for something else.
Result<pid_t> pidIn(int fd) {
    char bytes[32] = {};
    const ssize_t count = retry([&] { return ::pread(fd, bytes, sizeof bytes - 1, 0); });
    if (count < 0)
        return systemError("pread");
    if (count == static_cast<ssize_t>(sizeof bytes - 1) ||
        std::strlen(bytes) != static_cast<size_t>(count))
        return -1;
    char *end = bytes;
    const long number = std::strtol(bytes, &end, 10);
    while (std::isspace(static_cast<unsigned char>(*end)))
        ++end;
    return *end == '\0' && number >= 0 && number <= INT32_MAX ? static_cast<pid_t>(number) : -1;
}

bool isAlive(pid_t pid) {
    return pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM);
}

// The path may have been given to another file since it was opened, or to none.
Result<bool> hasPath(int fd, const char *path) {
    struct stat open {};
    struct stat named {};
    const bool isNamed = ::lstat(path, &named) == 0;
    if ((!isNamed && errno != ENOENT) || ::fstat(fd, &open) < 0)
        return systemError("couldn't look at \"" + std::string(path) + "\"");
    return isNamed && open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

bool isAt(int fd, const char *path) {
    const Result<bool> is = hasPath(fd, path);
    return is && is.value();
}

// A path given by mistake must not cost somebody's file.
Status clearPidFile(const PidLock &lock) {
    struct stat info {};
    if (::fstat(lock.fd.get(), &info) < 0)
        return systemError("couldn't read \"" + lock.path + "\"");
    // One with two names may be somebody's whose other name is no pid file.
    const bool isOwn = S_ISREG(info.st_mode) && info.st_nlink <= 1;
    const Result<pid_t> pid = isOwn ? pidIn(lock.fd.get()) : -1;
    if (!pid)
        return systemError("couldn't read \"" + lock.path + "\"", pid.error().code);
    if (pid.value() < 0)
        return processError("PIDFILE", "couldn't use \"" + lock.path + "\" as a pid file",
                            "it holds something else", lock.path);
    if (retry([&] { return ::ftruncate(lock.fd.get(), 0); }) < 0)
        return systemError("couldn't write \"" + lock.path + "\"");
    return Nothing{};
}

// A process has one pid file.
Error alreadyHeld(const std::string &path) {
    return processError("PIDFILE", "couldn't take the pid file \"" + path + "\"",
                        "this process has one", path);
}

// True: locked. False: somebody else has it, and `holder` is their pid or 0.
Result<bool> tryLock(PidLock &lock, pid_t &holder) {
    const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    Result<UniqueFd> opened = openFile(lock.path, flags, 0644);
    if (!opened)
        return opened.error();
    lock.fd = std::move(opened.value());
    if (retry([&] { return ::flock(lock.fd.get(), LOCK_EX | LOCK_NB); }) < 0) {
        if (!isWouldBlock(errno))
            return systemError("couldn't lock \"" + lock.path + "\"");
        const Result<pid_t> pid = pidIn(lock.fd.get());
        holder = pid && isAlive(pid.value()) ? pid.value() : 0;
        return false;
    }
    Result<bool> isStill = hasPath(lock.fd.get(), lock.path.c_str());
    if (!isStill || !isStill.value()) // the last holder has removed it meanwhile
        return isStill;
    Status cleared = clearPidFile(lock);
    if (!cleared)
        return cleared.error();
    return true;
}

// The holder if somebody else has it.
Result<std::optional<pid_t>> lockPidFile(PidLock &lock) {
    constexpr int kAttempts = 100;
    constexpr useconds_t kPause = 10000;
    for (int attempt = 1;; ++attempt) {
        pid_t holder = 0;
        Result<bool> locked = tryLock(lock, holder);
        if (!locked)
            return locked.error();
        if (locked.value())
            return std::optional<pid_t>();
        if (holder > 0 || attempt == kAttempts)
            return std::optional(holder);
        ::usleep(kPause); // the holder is about to write its pid, or to end
    }
}

// Into an empty file.
Status writePid(int fd, const std::string &path) {
    const std::string line = std::to_string(::getpid()) + "\n";
    for (size_t done = 0; done < line.size();) {
        const ssize_t count = retry([&] {
            return ::pwrite(fd, line.data() + done, line.size() - done, static_cast<off_t>(done));
        });
        if (count <= 0)
            return systemError("couldn't write \"" + path + "\"", count < 0 ? errno : ENOSPC);
        done += static_cast<size_t>(count);
    }
    return Nothing{};
}

// ---- reports -----------------------------------------------------------------

// Goes first; `length` bytes of a message follow.
struct Report {
    DaemonOutcome::Kind kind;
    pid_t pid;
    ExitStatus status;
    uint32_t length;
};

bool sendAll(int fd, const void *bytes, size_t size) {
    const char *at = static_cast<const char *>(bytes);
    while (size > 0) {
        Result<size_t> count = sendBytes(fd, at, size, false);
        if (!count)
            return false;
        at += count.value();
        size -= count.value();
    }
    return true;
}

bool receiveAll(int fd, void *bytes, size_t size) {
    char *at = static_cast<char *>(bytes);
    while (size > 0) {
        Result<size_t> count = receiveBytes(fd, at, size, false);
        if (!count || count.value() == 0)
            return false;
        at += count.value();
        size -= count.value();
    }
    return true;
}

bool send(int fd, const DaemonOutcome &outcome) {
    const auto length = static_cast<uint32_t>(outcome.message.size());
    const Report report{outcome.kind, outcome.pid, outcome.status, length};
    return sendAll(fd, &report, sizeof report) && sendAll(fd, outcome.message.data(), length);
}

// Kind Lost if the other side ends before it has said everything.
DaemonOutcome receive(int fd) {
    Report report{};
    DaemonOutcome outcome;
    if (!receiveAll(fd, &report, sizeof report))
        return outcome;
    outcome.message.resize(report.length);
    if (!receiveAll(fd, outcome.message.data(), report.length))
        return outcome;
    outcome.kind = report.kind;
    outcome.pid = report.pid;
    outcome.status = report.status;
    return outcome;
}

DaemonOutcome failure(const std::string &message) {
    return {DaemonOutcome::Kind::Failed, ::getpid(), {}, message};
}

// ---- the three processes -----------------------------------------------------

// Signals are blocked here: only SIGKILL ends the watcher early.
[[noreturn]] void watch(pid_t daemon, int report, int starter) {
    DaemonOutcome outcome = receive(report);
    if (outcome.kind == DaemonOutcome::Kind::Lost) {
        Result<std::optional<ExitStatus>> status = waitFor(daemon, false);
        if (status && status.value())
            outcome = {DaemonOutcome::Kind::Ended, daemon, *status.value(), ""};
    }
    send(starter, outcome);
    ::_exit(0);
}

Status becomeDaemon(const DaemonPlan &plan) {
    if (plan.mask >= 0)
        ::umask(static_cast<mode_t>(plan.mask));
    if (::fchdir(plan.directory.get()) < 0)
        return systemError("couldn't change the working directory");
    const int standard[] = {plan.input.get(), plan.output.get(), plan.errors.get()};
    for (int number = 0; number < 3; ++number)
        if (retry([&] { return ::dup2(standard[number], number); }) < 0)
            return systemError("couldn't redirect descriptor " + std::to_string(number));
    return plan.lock.fd ? writePid(plan.lock.fd.get(), plan.lock.path) : Nothing{};
}

// A system error's text, where no interpreter is at hand.
std::string textOf(const Error &error) {
    const std::string reason = error.code != 0 ? std::strerror(error.code) : error.reason;
    return error.what + ": " + reason;
}

// Both ends above the standard descriptors, which the daemon replaces.
Result<std::pair<UniqueFd, UniqueFd>> openHighPair() {
    Result<std::pair<UniqueFd, UniqueFd>> pair = openPair(SOCK_STREAM);
    if (!pair)
        return pair;
    for (UniqueFd *end : {&pair.value().first, &pair.value().second})
        if (end->get() <= 2)
            *end = UniqueFd(::fcntl(end->get(), F_DUPFD_CLOEXEC, 3));
    if (!pair.value().first || !pair.value().second)
        return systemError("couldn't duplicate a descriptor");
    return pair;
}

// In the watcher. Returns in the daemon only.
void forkDaemon(DaemonPlan plan, int starter) {
    ::setsid();
    // With SIGCHLD ignored, the system would not keep the daemon's status.
    struct sigaction standard {};
    struct sigaction before {};
    standard.sa_handler = SIG_DFL;
    ::sigaction(SIGCHLD, &standard, &before);
    Result<std::pair<UniqueFd, UniqueFd>> pair = openHighPair();
    const pid_t pid = pair ? ::fork() : -1;
    if (pid < 0) {
        send(starter, failure(textOf(pair ? systemError("couldn't fork") : pair.error())));
        ::_exit(1);
    }
    auto &[report, daemonEnd] = pair.value();
    if (pid > 0) {
        daemonEnd.reset();
        watch(pid, report.get(), starter);
    }
    ::sigaction(SIGCHLD, &before, nullptr);
    report.reset();
    if (Status status = becomeDaemon(plan); !status) {
        send(daemonEnd.get(), failure(textOf(status.error())));
        ::_exit(1);
    }
    holdInDaemon(std::move(daemonEnd), std::move(plan.lock));
}

} // namespace

Result<DaemonPlan> planDaemon(const DaemonOptions &options) {
    DaemonPlan plan;
    plan.mask = options.mask;
    plan.lock.path = options.pidFile;
    const MaskGuard guard(options.mask);
    Status status = openDirectory(plan.directory, options.directory);
    if (status)
        status = openInto(plan.input, kNull, O_RDONLY);
    if (status)
        status = openOutput(plan.output, options.output);
    if (status)
        status = openOutput(plan.errors, options.errors);
    if (!status)
        return status.error();
    if (options.pidFile.empty())
        return plan;
    Result<std::optional<pid_t>> holder = lockPidFile(plan.lock);
    if (!holder)
        return holder.error();
    plan.holder = holder.value();
    return plan;
}

Result<std::optional<DaemonOutcome>> startDaemon(DaemonPlan plan) {
    Result<std::pair<UniqueFd, UniqueFd>> pair = openHighPair();
    if (!pair)
        return pair.error();
    auto &[starter, watcher] = pair.value();
    Result<pid_t> pid = forkBlocked();
    if (!pid)
        return pid.error();
    if (pid.value() == 0) {
        starter.reset();
        forkDaemon(std::move(plan), watcher.get());
        return std::optional<DaemonOutcome>();
    }
    watcher.reset();
    plan = DaemonPlan(); // the lock is the daemon's alone from here on
    const DaemonOutcome outcome = receive(starter.get());
    // Its status says nothing; another part of the program may have taken it.
    if (Result<std::optional<ExitStatus>> status = waitFor(pid.value(), false); !status)
        (void)status;
    return std::optional(outcome);
}

bool reportReady(const std::string *failed) {
    if (reportFd < 0)
        return false;
    const UniqueFd fd(std::exchange(reportFd, -1));
    DaemonOutcome outcome = failure(failed ? *failed : "");
    if (!failed)
        outcome.kind = DaemonOutcome::Kind::Ready;
    return send(fd.get(), outcome);
}

void removePidFile() {
    if (lockFd < 0 || lockOwner != ::getpid() || !isAt(lockFd, lockPath))
        return;
    // Without the right to remove it, an empty file is as good: nobody is
    // named by it.
    if (::unlink(lockPath) < 0 && ::ftruncate(lockFd, 0) < 0)
        return;
}

Result<std::optional<pid_t>> takePidFile(const std::string &path) {
    PidLock lock{path, UniqueFd()};
    if (lockFd >= 0)
        return alreadyHeld(path);
    Result<std::optional<pid_t>> holder = lockPidFile(lock);
    if (!holder || holder.value())
        return holder;
    if (Status written = writePid(lock.fd.get(), path); !written)
        return written.error();
    holdLock(lock, ::getpid());
    return holder;
}

std::optional<HeldPidFile> heldPidFile() {
    if (lockFd < 0)
        return std::nullopt;
    return HeldPidFile{lockPath, lockFd};
}

Status holdPidFile(PidLock &lock) {
    const std::string what = "couldn't take over \"" + lock.path + "\"";
    if (lockFd >= 0)
        return alreadyHeld(lock.path);
    const Result<bool> isStill = hasPath(lock.fd.get(), lock.path.c_str());
    if (!isStill)
        return isStill.error();
    if (!isStill.value())
        return processError("PIDFILE", what, "it is another file", lock.path);
    // Has it already if the descriptor is a copy of the daemon's.
    if (retry([&] { return ::flock(lock.fd.get(), LOCK_EX | LOCK_NB); }) < 0)
        return systemError(what);
    Status status = setCloseOnExec(lock.fd.get());
    if (status)
        holdLock(lock, 0);
    return status;
}

Status ownPidFile() {
    if (lockFd < 0)
        return processError("PIDFILE", "couldn't own a pid file", "this process holds none", "");
    if (retry([] { return ::ftruncate(lockFd, 0); }) < 0)
        return systemError("couldn't write \"" + std::string(lockPath) + "\"");
    lockOwner = ::getpid();
    return writePid(lockFd, lockPath);
}

void disownPidFile() {
    if (lockFd >= 0)
        ::close(std::exchange(lockFd, -1));
    lockOwner = 0;
}

} // namespace uds
