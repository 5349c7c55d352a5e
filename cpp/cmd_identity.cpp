// daemonize, ready, setuser, umask, rlimit, title, syslog. unix_process.tcl
// wraps those whose names begin with a capital.
#include "cmd_table.h"
#include "posix_daemon.h"
#include "posix_identity.h"
#include "posix_syslog.h"
#include "tcl_fork.h"

#include <cstdio>

namespace uds {

namespace {

Error valueError(const std::string &what, const std::string &value, const std::string &allowed) {
    return processError("VALUE", "bad " + what + " \"" + value + "\"", "must be " + allowed, what);
}

Tcl_Obj *fromUtf8(const std::string &bytes) {
    Tcl_Encoding utf8 = Tcl_GetEncoding(nullptr, "utf-8");
    Tcl_DString buffer;
    Tcl_ExternalToUtfDString(utf8, bytes.data(), static_cast<Tcl_Size>(bytes.size()), &buffer);
    Tcl_Obj *object = Tcl_NewStringObj(Tcl_DStringValue(&buffer), Tcl_DStringLength(&buffer));
    Tcl_DStringFree(&buffer);
    Tcl_FreeEncoding(utf8);
    return object;
}

int getNamed(const Call &call, size_t index, const NamedNumber *table, const char *what,
             const NamedNumber *&found) {
    int row = 0;
    if (Tcl_GetIndexFromObjStruct(call.interp, call.arguments[index], table, sizeof(NamedNumber),
                                  what, 0, &row) != TCL_OK)
        return TCL_ERROR;
    found = &table[row];
    return TCL_OK;
}

int getMask(const Call &call, Tcl_Obj *word, int &mask) {
    const std::optional<int> parsed = parseOctal(text(word), 0777);
    if (!parsed)
        return call.fail(valueError("umask", text(word), "octal, from 0 to 0777"));
    mask = *parsed;
    return TCL_OK;
}

// ---- daemons -----------------------------------------------------------------

Tcl_Obj *outcomeWords(const DaemonOutcome &outcome) {
    const ExitStatus &status = outcome.status;
    switch (outcome.kind) {
    case DaemonOutcome::Kind::Ready:
        return newList({newString("ready"), Tcl_NewWideIntObj(outcome.pid)});
    case DaemonOutcome::Kind::Failed:
        return newList({newString("failed"), fromUtf8(outcome.message)});
    case DaemonOutcome::Kind::Ended:
        return newString(status.text());
    case DaemonOutcome::Kind::Lost:
        break;
    }
    return newList({newString("lost")});
}

void onExit(void *) {
    removePidFile();
}

// The answer is {daemon} in the daemon; in the process that starts it {ready
// PID}, {failed MESSAGE}, {exit CODE}, {signal NAME}, {lost} or {held PID}.
int daemonizeCommand(const Call &call) {
    DaemonOptions options;
    options.directory = toSystem(call.arguments[0]);
    options.pidFile = toSystem(call.arguments[2]);
    options.output = toSystem(call.arguments[3]);
    options.errors = toSystem(call.arguments[4]);
    if (!text(call.arguments[1]).empty() &&
        getMask(call, call.arguments[1], options.mask) != TCL_OK)
        return TCL_ERROR;
    Result<DaemonPlan> plan = planDaemon(options);
    if (!plan)
        return call.fail(plan.error());
    if (plan.value().holder)
        return call.answer(newList({newString("held"), Tcl_NewWideIntObj(*plan.value().holder)}));
    prepareFork(call.interp);
    Result<std::optional<DaemonOutcome>> outcome = startDaemon(std::move(plan.value()));
    if (!outcome)
        return call.fail(outcome.error());
    if (outcome.value())
        return call.answer(outcomeWords(*outcome.value()));
    Tcl_CreateExitHandler(onExit, nullptr);
    becomeChild(call.interp, false);
    return call.answer(newString("daemon"));
}

int readyCommand(const Call &call) {
    const std::string failure = call.argument(0) ? toUtf8(call.argument(0)) : "";
    return call.answer(Tcl_NewBooleanObj(reportReady(call.argument(0) ? &failure : nullptr)));
}

// ---- user --------------------------------------------------------------------

int setuserCommand(const Call &call) {
    Tcl_Obj *group = call.argument(1);
    if (group && text(group).empty())
        return call.fail(processError("GROUP", "couldn't find group \"\"",
                                      "must be the name or the number of a group", ""));
    Result<Identity> identity =
        findIdentity(toSystem(call.arguments[0]), group ? toSystem(group) : "");
    if (!identity)
        return call.fail(identity.error());
    Status changed = becomeUser(identity.value());
    return changed ? TCL_OK : call.fail(changed.error());
}

int umaskCommand(const Call &call) {
    int mask = 0;
    if (call.argument(0) && getMask(call, call.argument(0), mask) != TCL_OK)
        return TCL_ERROR;
    const mode_t before = call.argument(0) ? setUmask(static_cast<mode_t>(mask)) : currentUmask();
    char octal[16];
    std::snprintf(octal, sizeof octal, "%04o", static_cast<unsigned>(before));
    return call.answer(newString(octal));
}

// ---- limits ------------------------------------------------------------------

const char kUnlimited[] = "unlimited";

Tcl_Obj *limitWord(rlim_t value) {
    if (value == RLIM_INFINITY)
        return newString(kUnlimited);
    return Tcl_NewWideIntObj(static_cast<Tcl_WideInt>(value));
}

int getLimitValue(const Call &call, size_t index, const char *what, rlim_t &value) {
    Tcl_Obj *word = call.argument(index);
    Tcl_WideInt number = 0;
    if (!word)
        return TCL_OK;
    if (text(word) == kUnlimited)
        value = RLIM_INFINITY;
    else if (Tcl_GetWideIntFromObj(nullptr, word, &number) == TCL_OK && number >= 0)
        value = static_cast<rlim_t>(number);
    else
        return call.fail(valueError(what, text(word), "a number from 0, or unlimited"));
    return TCL_OK;
}

int rlimitCommand(const Call &call) {
    const NamedNumber *limit = nullptr;
    if (getNamed(call, 0, kLimits, "limit", limit) != TCL_OK)
        return TCL_ERROR;
    Result<rlimit> value = getLimit(*limit);
    if (!value)
        return call.fail(value.error());
    rlimit &wanted = value.value();
    if (getLimitValue(call, 1, "soft limit", wanted.rlim_cur) != TCL_OK ||
        getLimitValue(call, 2, "hard limit", wanted.rlim_max) != TCL_OK)
        return TCL_ERROR;
    const ObjRef hard(limitWord(wanted.rlim_max));
    if (call.argument(1) && wanted.rlim_cur > wanted.rlim_max)
        return call.fail(valueError("soft limit", text(call.argument(1)),
                                    "at most the hard limit, " + text(hard.get())));
    if (call.argument(1))
        if (Status status = setLimit(*limit, wanted); !status)
            return call.fail(status.error());
    return call.answer(newList({limitWord(wanted.rlim_cur), hard.get()}));
}

// ---- title -------------------------------------------------------------------

int titleCommand(const Call &call) {
    if (Tcl_Obj *given = call.argument(0)) {
        const std::string title = toUtf8(given);
        if (title.empty() || title.find('\0') != title.npos)
            return call.fail(valueError("title", text(given), "a text without NUL characters"));
        if (Status status = setTitle(title); !status)
            return call.fail(status.error());
    }
    Result<std::string> current = currentTitle();
    if (!current)
        return call.fail(current.error());
    return call.answer(fromUtf8(current.value()));
}

// ---- log ---------------------------------------------------------------------

int syslogCommand(const Call &call) {
    const NamedNumber *facility = nullptr;
    const NamedNumber *level = nullptr;
    if (getNamed(call, 1, kLogFacilities, "facility", facility) != TCL_OK ||
        getNamed(call, 2, kLogLevels, "level", level) != TCL_OK)
        return TCL_ERROR;
    // Without a message only the names are checked.
    if (Tcl_Obj *message = call.argument(3))
        logToSystem(toUtf8(call.arguments[0]), facility->number, level->number, toUtf8(message));
    return TCL_OK;
}

} // namespace

std::vector<Command> identityCommands() {
    return {
        {"unix_process::Daemonize",
         {},
         5,
         5,
         "chdir umask pidfile stdout stderr",
         daemonizeCommand},
        {"unix_process::ready", {}, 0, 1, "?message?", readyCommand},
        {"unix_process::setuser", {}, 1, 2, "user ?group?", setuserCommand},
        {"unix_process::umask", {}, 0, 1, "?mode?", umaskCommand},
        {"unix_process::rlimit", {}, 1, 3, "name ?soft? ?hard?", rlimitCommand},
        {"unix_process::title", {}, 0, 1, "?text?", titleCommand},
        {"unix_process::Syslog", {}, 3, 4, "ident facility level ?message?", syslogCommand},
    };
}

} // namespace uds
