// Makes system calls of the library fail, for tests/faults.tcl.
//
// A Tcl extension without stubs. It replaces the entries of uds.so in the table through
// which a shared library calls others, so that only the library's own calls are counted and
// fail: no LD_PRELOAD, nothing else in the process notices, and it works with a sanitizer's
// run-time as well. What to fail, and what was counted, is in memory that all forked
// processes of a run share: a point may be hit in any of them.
//
//   inject::open PATH         replaces the entries of the library: the kinds of calls found
//   inject::arm KIND FROM COUNT WHAT
//                             the calls FROM to FROM + COUNT - 1 of this kind do WHAT: fail
//                             with an errno (its name), or short, ctrunc, onefd, eof
//   inject::message WHAT      the text of an errno, if it is one
//   inject::disarm            no call fails any more
//   inject::counts            {KIND CALLS ...} since arm
//   inject::quietly SCRIPT    calls meanwhile neither count nor fail
//   inject::run SCRIPT MS     forks a child that evaluates SCRIPT and exits; a dict of how
//                             that went. Kills what is left of its processes.
//   inject::descriptors       {TARGET COUNT ...} of the open descriptors, by kind of file
//   inject::client PATH TEXT MS
//                             a process that connects, sends and reads: the descriptor of a
//                             pipe on which it tells how it went
//   inject::datagrams PATH    the descriptor of a datagram socket bound to PATH
#include <tcl.h>

#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

// ---- what is shared by all processes of a run ---------------------------------------

// What a call does in place of succeeding, when it is no errno.
enum Special { kShort = -1, kNoDescriptors = -2, kOneDescriptor = -3, kEnd = -4 };

constexpr int kMaxKinds = 128;
constexpr size_t kMaxResult = 60000;

struct Control {
    std::atomic<int> armed;
    int kind, from, count, what;
    std::atomic<int> calls[kMaxKinds];
    std::atomic<int> fired;
    std::atomic<uintptr_t> site; // in the library, of the first that fired
    char result[kMaxResult];
};

Control *control = nullptr;
int quiet = 0; // of this process
uintptr_t libraryBase = 0;

// 0 for a call that is to be made as it is.
int faultFor(int kind, void *site) {
    if (!control || quiet > 0 || control->armed == 0)
        return 0;
    const int number = ++control->calls[kind];
    if (control->kind != kind || number < control->from || number - control->from >= control->count)
        return 0;
    if (control->fired++ == 0)
        control->site = reinterpret_cast<uintptr_t>(site) - libraryBase;
    return control->what;
}

// A call that cannot do what was wanted was not one of those that fired.
void takeBack() {
    --control->fired;
}

// ---- the calls ------------------------------------------------------------------------

// A row for each call that fails in the common way. CODE: returns the errno.
#define UDS_CALLS(X)                                                                               \
    X(accept4)                                                                                     \
    X(bind)                                                                                        \
    X(chmod) X(connect) X(dup2) X(dup3) X(epoll_create1) X(epoll_ctl) X(epoll_wait) X(faccessat)   \
        X(fchdir) X(flock) X(fork) X(fstat) X(ftruncate) X(getcwd) X(getgroups) X(getpeername)     \
            X(getrlimit) X(getsockname) X(getsockopt) X(kill) X(listen) X(lstat) X(mmap)           \
                X(opendir) X(pipe) X(pipe2) X(poll) X(setegid) X(seteuid) X(setgroups)             \
                    X(setresgid) X(setresuid) X(setrlimit) X(setsid) X(setsockopt) X(sigaction)    \
                        X(socket) X(socketpair) X(timer_create) X(timer_settime) X(unlink)         \
                            X(waitid) X(waitpid)
#define UDS_CODE_CALLS(X) X(getgrnam_r) X(getpwnam_r) X(getpwuid_r)
// Written out below.
#define UDS_OWN_CALLS(X)                                                                           \
    X(close)                                                                                       \
    X(fcntl)                                                                                       \
    X(ioctl) X(open) X(prctl) X(pread) X(pwrite) X(read) X(recv) X(recvmsg) X(send) X(sendmsg)     \
        X(shutdown) X(syscall) X(write)
// Kinds of their own behind fcntl and syscall.
#define UDS_PARTS(X) X(dupfd) X(pidfd_open) X(capget)

#define UDS_KIND(name) K_##name,
enum Kind {
    UDS_CALLS(UDS_KIND) UDS_CODE_CALLS(UDS_KIND) UDS_OWN_CALLS(UDS_KIND) UDS_PARTS(UDS_KIND) kKinds
};
#define UDS_NAME(name) #name,
const char *const kNames[] = {UDS_CALLS(UDS_NAME) UDS_CODE_CALLS(UDS_NAME) UDS_OWN_CALLS(UDS_NAME)
                                  UDS_PARTS(UDS_NAME)};
static_assert(kKinds <= kMaxKinds);

void *originals[kKinds];

template <class Function> Function original(int kind) {
    return reinterpret_cast<Function>(originals[kind]);
}

template <class T> T failed() {
    return static_cast<T>(-1);
}
template <> void *failed<void *>() {
    return MAP_FAILED;
}
template <> DIR *failed<DIR *>() {
    return nullptr;
}
template <> char *failed<char *>() {
    return nullptr;
}

template <int kind, class Function> struct Call;
template <int kind, class R, class... A> struct Call<kind, R (*)(A...)> {
    static R common(A... arguments) {
        if (const int code = faultFor(kind, __builtin_return_address(0))) {
            errno = code;
            return failed<R>();
        }
        return original<R (*)(A...)>(kind)(arguments...);
    }
    static R coded(A... arguments) {
        if (const int code = faultFor(kind, __builtin_return_address(0)))
            return code;
        return original<R (*)(A...)>(kind)(arguments...);
    }
};
template <int kind, class R, class... A>
struct Call<kind, R (*)(A...) noexcept> : Call<kind, R (*)(A...)> {};

// Linux has freed the number whatever close says.
int ownClose(int fd) {
    const int code = faultFor(K_close, __builtin_return_address(0));
    const int result = original<int (*)(int)>(K_close)(fd);
    if (code == 0)
        return result;
    errno = code;
    return -1;
}

// On this system's architectures a variadic function takes its arguments as others do.
int ownFcntl(int fd, int command, long argument) {
    const int kind = command == F_DUPFD_CLOEXEC || command == F_DUPFD ? K_dupfd : K_fcntl;
    if (const int code = faultFor(kind, __builtin_return_address(0))) {
        errno = code;
        return -1;
    }
    return original<int (*)(int, int, ...)>(K_fcntl)(fd, command, argument);
}

// What the peer does meanwhile may fail it; it has its effect.
int ownShutdown(int fd, int how) {
    const int code = faultFor(K_shutdown, __builtin_return_address(0));
    const int result = original<int (*)(int, int)>(K_shutdown)(fd, how);
    if (code == 0)
        return result;
    errno = code;
    return -1;
}

int ownIoctl(int fd, unsigned long request, void *argument) {
    if (const int code = faultFor(K_ioctl, __builtin_return_address(0))) {
        errno = code;
        return -1;
    }
    return original<int (*)(int, unsigned long, ...)>(K_ioctl)(fd, request, argument);
}

int ownOpen(const char *path, int flags, mode_t mode) {
    if (const int code = faultFor(K_open, __builtin_return_address(0))) {
        errno = code;
        return -1;
    }
    return original<int (*)(const char *, int, ...)>(K_open)(path, flags, mode);
}

int ownPrctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
    if (const int code = faultFor(K_prctl, __builtin_return_address(0))) {
        errno = code;
        return -1;
    }
    return original<int (*)(int, ...)>(K_prctl)(option, a, b, c, d);
}

long ownSyscall(long number, long a, long b, long c, long d, long e, long f) {
    const int kind = number == SYS_pidfd_open ? K_pidfd_open : number == SYS_capget ? K_capget : -1;
    const int code = kind < 0 ? 0 : faultFor(kind, __builtin_return_address(0));
    if (code != 0) {
        errno = code;
        return -1;
    }
    return original<long (*)(long, ...)>(K_syscall)(number, a, b, c, d, e, f);
}

bool isStream(int fd) {
    int type = SOCK_STREAM;
    socklen_t length = sizeof type;
    return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type == SOCK_STREAM;
}

// Moves `size` bytes, or one, or none. Records are never cut, so that is not tried.
template <class Move> ssize_t moved(int kind, void *site, int fd, size_t size, Move move) {
    const int what = faultFor(kind, site);
    if (what > 0) {
        errno = what;
        return -1;
    }
    if (what == kEnd)
        return 0;
    if (what == kShort && (size < 2 || !isStream(fd)))
        takeBack();
    else if (what == kShort)
        return move(1);
    return move(size);
}

ssize_t ownRead(int fd, void *bytes, size_t size) {
    return moved(K_read, __builtin_return_address(0), fd, size, [&](size_t most) {
        return original<ssize_t (*)(int, void *, size_t)>(K_read)(fd, bytes, most);
    });
}

ssize_t ownWrite(int fd, const void *bytes, size_t size) {
    return moved(K_write, __builtin_return_address(0), fd, size, [&](size_t most) {
        return original<ssize_t (*)(int, const void *, size_t)>(K_write)(fd, bytes, most);
    });
}

ssize_t ownPread(int fd, void *bytes, size_t size, off_t at) {
    return moved(K_pread, __builtin_return_address(0), fd, size, [&](size_t most) {
        return original<ssize_t (*)(int, void *, size_t, off_t)>(K_pread)(fd, bytes, most, at);
    });
}

ssize_t ownPwrite(int fd, const void *bytes, size_t size, off_t at) {
    return moved(K_pwrite, __builtin_return_address(0), fd, size, [&](size_t most) {
        return original<ssize_t (*)(int, const void *, size_t, off_t)>(K_pwrite)(fd, bytes, most,
                                                                                 at);
    });
}

ssize_t ownRecv(int fd, void *bytes, size_t size, int flags) {
    return moved(K_recv, __builtin_return_address(0), fd, size, [&](size_t most) {
        return original<ssize_t (*)(int, void *, size_t, int)>(K_recv)(fd, bytes, most, flags);
    });
}

ssize_t ownSend(int fd, const void *bytes, size_t size, int flags) {
    return moved(K_send, __builtin_return_address(0), fd, size, [&](size_t most) {
        return original<ssize_t (*)(int, const void *, size_t, int)>(K_send)(fd, bytes, most,
                                                                             flags);
    });
}

// All messages of the library are of one part.
template <class Message> msghdr cut(const Message *message, iovec &part, size_t most) {
    msghdr shorter = *message;
    part = message->msg_iov[0];
    part.iov_len = most;
    shorter.msg_iov = &part;
    shorter.msg_iovlen = 1;
    return shorter;
}

// What the kernel does when it cannot install descriptors, but for `kept` of them.
void dropDescriptors(msghdr *message, size_t kept) {
    bool dropped = false;
    for (cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = kept; i < count; ++i) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            ::close(fd);
            dropped = true;
        }
        if (dropped) {
            message->msg_flags |= MSG_CTRUNC;
            message->msg_controllen = kept == 0 ? 0 : CMSG_LEN(kept * sizeof(int));
            header->cmsg_len = CMSG_LEN(kept * sizeof(int));
        }
        break;
    }
    if (!dropped)
        takeBack();
}

ssize_t ownRecvmsg(int fd, msghdr *message, int flags) {
    const auto call = original<ssize_t (*)(int, msghdr *, int)>(K_recvmsg);
    const int what = faultFor(K_recvmsg, __builtin_return_address(0));
    if (what > 0) {
        errno = what;
        return -1;
    }
    if (what == kEnd) {
        message->msg_controllen = 0;
        message->msg_flags = 0;
        return 0;
    }
    if (what == kShort && isStream(fd) && message->msg_iov[0].iov_len > 1) {
        iovec part;
        msghdr shorter = cut(message, part, 1);
        const ssize_t count = call(fd, &shorter, flags);
        message->msg_controllen = shorter.msg_controllen;
        message->msg_flags = shorter.msg_flags;
        return count;
    }
    if (what == kShort)
        takeBack();
    const ssize_t count = call(fd, message, flags);
    const int code = errno;
    if (what == kNoDescriptors || what == kOneDescriptor) {
        if (count > 0 && message->msg_controllen > 0)
            dropDescriptors(message, what == kOneDescriptor ? 1 : 0);
        else
            takeBack();
    }
    errno = code;
    return count;
}

ssize_t ownSendmsg(int fd, const msghdr *message, int flags) {
    const auto call = original<ssize_t (*)(int, const msghdr *, int)>(K_sendmsg);
    return moved(K_sendmsg, __builtin_return_address(0), fd, message->msg_iov[0].iov_len,
                 [&](size_t most) {
                     iovec part;
                     const msghdr shorter = cut(message, part, most);
                     return call(fd, &shorter, flags);
                 });
}

struct Replacement {
    int kind;
    void *function;
};

template <class Function> void *address(Function function) {
    return reinterpret_cast<void *>(function);
}

const std::map<std::string, Replacement> &replacements() {
#define UDS_COMMON(name) {#name, {K_##name, address(&Call<K_##name, decltype(&::name)>::common)}},
#define UDS_CODED(name) {#name, {K_##name, address(&Call<K_##name, decltype(&::name)>::coded)}},
    static const std::map<std::string, Replacement> all = {
        UDS_CALLS(UDS_COMMON) UDS_CODE_CALLS(UDS_CODED){"close", {K_close, address(ownClose)}},
        {"fcntl", {K_fcntl, address(ownFcntl)}},
        {"ioctl", {K_ioctl, address(ownIoctl)}},
        {"open", {K_open, address(ownOpen)}},
        {"prctl", {K_prctl, address(ownPrctl)}},
        {"pread", {K_pread, address(ownPread)}},
        {"pwrite", {K_pwrite, address(ownPwrite)}},
        {"read", {K_read, address(ownRead)}},
        {"recv", {K_recv, address(ownRecv)}},
        {"recvmsg", {K_recvmsg, address(ownRecvmsg)}},
        {"send", {K_send, address(ownSend)}},
        {"sendmsg", {K_sendmsg, address(ownSendmsg)}},
        {"shutdown", {K_shutdown, address(ownShutdown)}},
        {"syscall", {K_syscall, address(ownSyscall)}},
        {"write", {K_write, address(ownWrite)}},
    };
    return all;
}

// ---- the library's table ----------------------------------------------------------------

struct Library {
    const char *path;
    const dl_phdr_info *found = nullptr;
    dl_phdr_info info{};
};

int findLibrary(dl_phdr_info *info, size_t, void *data) {
    auto *library = static_cast<Library *>(data);
    struct stat wanted {};
    struct stat loaded {};
    if (::stat(library->path, &wanted) < 0 || ::stat(info->dlpi_name, &loaded) < 0 ||
        wanted.st_ino != loaded.st_ino || wanted.st_dev != loaded.st_dev)
        return 0;
    library->info = *info;
    library->found = &library->info;
    return 1;
}

struct Tables {
    const char *strings = nullptr;
    const ElfW(Sym) *symbols = nullptr;
    struct {
        const ElfW(Rela) *at = nullptr;
        size_t bytes = 0;
    } parts[2];
};

Tables tablesOf(const dl_phdr_info &info) {
    Tables tables;
    const auto at = [&](ElfW(Addr) value) {
        return value < info.dlpi_addr ? value + info.dlpi_addr : value;
    };
    for (int i = 0; i < info.dlpi_phnum; ++i) {
        if (info.dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const auto *entry =
            reinterpret_cast<const ElfW(Dyn) *>(info.dlpi_addr + info.dlpi_phdr[i].p_vaddr);
        for (; entry->d_tag != DT_NULL; ++entry) {
            const ElfW(Addr) value = entry->d_un.d_ptr;
            if (entry->d_tag == DT_STRTAB)
                tables.strings = reinterpret_cast<const char *>(at(value));
            else if (entry->d_tag == DT_SYMTAB)
                tables.symbols = reinterpret_cast<const ElfW(Sym) *>(at(value));
            else if (entry->d_tag == DT_RELA)
                tables.parts[0].at = reinterpret_cast<const ElfW(Rela) *>(at(value));
            else if (entry->d_tag == DT_RELASZ)
                tables.parts[0].bytes = entry->d_un.d_val;
            else if (entry->d_tag == DT_JMPREL)
                tables.parts[1].at = reinterpret_cast<const ElfW(Rela) *>(at(value));
            else if (entry->d_tag == DT_PLTRELSZ)
                tables.parts[1].bytes = entry->d_un.d_val;
        }
    }
    return tables;
}

void replace(void **slot, const char *name, const Replacement &by) {
    void *before = ::dlsym(RTLD_DEFAULT, name);
    originals[by.kind] = before ? before : *slot;
    const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const uintptr_t start = reinterpret_cast<uintptr_t>(slot) & ~(page - 1);
    ::mprotect(reinterpret_cast<void *>(start), 2 * page, PROT_READ | PROT_WRITE);
    *slot = by.function;
}

// Every entry of a function: it may be called directly and by its address.
int openCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const words[]) {
    Library library{Tcl_GetString(words[1])};
    ::dl_iterate_phdr(findLibrary, &library);
    if (!library.found) {
        Tcl_SetObjResult(interp, Tcl_NewStringObj("the library is not loaded", -1));
        return TCL_ERROR;
    }
    libraryBase = library.info.dlpi_addr;
    const Tables tables = tablesOf(library.info);
    Tcl_Obj *kinds = Tcl_NewListObj(0, nullptr);
    for (const auto &part : tables.parts)
        for (size_t i = 0; i < part.bytes / sizeof(ElfW(Rela)); ++i) {
            const ElfW(Rela) &entry = part.at[i];
            const char *name = tables.strings + tables.symbols[ELF64_R_SYM(entry.r_info)].st_name;
            const auto found = replacements().find(name);
            if (found == replacements().end())
                continue;
            replace(reinterpret_cast<void **>(libraryBase + entry.r_offset), name, found->second);
            Tcl_ListObjAppendElement(nullptr, kinds, Tcl_NewStringObj(name, -1));
        }
    void *memory =
        ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    control = memory == MAP_FAILED ? nullptr : static_cast<Control *>(memory);
    // What outlives a run is ours to end, and we end with who started us.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    Tcl_SetObjResult(interp, kinds);
    return TCL_OK;
}

// ---- arming -------------------------------------------------------------------------------

const std::map<std::string, int> kWhats = {
    {"short", kShort}, {"ctrunc", kNoDescriptors}, {"onefd", kOneDescriptor}, {"eof", kEnd}};

int whatOf(const std::string &name) {
    const auto special = kWhats.find(name);
    if (special != kWhats.end())
        return special->second;
    for (int code = 1; code < 134; ++code) {
        const char *known = ::strerrorname_np(code);
        if (known && name == known)
            return code;
    }
    return 0;
}

int armCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const words[]) {
    control->kind = -1;
    for (int kind = 0; kind < kKinds; ++kind) {
        control->calls[kind] = 0;
        if (strcmp(Tcl_GetString(words[1]), kNames[kind]) == 0)
            control->kind = kind;
    }
    control->what = whatOf(Tcl_GetString(words[4]));
    control->fired = 0;
    control->site = 0;
    if (Tcl_GetIntFromObj(interp, words[2], &control->from) != TCL_OK ||
        Tcl_GetIntFromObj(interp, words[3], &control->count) != TCL_OK)
        return TCL_ERROR;
    control->armed = 1;
    return TCL_OK;
}

// As Tcl words it.
int messageCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const words[]) {
    const int code = whatOf(Tcl_GetString(words[1]));
    Tcl_SetObjResult(interp, Tcl_NewStringObj(code > 0 ? Tcl_ErrnoMsg(code) : "", -1));
    return TCL_OK;
}

int disarmCommand(void *, Tcl_Interp *, int, Tcl_Obj *const[]) {
    control->armed = 0;
    return TCL_OK;
}

int countsCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const[]) {
    Tcl_Obj *counts = Tcl_NewListObj(0, nullptr);
    for (int kind = 0; kind < kKinds; ++kind) {
        if (control->calls[kind] == 0)
            continue;
        Tcl_ListObjAppendElement(nullptr, counts, Tcl_NewStringObj(kNames[kind], -1));
        Tcl_ListObjAppendElement(nullptr, counts, Tcl_NewIntObj(control->calls[kind]));
    }
    Tcl_SetObjResult(interp, counts);
    return TCL_OK;
}

int quietlyCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const words[]) {
    ++quiet;
    const int code = Tcl_EvalObjEx(interp, words[1], 0);
    --quiet;
    return code;
}

// ---- running ------------------------------------------------------------------------------

long long nowMs() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

struct Outcome {
    int status = 0;
    bool late = false;
    long long cpuMs = 0;
    int orphans = 0; // that had to be killed
};

void addCpu(Outcome &outcome, const rusage &used) {
    for (const timeval &time : {used.ru_utime, used.ru_stime})
        outcome.cpuMs += time.tv_sec * 1000LL + time.tv_usec / 1000;
}

std::vector<pid_t> childrenLeft() {
    std::vector<pid_t> pids;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", static_cast<int>(::getpid()));
    if (FILE *file = ::fopen(path, "re")) {
        int pid = 0;
        while (fscanf(file, "%d", &pid) == 1)
            pids.push_back(pid);
        ::fclose(file);
    }
    return pids;
}

// Those that end by themselves, in a moment, are none.
void endOrphans(Outcome &outcome, int graceMs) {
    const long long deadline = nowMs() + graceMs;
    for (bool killing = false;;) {
        int status = 0;
        rusage used{};
        const pid_t ended = ::wait4(-1, &status, WNOHANG, &used);
        if (ended < 0)
            return; // there is none
        if (ended > 0) {
            addCpu(outcome, used);
            continue;
        }
        if (!killing && nowMs() > deadline) {
            killing = true;
            outcome.orphans = static_cast<int>(childrenLeft().size());
        }
        if (killing)
            for (pid_t pid : childrenLeft())
                ::kill(pid, SIGKILL);
        ::usleep(1000);
    }
}

// Waits for its end without taking the status.
bool endsBy(pid_t pid, int ms) {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    pollfd poller{fd, POLLIN, 0};
    const bool ended = ::poll(&poller, 1, ms) > 0;
    ::close(fd);
    return ended;
}

[[noreturn]] void beChild(Tcl_Interp *interp, Tcl_Obj *script, int output) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    ::dup2(output, 1);
    ::dup2(output, 2);
    ::close(output);
    if (Tcl_EvalObjEx(interp, script, TCL_EVAL_GLOBAL) != TCL_OK)
        fprintf(stderr, "%s\n", Tcl_GetVar2(interp, "errorInfo", nullptr, TCL_GLOBAL_ONLY));
    strncpy(control->result, Tcl_GetStringResult(interp), kMaxResult - 1);
    control->armed = 0;
    Tcl_Exit(0);
    abort();
}

void put(Tcl_Obj *dict, const char *key, Tcl_Obj *value) {
    Tcl_DictObjPut(nullptr, dict, Tcl_NewStringObj(key, -1), value);
}

std::string contentOf(int fd) {
    char bytes[8192];
    const ssize_t count = ::pread(fd, bytes, sizeof bytes, 0);
    return std::string(bytes, count > 0 ? static_cast<size_t>(count) : 0);
}

// Where in the source it was, without line numbers.
std::string siteName() {
    if (control->site == 0)
        return "";
    char text[64];
    snprintf(text, sizeof text, "%#lx", static_cast<unsigned long>(control->site));
    return text;
}

void answer(Tcl_Interp *interp, const Outcome &outcome, int output, long long began) {
    Tcl_Obj *dict = Tcl_NewDictObj();
    const bool killed = WIFSIGNALED(outcome.status);
    put(dict, "late", Tcl_NewBooleanObj(outcome.late));
    put(dict, "signal", Tcl_NewIntObj(killed && !outcome.late ? WTERMSIG(outcome.status) : 0));
    put(dict, "exit", Tcl_NewIntObj(killed ? 0 : WEXITSTATUS(outcome.status)));
    put(dict, "ms", Tcl_NewWideIntObj(nowMs() - began));
    put(dict, "cpu", Tcl_NewWideIntObj(outcome.cpuMs));
    put(dict, "orphans", Tcl_NewIntObj(outcome.orphans));
    put(dict, "fired", Tcl_NewIntObj(control->fired));
    put(dict, "site", Tcl_NewStringObj(siteName().c_str(), -1));
    put(dict, "result", Tcl_NewStringObj(control->result, -1));
    const std::string text = contentOf(output);
    put(dict, "output", Tcl_NewStringObj(text.data(), static_cast<int>(text.size())));
    Tcl_SetObjResult(interp, dict);
}

int runCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const words[]) {
    int ms = 0;
    if (Tcl_GetIntFromObj(interp, words[2], &ms) != TCL_OK)
        return TCL_ERROR;
    const int output = static_cast<int>(::syscall(SYS_memfd_create, "output", MFD_CLOEXEC));
    const long long began = nowMs();
    control->result[0] = '\0';
    const pid_t pid = ::fork();
    if (pid == 0)
        beChild(interp, words[1], output);
    Outcome outcome;
    outcome.late = !endsBy(pid, ms);
    if (outcome.late)
        ::kill(pid, SIGKILL);
    rusage used{};
    ::wait4(pid, &outcome.status, 0, &used);
    addCpu(outcome, used);
    control->armed = 0;
    endOrphans(outcome, outcome.late ? 0 : ms);
    answer(interp, outcome, output, began);
    ::close(output);
    return TCL_OK;
}

// ---- what scenarios need --------------------------------------------------------------------

int descriptorsCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const[]) {
    std::map<std::string, int> found;
    DIR *directory = ::opendir("/proc/self/fd");
    while (const dirent *entry = ::readdir(directory)) {
        char target[4096];
        const ssize_t length =
            ::readlinkat(::dirfd(directory), entry->d_name, target, sizeof target);
        if (length <= 0 || atoi(entry->d_name) == ::dirfd(directory))
            continue;
        const std::string text(target, static_cast<size_t>(length));
        const size_t end = text[0] == '/' ? text.npos : text.find(":[");
        ++found[text.substr(0, end)];
    }
    ::closedir(directory);
    Tcl_Obj *dict = Tcl_NewDictObj();
    for (const auto &[target, count] : found)
        put(dict, target.c_str(), Tcl_NewIntObj(count));
    Tcl_SetObjResult(interp, dict);
    return TCL_OK;
}

// Writes one word and what it got: "unmade CODE", "answer BYTES", "closed", "silence".
void beClient(const char *path, const std::string &text, int ms, int report) {
    sockaddr_un server{};
    server.sun_family = AF_UNIX;
    strncpy(server.sun_path, path, sizeof server.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    const timeval limit{ms / 1000, ms % 1000 * 1000};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    std::string heard = "unmade";
    if (::connect(fd, reinterpret_cast<sockaddr *>(&server), sizeof server) == 0) {
        ssize_t count = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        std::string got;
        char bytes[4096];
        while ((count = ::recv(fd, bytes, sizeof bytes, 0)) > 0)
            got.append(bytes, static_cast<size_t>(count));
        const bool timedOut = count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
        heard = timedOut ? "silence" : got.empty() ? "closed" : "answer " + got;
    }
    if (::write(report, heard.data(), heard.size()) < 0)
        ::_exit(1);
    ::_exit(0);
}

// Of no concern to whoever waits for children: it is not one.
int clientCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const words[]) {
    int ms = 0;
    int ends[2];
    if (Tcl_GetIntFromObj(interp, words[3], &ms) != TCL_OK || ::pipe2(ends, O_CLOEXEC) < 0)
        return TCL_ERROR;
    const std::string path = Tcl_GetString(words[1]);
    const std::string text = Tcl_GetString(words[2]);
    const pid_t pid = ::fork();
    if (pid == 0) {
        if (::fork() != 0)
            ::_exit(0);
        // It must hold nothing open that it has inherited.
        for (int fd = 3; fd < 256; ++fd)
            if (fd != ends[1])
                ::close(fd);
        beClient(path.c_str(), text, ms, ends[1]);
    }
    ::close(ends[1]);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    Tcl_SetObjResult(interp, Tcl_NewIntObj(ends[0]));
    return TCL_OK;
}

int datagramsCommand(void *, Tcl_Interp *interp, int, Tcl_Obj *const words[]) {
    sockaddr_un own{};
    own.sun_family = AF_UNIX;
    strncpy(own.sun_path, Tcl_GetString(words[1]), sizeof own.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (::bind(fd, reinterpret_cast<sockaddr *>(&own), sizeof own) < 0) {
        Tcl_SetObjResult(interp, Tcl_NewStringObj(strerror(errno), -1));
        return TCL_ERROR;
    }
    Tcl_SetObjResult(interp, Tcl_NewIntObj(fd));
    return TCL_OK;
}

template <int count, Tcl_ObjCmdProc *command>
int checked(void *data, Tcl_Interp *interp, int given, Tcl_Obj *const words[]) {
    if (given == count + 1)
        return command(data, interp, given, words);
    Tcl_WrongNumArgs(interp, 1, words, "...");
    return TCL_ERROR;
}

} // namespace

extern "C" int Inject_Init(Tcl_Interp *interp) {
    const struct {
        const char *name;
        Tcl_ObjCmdProc *command;
    } commands[] = {
        {"::inject::open", checked<1, openCommand>},
        {"::inject::arm", checked<4, armCommand>},
        {"::inject::message", checked<1, messageCommand>},
        {"::inject::disarm", checked<0, disarmCommand>},
        {"::inject::counts", checked<0, countsCommand>},
        {"::inject::quietly", checked<1, quietlyCommand>},
        {"::inject::run", checked<2, runCommand>},
        {"::inject::descriptors", checked<0, descriptorsCommand>},
        {"::inject::client", checked<3, clientCommand>},
        {"::inject::datagrams", checked<1, datagramsCommand>},
    };
    Tcl_CreateNamespace(interp, "::inject", nullptr, nullptr);
    for (const auto &each : commands)
        Tcl_CreateObjCommand(interp, each.name, each.command, nullptr, nullptr);
    return TCL_OK;
}
