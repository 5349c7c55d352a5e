// Signals as callbacks of the event loop, for one interpreter.
#ifndef UDS_TCL_SIGNALS_H
#define UDS_TCL_SIGNALS_H

#include "posix_signal.h"
#include "tcl_support.h"

#include <map>

namespace uds {

class SignalWatch {
public:
    explicit SignalWatch(Tcl_Interp *interp) : interp_(interp) {}
    ~SignalWatch() { forgetAll(); }
    SignalWatch(const SignalWatch &) = delete;
    SignalWatch &operator=(const SignalWatch &) = delete;

    // The callback gets the signal's name appended. The last interpreter of
    // the process that asks for a signal gets it.
    Status set(int signal, ObjRef command);
    void remove(int signal);
    ObjRef get(int signal) const;
    std::vector<int> watched() const;
    // Signals do again what they did before; also what a forked child does.
    void forgetAll();

private:
    static void onReadable(void *watch, int mask);
    Status open();

    Tcl_Interp *interp_;
    SignalPipe pipe_;
    std::map<int, ObjRef> commands_;
};

} // namespace uds

#endif
