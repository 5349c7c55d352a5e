// What forkserver.tcl needs of the system; all of it private.
#include "cmd_table.h"
#include "posix_fd.h"
#include "posix_process.h"
#include "posix_signal.h"
#include "posix_socket.h"
#include "tcl_adopt.h"
#include "tcl_channel.h"
#include "tcl_fork.h"
#include "tcl_interp.h"
#include "tcl_notifier.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <set>

namespace uds {

namespace {

// Ends Tcl 8.6's notifier thread, which starts again when it is needed.
int quietNotifierCommand(const Call &call) {
    const Status status = stopNotifierThread();
    return status ? TCL_OK : call.fail(status.error());
}

void descriptorsOf(Tcl_Channel channel, std::set<int> &descriptors) {
    for (int direction : {TCL_READABLE, TCL_WRITABLE})
        if (const std::optional<int> fd = descriptorOf(channel, direction))
            descriptors.insert(*fd);
}

struct OwnedChannel {
    Tcl_Interp *interp;
    Tcl_Channel channel;
};

// A thread of Tcl 8.6's notifier spends its life in select; user threads, which
// have it wait for them, do not.
int isNotifierCommand(const Call &call) {
    int thread = 0;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &thread) != TCL_OK)
        return TCL_ERROR;
    return call.answer(Tcl_NewBooleanObj(TCL_MAJOR_VERSION < 9 && waitsInSelect(thread)));
}

// Closes channels without a trace: what Tcl or a stacked channel still writes
// goes to /dev/null, not to connections that belong to another process.
int discard(const Call &call, const std::vector<OwnedChannel> &channels) {
    const UniqueFd nowhere(retry([] { return ::open("/dev/null", O_RDWR | O_CLOEXEC); }));
    if (!nowhere)
        return call.fail(systemError("couldn't open \"/dev/null\""));
    std::set<int> descriptors;
    for (const OwnedChannel &each : channels)
        descriptorsOf(each.channel, descriptors);
    for (int fd : descriptors) {
        // A poller would go on with a file that another process still holds.
        Tcl_DeleteFileHandler(fd);
        retry([&] { return ::dup2(nowhere.get(), fd); });
    }
    for (const OwnedChannel &each : channels) {
        // Or Tcl would keep the channel until its output is gone.
        Tcl_SetChannelOption(nullptr, each.channel, "-blocking", "1");
        Tcl_UnregisterChannel(each.interp, each.channel);
    }
    Tcl_ResetResult(call.interp);
    return TCL_OK;
}

// The channels that a list names; by channel, since the names of the standard
// channels are aliases.
int namedChannels(const Call &call, std::set<Tcl_Channel> &channels) {
    Tcl_Size count = 0;
    Tcl_Obj **names = nullptr;
    if (Tcl_ListObjGetElements(call.interp, call.arguments[0], &count, &names) != TCL_OK)
        return TCL_ERROR;
    for (Tcl_Size i = 0; i < count; ++i) {
        const Tcl_Channel channel = findChannel(call.interp, names[i]);
        if (!channel)
            return TCL_ERROR;
        channels.insert(channel);
    }
    return TCL_OK;
}

// Discards every channel but the named ones, of all interpreters.
int abandonCommand(const Call &call) {
    std::set<Tcl_Channel> kept;
    if (namedChannels(call, kept) != TCL_OK)
        return TCL_ERROR;
    std::vector<OwnedChannel> abandoned;
    forEachChannel(call.interp, [&](Tcl_Interp *owner, Tcl_Channel channel) {
        if (kept.count(channel) == 0)
            abandoned.push_back({owner, channel});
    });
    return discard(call, abandoned);
}

int discardCommand(const Call &call) {
    std::set<Tcl_Channel> named;
    if (namedChannels(call, named) != TCL_OK)
        return TCL_ERROR;
    std::vector<OwnedChannel> discarded;
    discarded.reserve(named.size());
    for (Tcl_Channel channel : named)
        discarded.push_back({call.interp, channel});
    return discard(call, discarded);
}

// Every signal as a new program has it, but for those that are to be blocked.
// A server blocks what it must not see, and does not ignore it: a child that
// is hit before it has reset its signals finds the signal waiting.
int resetSignalsCommand(const Call &call) {
    Tcl_Size count = 0;
    Tcl_Obj **names = nullptr;
    if (Tcl_ListObjGetElements(call.interp, call.arguments[0], &count, &names) != TCL_OK)
        return TCL_ERROR;
    std::vector<int> blocked;
    for (Tcl_Size i = 0; i < count; ++i) {
        Result<int> signal = parseSignal(text(names[i]));
        if (!signal)
            return call.fail(signal.error());
        blocked.push_back(signal.value());
    }
    resetSignals(blocked);
    return TCL_OK;
}

// 1 when the channel's descriptor is readable, 0 after so many milliseconds
// (-1: without limit). Without the event loop.
int waitReadableCommand(const Call &call) {
    int ms = 0;
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[0]);
    if (!channel || Tcl_GetIntFromObj(call.interp, call.arguments[1], &ms) != TCL_OK)
        return TCL_ERROR;
    const UnixChannel *state = unixChannelOf(channel);
    const bool ready = state && waitFor(descriptorOf(*state), POLLIN, ms);
    return call.answer(Tcl_NewBooleanObj(ready));
}

// A socket pair as a channel and the number of the end that is to be sent away: a
// channel for that would cost more than the pair.
int halfPairCommand(const Call &call) {
    auto ends = openPair(SOCK_STREAM);
    if (!ends)
        return call.fail(ends.error());
    Tcl_Obj *channel =
        registerChannel(call.interp, openUnixChannel(std::move(ends.value().first), SOCK_STREAM));
    const int other = ends.value().second.release(); // the script owns it
    return call.answer(newList({channel, Tcl_NewIntObj(other)}));
}

// How many messages with descriptors came on a channel that nobody took yet.
int heldCommand(const Call &call) {
    const Tcl_Channel channel = findChannel(call.interp, call.arguments[0]);
    if (!channel)
        return TCL_ERROR;
    const UnixChannel *state = unixChannelOf(channel);
    return call.answer(Tcl_NewIntObj(state ? heldMessages(*state) : 0));
}

// Both for descriptor numbers of recvfd -raw.
int duplicateCommand(const Call &call) {
    int fd = -1;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &fd) != TCL_OK)
        return TCL_ERROR;
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy)
        return call.fail(systemError("couldn't duplicate \"" + std::to_string(fd) + "\""));
    return call.answer(Tcl_NewIntObj(copy.release())); // the script owns it
}

int closeDescriptorCommand(const Call &call) {
    int fd = -1;
    if (Tcl_GetIntFromObj(call.interp, call.arguments[0], &fd) != TCL_OK)
        return TCL_ERROR;
    UniqueFd closing(fd);
    return TCL_OK;
}

// A fork without the hooks of unix_process.tcl: those are for a child, which this
// is not yet.
int forkSpareCommand(const Call &call) {
    prepareFork(call.interp);
    Result<pid_t> pid = forkBlocked();
    if (!pid)
        return call.fail(pid.error());
    if (pid.value() == 0)
        settleChild(call.interp, false);
    return call.answer(Tcl_NewIntObj(pid.value()));
}

int callHooksCommand(const Call &) {
    callChildHooks();
    return TCL_OK;
}

int changeableCommand(const Call &call) {
    const std::string all = changeableByOthers();
    return call.answer(Tcl_NewByteArrayObj(reinterpret_cast<const unsigned char *>(all.data()),
                                           static_cast<Tcl_Size>(all.size())));
}

// The commands of all that onsignal and onexit of unix_process watch.
int watchesCommand(const Call &call) {
    Tcl_Obj *commands = newList({});
    for (const InterpData *data : interpsOfThread()) {
        for (int signal : data->signals.watched())
            Tcl_ListObjAppendElement(nullptr, commands, data->signals.get(signal).get());
        for (pid_t pid : data->children.watched())
            Tcl_ListObjAppendElement(nullptr, commands, data->children.get(pid).get());
    }
    return call.answer(commands);
}

} // namespace

std::vector<Command> forkserverCommands() {
    return {
        {"forkserver::QuietNotifier", {}, 0, 0, "", quietNotifierCommand},
        {"forkserver::IsNotifier", {}, 1, 1, "thread", isNotifierCommand},
        {"forkserver::Abandon", {}, 1, 1, "keptNames", abandonCommand},
        {"forkserver::Discard", {}, 1, 1, "names", discardCommand},
        {"forkserver::HalfPair", {}, 0, 0, "", halfPairCommand},
        {"forkserver::Held", {}, 1, 1, "channel", heldCommand},
        {"forkserver::ResetSignals", {}, 1, 1, "blockedNames", resetSignalsCommand},
        {"forkserver::WaitReadable", {}, 2, 2, "channel ms", waitReadableCommand},
        {"forkserver::Duplicate", {}, 1, 1, "fd", duplicateCommand},
        {"forkserver::CloseDescriptor", {}, 1, 1, "fd", closeDescriptorCommand},
        {"forkserver::ForkSpare", {}, 0, 0, "", forkSpareCommand},
        {"forkserver::CallHooks", {}, 0, 0, "", callHooksCommand},
        {"forkserver::Changeable", {}, 0, 0, "", changeableCommand},
        {"forkserver::Watches", {}, 0, 0, "", watchesCommand},
    };
}

} // namespace uds
