// The file that a listening unix socket leaves in the file system: made with
// the right permissions, and removed only by its owner.
#ifndef UDS_POSIX_SOCKET_FILE_H
#define UDS_POSIX_SOCKET_FILE_H

#include "posix_address.h"
#include "posix_fd.h"

#include <sys/stat.h>

#include <optional>
#include <string>

namespace uds {

// What may be removed to make place for a new socket file.
enum class Replace {
    Any,    // whatever is there
    Socket, // only a socket
    Stale,  // only a socket that nobody answers on
    Never,
};

// Remembers which file is ours. Removing it is explicit, not a destructor:
// it has to happen while the socket is still open, because the inode number
// of a closed one is given to the next file at once.
class SocketFile {
public:
    // Takes note of the file that bind(2) has just made.
    static std::optional<SocketFile> created(const std::string &path);
    // Takes the file over from the process that made it, while the socket is
    // open: no other file can have its number then. Nullopt if it has gone.
    static std::optional<SocketFile> takenOver(const std::string &path, dev_t device, ino_t inode);

    bool isOurs() const;
    const std::string &path() const { return path_; }
    dev_t device() const { return device_; }
    ino_t inode() const { return inode_; }
    // Removes the file if it is this process's and still the same one.
    // After fork the child's copy removes nothing.
    void remove() const;

private:
    std::string path_; // absolute: the working directory may change
    dev_t device_ = 0;
    ino_t inode_ = 0;
    pid_t owner_ = 0;
};

struct UnixListener {
    UniqueFd fd;
    std::optional<SocketFile> file; // none for an abstract name
};

struct UnixListenOptions {
    int backlog = 0;
    int permissions = -1; // -1: as the umask says
    Replace replace = Replace::Any;
};

// Non-blocking, close-on-exec. Permissions apply before the first client can
// connect. On failure nothing of ours stays behind.
Result<UnixListener> listenUnix(const Address &address, const UnixListenOptions &options);

} // namespace uds

#endif
