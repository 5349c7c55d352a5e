#include "posix_socket_file.h"

#include "posix_socket.h"

#include <fcntl.h>
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

// Nobody can connect between bind and listen, so that is when the file gets
// its permissions.
Status restrictAndListen(int fd, const std::string &path, const UnixListenOptions &options) {
    if (options.permissions >= 0 && !path.empty() &&
        ::chmod(path.c_str(), static_cast<mode_t>(options.permissions)) < 0)
        return systemError("chmod");
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
    if (!path.empty()) {
        Status place = makePlace(address, path, options.replace);
        if (!place)
            return place.error();
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
