#include "tcl_signals.h"

#include "tcl_interp.h"
#include "tcl_notifier.h"

namespace uds {

Status SignalWatch::open() {
    if (pipe_.reader)
        return Nothing{};
    Result<SignalPipe> pipe = openSignalPipe();
    if (!pipe)
        return pipe.error();
    pipe_ = std::move(pipe.value());
    watchFile(pipe_.reader.get(), TCL_READABLE, onReadable, this);
    return Nothing{};
}

Status SignalWatch::set(int signal, ObjRef command) {
    Status status = open();
    if (status)
        status = catchSignal(signal, pipe_.writer.get());
    if (status)
        commands_[signal] = std::move(command);
    return status;
}

void SignalWatch::remove(int signal) {
    if (commands_.erase(signal) > 0)
        releaseSignal(signal, pipe_.writer.get());
}

ObjRef SignalWatch::get(int signal) const {
    const auto found = commands_.find(signal);
    return found == commands_.end() ? ObjRef() : found->second;
}

std::vector<int> SignalWatch::watched() const {
    std::vector<int> signals;
    for (const auto &[signal, command] : commands_)
        signals.push_back(signal);
    return signals;
}

void SignalWatch::forgetAll() {
    while (!commands_.empty())
        remove(commands_.begin()->first);
    if (!pipe_.reader)
        return;
    forgetFile(pipe_.reader.get());
    pipe_ = SignalPipe();
}

void SignalWatch::onReadable(void *watch, int) {
    auto *self = static_cast<SignalWatch *>(watch);
    Tcl_Interp *interp = self->interp_;
    Tcl_Preserve(interp);
    dataOf(interp); // in a forked child: lets go of the parent's pipe
    for (int signal : drainSignals(self->pipe_.reader.get())) {
        // A callback may delete the interpreter, and this object with it.
        if (Tcl_InterpDeleted(interp))
            break;
        const ObjRef command = self->get(signal);
        if (command)
            callBack(interp, command, {newString(signalName(signal))});
    }
    Tcl_Release(interp);
}

} // namespace uds
