#include "posix_socket_file.h"

#include "posix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <climits>

namespace uds {

namespace {

std::string absolutePath(const std::string &path) {
    char directory[PATH_MAX];
    if (path[0] == '/' || !::getcwd(directory, sizeof directory))
        return path;
    return std::string(directory) + "/" + path;
}

Error refused(const char *kind, const std::string &path, const char *reason) {
    return ownError(kind, "couldn't replace \"" + path + "\"", reason, path);
}

// Between the look at a socket that nobody answers on and our own's first listen another
// server could do the same, and one of them would lose its socket to the other. So that is
// one's turn at a time, by a lock of the directory; for five seconds at most, since anybody
// who may read the directory can hold it.
class DirectoryLock {
public:
    explicit DirectoryLock(const std::string &path) {
        constexpr int kAttempts = 1000;
        constexpr useconds_t kPause = 5000;
        const std::string directory = path.substr(0, path.rfind('/') + 1) + ".";
        fd_ = UniqueFd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        for (int i = 0; fd_ && i < kAttempts && ::flock(fd_.get(), LOCK_EX | LOCK_NB) < 0; ++i) {
            if (!isWouldBlock(errno) && errno != EINTR)
                break;
            ::usleep(kPause);
        }
    }
    // Also of a copy that a forked process may have got.
    ~DirectoryLock() {
        if (fd_)
            ::flock(fd_.get(), LOCK_UN);
    }
    DirectoryLock(const DirectoryLock &) = delete;
    DirectoryLock &operator=(const DirectoryLock &) = delete;

private:
    UniqueFd fd_;
};

// Asks by connecting, without waiting. A full backlog is an answer too.
Status refuseIfAnswered(const Address &address, const std::string &path) {
    Result<UniqueFd> probe = openSocket(AF_UNIX, SOCK_STREAM);
    if (!probe)
        return probe.error();
    Status connected = tryConnect(probe.value().get(), address);
    if (!connected && connected.error().code == ECONNREFUSED)
        return Nothing{};
    if (connected || isWouldBlock(connected.error().code) || connected.error().code == EPROTOTYPE)
        return refused("INUSE", path, "a server answers on it");
    return systemError("couldn't replace \"" + path + "\"", connected.error().code);
}

Status makePlace(const Address &address, const std::string &path, Replace replace) {
    struct stat existing;
    if (::lstat(path.c_str(), &existing) < 0)
        return errno == ENOENT ? Nothing{} : Status(systemError("bind"));
    if (replace == Replace::Never)
        return refused("EXISTS", path, "file already exists");
    if (replace != Replace::Any && !S_ISSOCK(existing.st_mode))
        return refused("NOTSOCKET", path, "not a socket");
    if (replace == Replace::Stale) {
        Status status = refuseIfAnswered(address, path);
        if (!status)
            return status;
    }
    if (::unlink(path.c_str()) < 0 && errno != ENOENT)
        return systemError("couldn't replace \"" + path + "\"");
    return Nothing{};
}

// Linux gives the file the socket's permissions, without those that the umask takes. What
// is missing then is not given to the name: who may write to the directory could have put
// a link to another file there.
Status permit(const std::string &path, mode_t permissions) {
    struct stat made;
    if (::lstat(path.c_str(), &made) < 0)
        return systemError("chmod");
    if ((made.st_mode & 07777) == permissions)
        return Nothing{};
#if defined(O_PATH) && !defined(UDS_PORTABLE)
    const UniqueFd file(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!file || ::fstat(file.get(), &made) < 0)
        return systemError("chmod");
    if (!S_ISSOCK(made.st_mode) || made.st_uid != ::geteuid())
        return systemError("chmod", EEXIST);
    const std::string opened = "/proc/self/fd/" + std::to_string(file.get());
    const int result = ::chmod(opened.c_str(), permissions);
#else
    const int result = ::fchmodat(AT_FDCWD, path.c_str(), permissions, AT_SYMLINK_NOFOLLOW);
#endif
    if (result < 0)
        return systemError("chmod");
    return Nothing{};
}

// Nobody can connect between bind and listen, so that is when the file gets
// its permissions.
Status restrictAndListen(int fd, const std::string &path, const UnixListenOptions &options) {
    if (options.permissions >= 0 && !path.empty())
        if (Status status = permit(path, static_cast<mode_t>(options.permissions)); !status)
            return status;
    if (::listen(fd, options.backlog) < 0)
        return systemError("listen");
    return setNonBlocking(fd, true);
}

} // namespace

std::optional<SocketFile> SocketFile::created(const std::string &path) {
    struct stat made;
    if (path.empty() || ::lstat(path.c_str(), &made) < 0)
        return std::nullopt;
    SocketFile file;
    file.path_ = absolutePath(path);
    file.device_ = made.st_dev;
    file.inode_ = made.st_ino;
    file.owner_ = ::getpid();
    return file;
}

std::optional<SocketFile> SocketFile::takenOver(const std::string &path, dev_t device,
                                                ino_t inode) {
    std::optional<SocketFile> file = created(path);
    if (file && (file->device_ != device || file->inode_ != inode))
        file.reset();
    return file;
}

bool SocketFile::isOurs() const {
    return ::getpid() == owner_;
}

void SocketFile::remove() const {
    struct stat found;
    if (!isOurs() || ::lstat(path_.c_str(), &found) < 0)
        return;
    if (S_ISSOCK(found.st_mode) && found.st_dev == device_ && found.st_ino == inode_)
        ::unlink(path_.c_str());
}

Result<UnixListener> listenUnix(const Address &address, const UnixListenOptions &options) {
    const std::string path = address.path();
    Result<UniqueFd> fd = openSocket(AF_UNIX, SOCK_STREAM);
    if (!fd)
        return fd.error();
    std::optional<DirectoryLock> lock;
    if (!path.empty()) {
        if (options.replace == Replace::Stale)
            lock.emplace(path);
        Status place = makePlace(address, path, options.replace);
        if (!place)
            return place.error();
        if (options.permissions >= 0)
            static_cast<void>(::fchmod(fd.value().get(), static_cast<mode_t>(options.permissions)));
    }
    UnixListener listener{std::move(fd.value()), std::nullopt};
    if (::bind(listener.fd.get(), address.get(), address.length) < 0)
        return systemError("bind");
    listener.file = SocketFile::created(path);
    Status status = restrictAndListen(listener.fd.get(), path, options);
    if (!status) {
        if (listener.file)
            listener.file->remove();
        return status.error();
    }
    return listener;
}

} // namespace uds
