#include "posix_output.h"

#include "posix_socket.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#ifdef __linux__
#include <linux/magic.h>
#include <sys/vfs.h>
#endif

namespace uds {

namespace {

// Without waiting for the reader of a FIFO, and without a terminal that takes this process
// for its own.
constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
constexpr mode_t kPermissions = 0666;
constexpr int kMostLinks = 40;

Result<UniqueFd> opened(const std::string &path, int flags) {
    UniqueFd fd(retry([&] { return ::open(path.c_str(), flags, kPermissions); }));
    if (!fd)
        return systemError("open");
    Status blocking = setNonBlocking(fd.get(), false);
    if (!blocking)
        return blocking.error();
    return fd;
}

bool isLinkError(const Error &error) {
    return error.code == ELOOP || error.code == EMLINK; // the second one on FreeBSD
}

// What a link at this path says, as a path.
std::string joined(const std::string &path, const char *target, ssize_t size) {
    const std::string to(target, static_cast<size_t>(size));
    return size > 0 && to[0] == '/' ? to : path.substr(0, path.rfind('/') + 1) + to;
}

#if defined(O_PATH) && !defined(UDS_PORTABLE)
// The link itself, opened: nobody can put another one in its place meanwhile.
constexpr int kLinkFlags = O_PATH | O_NOFOLLOW | O_CLOEXEC;

// Those of /proc/self/fd lead to open files, not to what they say.
bool isMagic(int link) {
    struct statfs where {};
    return ::fstatfs(link, &where) == 0 && where.f_type == PROC_SUPER_MAGIC;
}

// Where to go on; empty: the system is to follow the link.
Result<std::string> targetOf(const std::string &path) {
    const UniqueFd link(retry([&] { return ::open(path.c_str(), kLinkFlags); }));
    struct stat info {};
    if (!link || ::fstat(link.get(), &info) < 0)
        return systemError("open");
    if (!S_ISLNK(info.st_mode))
        return path; // not any more
    if (info.st_uid != 0 && info.st_uid != ::geteuid())
        return systemError("open", EACCES);
    if (isMagic(link.get()))
        return std::string();
    char target[PATH_MAX];
    const ssize_t size = ::readlinkat(link.get(), "", target, sizeof target);
    if (size < 0)
        return systemError("open");
    return joined(path, target, size);
}
#else
// Who is quick enough could put another link there meanwhile.
Result<std::string> targetOf(const std::string &path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) < 0)
        return systemError("open");
    if (!S_ISLNK(info.st_mode))
        return path; // not any more
    if (info.st_uid != 0 && info.st_uid != ::geteuid())
        return systemError("open", EACCES);
    char target[PATH_MAX];
    const ssize_t size = ::readlink(path.c_str(), target, sizeof target);
    if (size < 0)
        return systemError("open");
    // Those of /proc/self/fd lead to open files, not to what they say.
    const std::string next = joined(path, target, size);
    return ::lstat(next.c_str(), &info) == 0 ? next : std::string();
}
#endif

} // namespace

Result<UniqueFd> openForAppending(const std::string &path) {
    std::string at = path;
    for (int links = 0; links < kMostLinks; ++links) {
        Result<UniqueFd> fd = opened(at, kFlags | O_NOFOLLOW);
        if (fd || !isLinkError(fd.error()))
            return fd;
        Result<std::string> target = targetOf(at);
        if (!target)
            return target.error();
        if (target.value().empty())
            return opened(at, kFlags);
        at = target.value();
    }
    return systemError("open", ELOOP);
}

Status giveTo(int fd, uid_t user) {
    struct stat info {};
    if (::fstat(fd, &info) < 0)
        return systemError("fstat");
    if (!S_ISREG(info.st_mode) || info.st_uid == user || info.st_uid != ::geteuid() ||
        info.st_size > 0)
        return Nothing{};
    if (info.st_nlink > 1)
        return systemError("fchown", EMLINK);
    if (::fchown(fd, user, static_cast<gid_t>(-1)) < 0)
        return systemError("fchown");
    return Nothing{};
}

} // namespace uds
