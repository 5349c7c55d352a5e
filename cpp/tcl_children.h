// Exits of child processes as callbacks of the event loop, for one
// interpreter. Only the children that were named are waited for, so that
// Tcl's exec and open | keep theirs.
#ifndef UDS_TCL_CHILDREN_H
#define UDS_TCL_CHILDREN_H

#include "posix_process.h"
#include "tcl_support.h"

#include <map>
#include <memory>

namespace uds {

class ChildWatch {
public:
    explicit ChildWatch(Tcl_Interp *interp);
    ~ChildWatch();
    ChildWatch(const ChildWatch &) = delete;
    ChildWatch &operator=(const ChildWatch &) = delete;

    // The callback gets pid and status appended, once. The child is reaped.
    Status set(pid_t pid, ObjRef command);
    void remove(pid_t pid);
    ObjRef get(pid_t pid) const;
    std::vector<pid_t> watched() const;
    // Somebody waited for the child directly: its callback is still due.
    void ended(pid_t pid, const ExitStatus &status);
    void forgetAll();

private:
    struct Child;
    static void onReadable(void *child, int mask);
    static void onTimer(void *child);
    void stopWatching(Child &child);
    void startTimer(Child &child, int ms);
    void reap(Child &child);

    Tcl_Interp *interp_;
    std::map<pid_t, std::unique_ptr<Child>> children_;
};

} // namespace uds

#endif
