#include "posix_notify.h"

#include "posix_address.h"
#include "posix_socket.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace uds {

namespace {

#if defined(SCM_CREDENTIALS) && !defined(UDS_PORTABLE)
using Sender = ucred;
#else
struct Sender {};
#endif

struct Control {
    alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(Sender))] = {};
};

Status nameSender(msghdr &message, Control &control, pid_t pid) {
#if defined(SCM_CREDENTIALS) && !defined(UDS_PORTABLE)
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    const Sender sender{pid, ::getuid(), ::getgid()};
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_CREDENTIALS;
    header->cmsg_len = CMSG_LEN(sizeof sender);
    std::memcpy(CMSG_DATA(header), &sender, sizeof sender);
    return Nothing{};
#else
    static_cast<void>(message);
    static_cast<void>(control);
    static_cast<void>(pid);
    return systemError("sendmsg", ENOSYS);
#endif
}

} // namespace

Result<bool> notifyManager(const std::string &state, std::optional<pid_t> pid) {
    const char *name = std::getenv("NOTIFY_SOCKET");
    if (!name || !*name)
        return false;
    const std::string what = "couldn't notify \"" + std::string(name) + "\"";
    if (*name != '/' && *name != '@')
        return systemError(what, EAFNOSUPPORT);
    Result<Address> address = unixAddress(name);
    if (!address)
        return systemError(what, ENAMETOOLONG);
    Result<UniqueFd> fd = openSocket(AF_UNIX, SOCK_DGRAM);
    if (!fd)
        return systemError(what, fd.error().code);
    iovec part{const_cast<char *>(state.data()), state.size()};
    msghdr message{};
    message.msg_name = address.value().get();
    message.msg_namelen = address.value().length;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    Control control;
    Status named = pid ? nameSender(message, control, *pid) : Nothing{};
    if (!named)
        return systemError(what, named.error().code);
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    if (retry([&] { return ::sendmsg(fd.value().get(), &message, flags); }) < 0)
        return systemError(what);
    return true;
}

} // namespace uds
