// Who a process is and what it may: its user and groups, umask, resource
// limits, and the title that ps shows. All of these belong to the process; a
// forked child starts with the values of its parent. Nothing here blocks,
// except that looking a user up may ask a directory service.
#ifndef UDS_POSIX_IDENTITY_H
#define UDS_POSIX_IDENTITY_H

#include "posix_fd.h"

#include <sys/resource.h>
#include <sys/types.h>

#include <string>
#include <vector>

namespace uds {

// An error of our own in the domain UNIX_PROCESS.
Error processError(const char *kind, std::string what, std::string reason, std::string detail);

// A row of a table that ends with a null name.
struct NamedNumber {
    const char *name; // first: Tcl_GetIndexFromObjStruct reads it
    int number;
};

struct Identity {
    std::string name; // as it was asked for
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups; // supplementary, gid among them
};

Result<uid_t> findUserId(const std::string &user);
// By names or numbers. An empty group: the user's own.
Result<Identity> findIdentity(const std::string &user, const std::string &group);

// Groups first, the user last, in all threads. Then it is tried to get the old
// ids back; that this fails is part of success. An error says so when a part
// has been changed already.
Status becomeUser(const Identity &identity);

// Returns the mask before.
mode_t setUmask(mode_t mask);
mode_t currentUmask();

extern const NamedNumber kLimits[]; // nofile and so on, with the numbers of getrlimit(2)
Result<rlimit> getLimit(const NamedNumber &limit);
Status setLimit(const NamedNumber &limit, const rlimit &value);

// Cut to `most` bytes, between two characters.
std::string cutUtf8(const std::string &utf, size_t most);

// The command line as ps shows it, in UTF-8. Overwrites the memory of the
// arguments and the environment, whose strings move to the heap first; the
// title is cut to that size. ENOSYS where the system has no such thing.
Status setTitle(const std::string &title);
Result<std::string> currentTitle();

} // namespace uds

#endif
