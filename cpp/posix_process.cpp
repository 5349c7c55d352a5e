#include "posix_process.h"

#include "posix_identity.h"
#include "posix_output.h"
#include "posix_signal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>

namespace uds {

namespace {

// What the forking thread had blocked; the child inherits the value.
thread_local sigset_t savedMask;

using Directory = std::unique_ptr<DIR, int (*)(DIR *)>;

// The threads of this process; null where the system does not tell.
Result<Directory> openTasks() {
    Directory tasks(::opendir("/proc/self/task"), ::closedir);
    if (!tasks && (isOutOfDescriptors(errno) || errno == ENOMEM))
        return systemError("opendir");
    return tasks;
}

} // namespace

Result<pid_t> forkBlocked() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &savedMask);
    const pid_t pid = ::fork();
    const int code = errno;
    if (pid != 0)
        unblockSignals();
    if (pid < 0)
        return systemError("couldn't fork", code);
    return pid;
}

void unblockSignals() {
    ::pthread_sigmask(SIG_SETMASK, &savedMask, nullptr);
}

std::string ExitStatus::text() const {
    return signalled ? "signal " + signalName(number) : "exit " + std::to_string(number);
}

Result<std::optional<ExitStatus>> waitFor(pid_t pid, bool noHang) {
    int status = 0;
    const pid_t ended = retry([&] { return ::waitpid(pid, &status, noHang ? WNOHANG : 0); });
    if (ended < 0)
        return systemError("couldn't wait for \"" + std::to_string(pid) + "\"");
    if (ended == 0)
        return std::optional<ExitStatus>();
    if (WIFSIGNALED(status))
        return std::optional(ExitStatus{true, WTERMSIG(status)});
    return std::optional(ExitStatus{false, WEXITSTATUS(status)});
}

Status checkChild(pid_t pid) {
    siginfo_t info{};
    const int result = retry([&] {
        return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
    });
    if (result < 0)
        return systemError("couldn't watch \"" + std::to_string(pid) + "\"");
    return Nothing{};
}

Status sendSignal(pid_t pid, int signal) {
    if (::kill(pid, signal) < 0)
        return systemError("couldn't signal \"" + std::to_string(pid) + "\"");
    return Nothing{};
}

bool waitsInSelect(pid_t thread) {
    // "number argument ...", the fifth argument being the time limit; or "running"
    std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/syscall");
    long number = -1;
    file >> number;
    std::string timeLimit;
    for (int argument = 1; argument <= 5; ++argument)
        file >> timeLimit;
    bool selects = false;
#ifdef SYS_select
    selects = selects || number == SYS_select;
#endif
#ifdef SYS_pselect6
    selects = selects || number == SYS_pselect6;
#endif
    return selects && timeLimit == "0x0";
}

Result<bool> othersWaitInSelect() {
#ifdef SYS_gettid
    const Result<Directory> tasks = openTasks();
    if (!tasks)
        return tasks.error();
    if (!tasks.value())
        return false;
    // Without one for the threads' files it would look as if they did something else.
    if (!canOpen(1, ::dirfd(tasks.value().get())))
        return systemError("open");
    const long self = ::syscall(SYS_gettid);
    bool all = true;
    while (const dirent *task = ::readdir(tasks.value().get())) {
        const long thread = std::strtol(task->d_name, nullptr, 10); // 0 for "." and ".."
        all = all && (thread == 0 || thread == self || waitsInSelect(static_cast<pid_t>(thread)));
    }
    return all;
#else
    return false;
#endif
}

Result<int> threadCount() {
    const Result<Directory> tasks = openTasks();
    if (!tasks)
        return tasks.error();
    if (!tasks.value())
        return 0;
    int count = 0;
    while (const dirent *task = ::readdir(tasks.value().get()))
        count += task->d_name[0] != '.';
    return count;
}

std::string changeableByOthers() {
    std::string all;
    const auto add = [&](const auto &value) {
        all.append(reinterpret_cast<const char *>(&value), sizeof value);
    };
    for (const NamedNumber *limit = kLimits; limit->name; ++limit)
        if (const Result<rlimit> value = getLimit(*limit))
            add(value.value());
    add(::getpriority(PRIO_PROCESS, 0));
#ifdef __linux__
    cpu_set_t processors;
    CPU_ZERO(&processors);
    ::sched_getaffinity(0, sizeof processors, &processors);
    add(processors);
    sched_param parameters{};
    ::sched_getparam(0, &parameters);
    add(parameters.sched_priority);
    add(::sched_getscheduler(0));
#endif
    return all;
}

Status redirectOutput(const std::string &path) {
    const Result<UniqueFd> file = openForAppending(path);
    if (!file)
        return file.error();
    for (int standard : {STDOUT_FILENO, STDERR_FILENO})
        if (retry([&] { return ::dup2(file.value().get(), standard); }) < 0)
            return systemError("dup2");
    return Nothing{};
}

Result<UniqueFd> openPidfd(pid_t pid) {
    const std::string what = "couldn't watch \"" + std::to_string(pid) + "\"";
#if defined(SYS_pidfd_open) && !defined(UDS_PORTABLE)
    UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!fd)
        return systemError(what);
    return fd; // close-on-exec by definition
#else
    return systemError(what, ENOSYS);
#endif
}

} // namespace uds
