// How a command is declared: its options, its arguments, its procedure. The
// table in init.cpp is made of these; usage texts, arity errors and the tests
// of both come from it.
#ifndef UDS_CMD_TABLE_H
#define UDS_CMD_TABLE_H

#include "tcl_listener.h"
#include "tcl_support.h"

#include <array>
#include <climits>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace uds {

struct Option {
    enum class Kind { Flag, Number, Boolean, Choice, Mode };
    const char *name; // first: Tcl_GetIndexFromObjStruct reads it
    Kind kind;
    const char *argument;       // its name in the usage text; none for a flag
    const char *const *choices; // for Choice, ended by a null
    int least, most;            // for Number
};

// Some of the words that Tcl calls a command with.
struct Words {
    Tcl_Obj *const *first = nullptr;
    size_t count = 0;

    Tcl_Obj *operator[](size_t index) const { return first[index]; }
    size_t size() const { return count; }
    bool empty() const { return count == 0; }
};

constexpr size_t kMostOptions = 8;

// One call of a command, parsed.
struct Call {
    Tcl_Interp *interp;
    Words arguments; // without the options
    // In the order of the declaration.
    std::array<std::optional<int>, kMostOptions> options;

    int option(size_t index, int fallback) const { return options[index].value_or(fallback); }
    bool has(size_t index) const { return options[index].has_value(); }
    Tcl_Obj *argument(size_t index) const {
        return index < arguments.size() ? arguments[index] : nullptr;
    }
    int answer(Tcl_Obj *result) const;
    int fail(const Error &error) const { return uds::fail(interp, error); }
};

struct Command {
    const char *name;
    std::vector<Option> options; // ended by a null name when there are any; at most kMostOptions
    size_t least, most;          // number of arguments besides the options
    const char *arguments;       // their usage text
    int (*run)(const Call &call);
    bool optionsLast = false;

    std::string usage() const; // options and arguments, without the name
};

constexpr size_t kAnyNumber = SIZE_MAX;

// The procedure for Tcl_CreateObjCommand; its client data is a Command.
Tcl_ObjCmdProc *commandProc();

// The commands of each group.
std::vector<Command> socketCommands();
std::vector<Command> passingCommands();
std::vector<Command> queueCommands();
std::vector<Command> poolCommands();
std::vector<Command> notifierCommands();
std::vector<Command> connectionCommands();
std::vector<Command> processCommands();
std::vector<Command> identityCommands();
std::vector<Command> notifyCommands();
std::vector<Command> handoverCommands();
std::vector<Command> forkserverCommands();

// Octal digits, with or without a leading 0o, from 0 to `most`.
std::optional<int> parseOctal(const std::string &digits, int most);

// The descriptor of the queue that a channel is an end of.
int getQueue(const Call &call, size_t index, int &fd);
// The listener behind a channel; null with an error left that begins with the verb.
Listener *findListener(const Call &call, size_t index, const char *verb);
const char *stopName(HandOff::Stop stop);
// Leaves what stopped a hand-off in the variable that this argument names, if any.
int answerStop(const Call &call, size_t index, HandOff::Stop stop);
int failTake(const Call &call, size_t index, const Error &error);

// Finds a channel by name; null with an error left in the interpreter.
Tcl_Channel findChannel(Tcl_Interp *interp, Tcl_Obj *name);
// The name of a channel, after registering it.
Tcl_Obj *registerChannel(Tcl_Interp *interp, Tcl_Channel channel);

} // namespace uds

#endif
