#include "posix_identity.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <sstream>

#if defined(__linux__) && !defined(UDS_PORTABLE)
#define UDS_LINUX_IDENTITY
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

extern char **environ;
#endif

#if (defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__)) && !defined(UDS_PORTABLE)
#define UDS_HAS_SETRESUID
#endif

namespace uds {

namespace {

// ---- looking up ------------------------------------------------------------

// Names may not be numbers, so what reads as a number is one, if no such name
// exists. The greatest value means "leave as it is" to the system.
template <class Id> std::optional<Id> parseId(const std::string &text) {
    if (text.empty() || text.size() > 10 || text.find_first_not_of("0123456789") != text.npos)
        return std::nullopt;
    const unsigned long long number = std::stoull(text);
    if (number >= static_cast<Id>(-1))
        return std::nullopt;
    return static_cast<Id>(number);
}

// What getpwnam_r and its like need: a buffer that grows until it suffices.
// Null: there is no such entry.
template <class Entry, class Lookup>
Result<const Entry *> lookUp(Entry &entry, std::string &buffer, Lookup lookup) {
    buffer.resize(1024);
    for (;;) {
        Entry *found = nullptr;
        const int code = lookup(&entry, buffer.data(), buffer.size(), &found);
        if (code == ERANGE)
            buffer.resize(buffer.size() * 2);
        else if (code == 0 || code == ENOENT || code == ESRCH)
            return found;
        else if (code != EINTR)
            return systemError("", code);
    }
}

// For the system a name ends at a NUL: somebody else would be found.
bool isName(const std::string &text) {
    return text.find('\0') == text.npos;
}

struct User {
    std::string name; // empty: a number without an entry
    uid_t uid = 0;
    std::optional<gid_t> gid;
};

Result<std::optional<User>> userBy(const std::string &text, std::optional<uid_t> number) {
    passwd entry{};
    std::string buffer;
    auto found = lookUp(entry, buffer, [&](passwd *into, char *bytes, size_t size, passwd **out) {
        if (number)
            return ::getpwuid_r(*number, into, bytes, size, out);
        return isName(text) ? ::getpwnam_r(text.c_str(), into, bytes, size, out) : 0;
    });
    if (!found)
        return systemError("couldn't find user \"" + text + "\"", found.error().code);
    if (!found.value())
        return std::optional<User>();
    return std::optional(User{entry.pw_name, entry.pw_uid, entry.pw_gid});
}

Result<User> findUser(const std::string &text) {
    Result<std::optional<User>> user = userBy(text, std::nullopt);
    const std::optional<uid_t> number = parseId<uid_t>(text);
    if (user && !user.value() && number)
        user = userBy(text, number);
    if (!user)
        return user.error();
    if (user.value())
        return *user.value();
    if (number)
        return User{"", *number, std::nullopt};
    return processError("USER", "couldn't find user \"" + text + "\"",
                        "must be the name or the number of a user", text);
}

Result<gid_t> findGroup(const std::string &text) {
    group entry{};
    std::string buffer;
    auto found = lookUp(entry, buffer, [&](group *into, char *bytes, size_t size, group **out) {
        return isName(text) ? ::getgrnam_r(text.c_str(), into, bytes, size, out) : 0;
    });
    if (!found)
        return systemError("couldn't find group \"" + text + "\"", found.error().code);
    if (found.value())
        return entry.gr_gid;
    if (const std::optional<gid_t> number = parseId<gid_t>(text))
        return *number;
    return processError("GROUP", "couldn't find group \"" + text + "\"",
                        "must be the name or the number of a group", text);
}

std::vector<gid_t> groupsOf(const std::string &user, gid_t gid) {
    if (user.empty())
        return {gid};
#ifdef __APPLE__
    using Number = int;
#else
    using Number = gid_t;
#endif
    std::vector<Number> numbers(64);
    int count = static_cast<int>(numbers.size());
    while (::getgrouplist(user.c_str(), static_cast<Number>(gid), numbers.data(), &count) < 0) {
        numbers.resize(std::max(static_cast<size_t>(count), numbers.size() * 2));
        count = static_cast<int>(numbers.size());
    }
    return std::vector<gid_t>(numbers.begin(), numbers.begin() + count);
}

// ---- changing ----------------------------------------------------------------

// Real, effective and (where the system tells) saved.
struct Ids {
    std::vector<uid_t> users;
    std::vector<gid_t> groups;
};

Ids currentIds() {
#ifdef UDS_HAS_SETRESUID
    uid_t users[3] = {};
    gid_t groups[3] = {};
    ::getresuid(&users[0], &users[1], &users[2]);
    ::getresgid(&groups[0], &groups[1], &groups[2]);
    return {{users, users + 3}, {groups, groups + 3}};
#else
    return {{::getuid(), ::geteuid()}, {::getgid(), ::getegid()}};
#endif
}

// The libraries' functions, not the bare system calls: those change one thread.
int setAllUsers(uid_t uid) {
#ifdef UDS_HAS_SETRESUID
    return ::setresuid(uid, uid, uid);
#else
    return ::setuid(uid);
#endif
}

int setAllGroups(gid_t gid) {
#ifdef UDS_HAS_SETRESUID
    return ::setresgid(gid, gid, gid);
#else
    return ::setgid(gid);
#endif
}

template <class Id> void sortUnique(std::vector<Id> &ids) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

bool hasGroups(std::vector<gid_t> wanted) {
    std::vector<gid_t> present(static_cast<size_t>(std::max(0, ::getgroups(0, nullptr))));
    const int count = ::getgroups(static_cast<int>(present.size()), present.data());
    present.resize(static_cast<size_t>(std::max(0, count)));
    sortUnique(present);
    sortUnique(wanted);
    return present == wanted;
}

Error changeError(const Identity &identity, const char *changed) {
    const int code = errno;
    std::string what = "couldn't change to user \"" + identity.name + "\"";
    if (changed)
        what += std::string(" (") + changed + " changed already)";
    return systemError(what, code);
}

// ---- verifying ---------------------------------------------------------------

// With these the process could get other ids again, even if an attempt is
// refused at present.
bool mayChangeIds() {
#ifdef UDS_LINUX_IDENTITY
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
    if (::syscall(SYS_capget, &header, sets) < 0)
        return true; // who cannot tell does not promise
    return (sets[0].permitted & (1U << CAP_SETUID | 1U << CAP_SETGID)) != 0;
#else
    return false;
#endif
}

template <class Id> bool isAll(const std::vector<Id> &ids, Id wanted) {
    return std::all_of(ids.begin(), ids.end(), [&](Id each) { return each == wanted; });
}

// The first of the old ids, or 0, that can be had again.
template <class Id, class Set>
std::optional<Id> regain(std::vector<Id> before, Id wanted, Set setEffective) {
    before.push_back(0);
    for (Id each : before) {
        if (each == wanted || setEffective(each) != 0)
            continue;
        if (setEffective(wanted) != 0)
            continue; // the check of all ids finds it
        return each;
    }
    return std::nullopt;
}

Error privilegesError(const Identity &identity, const std::string &reason) {
    return processError("PRIVILEGES", "couldn't give up privileges for \"" + identity.name + "\"",
                        reason, identity.name);
}

Status verify(const Identity &identity, const Ids &before) {
    if (identity.uid != 0) {
        if (const auto group = regain(before.groups, identity.gid, ::setegid))
            return privilegesError(identity,
                                   "group " + std::to_string(*group) + " can still be taken back");
        if (const auto user = regain(before.users, identity.uid, ::seteuid))
            return privilegesError(identity,
                                   "user " + std::to_string(*user) + " can still be taken back");
        if (mayChangeIds())
            return privilegesError(identity, "the capability to change ids is still there");
    }
    const Ids now = currentIds();
    if (!isAll(now.users, identity.uid) || !isAll(now.groups, identity.gid) ||
        !hasGroups(identity.groups))
        return privilegesError(identity, "the system has not changed every id");
    return Nothing{};
}

} // namespace

Error processError(const char *kind, std::string what, std::string reason, std::string detail) {
    Error error = ownError(kind, std::move(what), std::move(reason), std::move(detail));
    error.domain = "UNIX_PROCESS";
    return error;
}

Result<uid_t> findUserId(const std::string &user) {
    Result<User> found = findUser(user);
    if (!found)
        return found.error();
    return found.value().uid;
}

Result<Identity> findIdentity(const std::string &user, const std::string &group) {
    Result<User> found = findUser(user);
    if (!found)
        return found.error();
    Identity identity;
    identity.name = user;
    identity.uid = found.value().uid;
    if (!group.empty()) {
        Result<gid_t> gid = findGroup(group);
        if (!gid)
            return gid.error();
        identity.gid = gid.value();
    } else if (found.value().gid) {
        identity.gid = *found.value().gid;
    } else {
        return processError("GROUP", "couldn't find the group of user \"" + user + "\"",
                            "the system does not know this user: name a group", "");
    }
    identity.groups = groupsOf(found.value().name, identity.gid);
    return identity;
}

Status becomeUser(const Identity &identity) {
    const Ids before = currentIds();
    const char *changed = nullptr;
    // Asked first: a process that has these groups needs no right to set them.
    if (!hasGroups(identity.groups)) {
        if (::setgroups(identity.groups.size(), identity.groups.data()) < 0)
            return changeError(identity, changed);
        changed = "supplementary groups are";
    }
    if (setAllGroups(identity.gid) < 0)
        return changeError(identity, changed);
    if (!isAll(before.groups, identity.gid))
        changed = "groups are";
    if (setAllUsers(identity.uid) < 0)
        return changeError(identity, changed);
    return verify(identity, before);
}

#ifdef UDS_LINUX_IDENTITY

namespace {

Result<std::string> readAll(const char *path) {
    std::string bytes;
    const UniqueFd fd(retry([&] { return ::open(path, O_RDONLY | O_CLOEXEC); }));
    if (!fd)
        return systemError("open");
    char part[4096];
    for (;;) {
        const ssize_t count = retry([&] { return ::read(fd.get(), part, sizeof part); });
        if (count < 0)
            return systemError("read");
        if (count == 0)
            return bytes;
        bytes.append(part, static_cast<size_t>(count));
    }
}

} // namespace

#endif

// ---- umask -------------------------------------------------------------------

mode_t setUmask(mode_t mask) {
    return ::umask(mask);
}

// POSIX can only ask by setting, during which other threads would make files
// with the wrong permissions.
mode_t currentUmask() {
#ifdef UDS_LINUX_IDENTITY
    const Result<std::string> status = readAll("/proc/self/status");
    if (const char *line = status ? std::strstr(status.value().c_str(), "\nUmask:") : nullptr)
        return static_cast<mode_t>(std::strtol(line + 7, nullptr, 8));
#endif
    const mode_t mask = ::umask(077);
    ::umask(mask);
    return mask;
}

// ---- limits ------------------------------------------------------------------

const NamedNumber kLimits[] = {
    {"nofile", RLIMIT_NOFILE},
#ifdef RLIMIT_NPROC
    {"nproc", RLIMIT_NPROC},
#endif
    {"core", RLIMIT_CORE},
#ifdef RLIMIT_AS
    {"as", RLIMIT_AS},
#endif
    {"cpu", RLIMIT_CPU},         {"data", RLIMIT_DATA}, {"fsize", RLIMIT_FSIZE},
#ifdef RLIMIT_MEMLOCK
    {"memlock", RLIMIT_MEMLOCK},
#endif
    {"stack", RLIMIT_STACK},     {nullptr, 0},
};

Result<rlimit> getLimit(const NamedNumber &limit) {
    rlimit value{};
    if (::getrlimit(static_cast<decltype(RLIMIT_CORE)>(limit.number), &value) < 0)
        return systemError(std::string("couldn't get limit \"") + limit.name + "\"");
    return value;
}

Status setLimit(const NamedNumber &limit, const rlimit &value) {
    if (::setrlimit(static_cast<decltype(RLIMIT_CORE)>(limit.number), &value) < 0)
        return systemError(std::string("couldn't set limit \"") + limit.name + "\"");
    return Nothing{};
}

// ---- title -------------------------------------------------------------------

std::string cutUtf8(const std::string &utf, size_t most) {
    if (utf.size() <= most)
        return utf;
    while (most > 0 && (static_cast<unsigned char>(utf[most]) & 0xc0) == 0x80)
        --most;
    return utf.substr(0, most);
}

#ifdef UDS_LINUX_IDENTITY

namespace {

// Where the kernel reads the command line: argv's strings, and what may be
// taken of the environment's, which follow them.
struct TitleArea {
    char *start = nullptr;
    char *argumentsEnd = nullptr;
    char *end = nullptr;
};

// proc(5): fields 48 to 51 of stat; the third follows the name in brackets.
Result<TitleArea> findTitleArea() {
    const Error none = systemError("stat", ENOSYS);
    const Result<std::string> stat = readAll("/proc/self/stat");
    if (!stat)
        return stat.error();
    const size_t name = stat.value().rfind(')');
    if (name == std::string::npos)
        return none;
    std::istringstream fields(stat.value().substr(name + 1));
    std::string skipped;
    for (int i = 3; i < 48; ++i)
        fields >> skipped;
    uintptr_t at[4] = {};
    for (uintptr_t &each : at)
        fields >> each;
    const auto [start, argumentsEnd, environmentStart, environmentEnd] = at;
    if (!fields || start == 0 || argumentsEnd <= start)
        return none;
    const bool follows = environmentStart == argumentsEnd && environmentEnd >= environmentStart;
    const uintptr_t end = follows ? environmentEnd : argumentsEnd;
    return TitleArea{reinterpret_cast<char *>(start), reinterpret_cast<char *>(argumentsEnd),
                     reinterpret_cast<char *>(end)};
}

// Gives a string of the area its place in a copy of the area.
void moveAway(char *&string, const TitleArea &area, char *copy) {
    if (string >= area.start && string < area.end)
        string = copy + (string - area.start);
}

void moveStrings(const TitleArea &area) {
    // For good: others may hold pointers into it until the process ends.
    static char *const copy = new char[static_cast<size_t>(area.end - area.start)];
    std::memcpy(copy, area.start, static_cast<size_t>(area.end - area.start));
    for (char **each = environ; each && *each; ++each)
        moveAway(*each, area, copy);
#ifdef __GLIBC__
    moveAway(program_invocation_name, area, copy);
    moveAway(program_invocation_short_name, area, copy);
#endif
}

// For all threads; a fork waits for it, or a child might find it held for ever.
std::mutex &titleMutex() {
    static std::mutex mutex;
    static const int registered =
        ::pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
    static_cast<void>(registered);
    return mutex;
}

// Found once; the area stays where it is, also in forked children.
Result<TitleArea> titleArea() {
    static TitleArea known;
    if (known.start)
        return known;
    Result<TitleArea> found = findTitleArea();
    if (found) {
        known = found.value();
        moveStrings(known);
    }
    return found;
}

constexpr size_t kMostTitle = 4095; // the kernel shows one page
constexpr size_t kMostName = 15;    // TASK_COMM_LEN

} // namespace

Status setTitle(const std::string &title) {
    const std::lock_guard<std::mutex> lock(titleMutex());
    const Result<TitleArea> found = titleArea();
    if (!found)
        return systemError("couldn't set the title", found.error().code);
    const TitleArea &area = found.value();
    const size_t size = static_cast<size_t>(area.end - area.start);
    const std::string shown = cutUtf8(title, std::min(size - 1, kMostTitle));
    std::memset(area.start, 0, size);
    // A byte other than NUL at the end of the arguments tells the kernel that
    // one string is to be shown, up to its end, even beyond the arguments.
    area.argumentsEnd[-1] = '.';
    std::memcpy(area.start, shown.c_str(), shown.size() + 1);
    ::prctl(PR_SET_NAME, cutUtf8(title, kMostName).c_str(), 0, 0, 0);
    return Nothing{};
}

// Not while another thread changes it.
Result<std::string> currentTitle() {
    const std::lock_guard<std::mutex> lock(titleMutex());
    const Result<std::string> read = readAll("/proc/self/cmdline");
    if (!read || read.value().empty())
        return systemError("couldn't read the title", read ? ENOSYS : read.error().code);
    std::string line = read.value();
    line.resize(line.find_last_not_of('\0') + 1);
    std::replace(line.begin(), line.end(), '\0', ' ');
    return line;
}

#else

Status setTitle(const std::string &) {
    return systemError("couldn't set the title", ENOSYS);
}

Result<std::string> currentTitle() {
    return systemError("couldn't read the title", ENOSYS);
}

#endif

} // namespace uds
