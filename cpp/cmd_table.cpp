#include "cmd_table.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace uds {

namespace {

int parseNumber(Tcl_Interp *interp, const Option &option, Tcl_Obj *object, int &value) {
    if (Tcl_GetIntFromObj(nullptr, object, &value) == TCL_OK && value >= option.least &&
        value <= option.most)
        return TCL_OK;
    const std::string most =
        option.most == INT_MAX ? " or more" : " to " + std::to_string(option.most);
    return fail(interp, ownError("VALUE", "bad value \"" + text(object) + "\" for " + option.name,
                                 "must be a whole number, " + std::to_string(option.least) + most,
                                 option.name));
}

// File permissions in octal, as chmod takes them.
int parseMode(Tcl_Interp *interp, const Option &option, Tcl_Obj *object, int &value) {
    const std::optional<int> parsed = parseOctal(text(object), 07777);
    value = parsed.value_or(0);
    if (parsed)
        return TCL_OK;
    return fail(interp, ownError("VALUE", "bad value \"" + text(object) + "\" for " + option.name,
                                 "must be octal permissions such as 0660", option.name));
}

int parseValue(Tcl_Interp *interp, const Option &option, Tcl_Obj *object, int &value) {
    switch (option.kind) {
    case Option::Kind::Number:
        return parseNumber(interp, option, object, value);
    case Option::Kind::Mode:
        return parseMode(interp, option, object, value);
    case Option::Kind::Boolean:
        return Tcl_GetBooleanFromObj(interp, object, &value);
    case Option::Kind::Choice:
        return Tcl_GetIndexFromObjStruct(interp, object, option.choices, sizeof(char *),
                                         option.name, 0, &value);
    case Option::Kind::Flag:
        break;
    }
    value = 1;
    return TCL_OK;
}

int missingValue(Tcl_Interp *interp, const Option &option) {
    return fail(interp,
                ownError("VALUE", "bad option",
                         "\"" + std::string(option.name) + "\" needs a value", option.name));
}

class Parser {
public:
    Parser(const Command &command, Tcl_Interp *interp, int count, Tcl_Obj *const words[])
        : command_(command), call_{interp, {}, {}}, words_(words),
          count_(static_cast<size_t>(count)) {
        assert(command.options.size() <= kMostOptions);
    }

    int parse() {
        if (!command_.optionsLast && parseOptions() != TCL_OK)
            return TCL_ERROR;
        const size_t left = count_ - at_;
        const size_t most = command_.most;
        const bool optionsFollow = command_.optionsLast && left > most;
        if (left < command_.least || (left > most && !optionsFollow)) {
            const std::string usage = command_.usage();
            Tcl_WrongNumArgs(call_.interp, 1, words_, usage.empty() ? nullptr : usage.c_str());
            return TCL_ERROR;
        }
        call_.arguments = {words_ + at_, std::min(left, most)};
        at_ += call_.arguments.size();
        return command_.optionsLast ? parseRest() : TCL_OK;
    }

    const Call &call() const { return call_; }

private:
    // Options end at the first word that does not begin with "-", or at "--".
    int parseOptions() {
        while (!command_.options.empty() && at_ < count_) {
            const char *word = Tcl_GetString(words_[at_]);
            if (word[0] != '-')
                break;
            if (strcmp(word, "--") == 0) {
                ++at_;
                break;
            }
            if (parseOption() != TCL_OK)
                return TCL_ERROR;
        }
        return TCL_OK;
    }

    int parseRest() {
        while (at_ < count_)
            if (parseOption() != TCL_OK)
                return TCL_ERROR;
        return TCL_OK;
    }

    int parseOption() {
        int index = 0;
        if (Tcl_GetIndexFromObjStruct(call_.interp, words_[at_], command_.options.data(),
                                      sizeof(Option), "option", 0, &index) != TCL_OK)
            return TCL_ERROR;
        const Option &option = command_.options[static_cast<size_t>(index)];
        ++at_;
        if (option.kind != Option::Kind::Flag && at_ == count_)
            return missingValue(call_.interp, option);
        int value = 0;
        Tcl_Obj *word = option.kind == Option::Kind::Flag ? nullptr : words_[at_++];
        if (parseValue(call_.interp, option, word, value) != TCL_OK)
            return TCL_ERROR;
        call_.options[static_cast<size_t>(index)] = value;
        return TCL_OK;
    }

    const Command &command_;
    Call call_;
    Tcl_Obj *const *words_;
    size_t count_;
    size_t at_ = 1;
};

int runCommand(void *clientData, Tcl_Interp *interp, int count, Tcl_Obj *const words[]) {
    const Command &command = *static_cast<const Command *>(clientData);
    Parser parser(command, interp, count, words);
    return parser.parse() == TCL_OK ? command.run(parser.call()) : TCL_ERROR;
}

std::string optionUsage(const Option &option) {
    std::string usage = std::string("?") + option.name;
    if (option.kind == Option::Kind::Flag)
        return usage + "?";
    if (!option.choices)
        return usage + " " + option.argument + "?";
    const char *separator = " ";
    for (const char *const *choice = option.choices; *choice; ++choice) {
        usage += std::string(separator) + *choice;
        separator = "|";
    }
    return usage + "?";
}

} // namespace

int Call::answer(Tcl_Obj *result) const {
    Tcl_SetObjResult(interp, result);
    return TCL_OK;
}

std::string Command::usage() const {
    std::string before;
    for (const Option &option : options)
        if (option.name)
            before += (before.empty() ? "" : " ") + optionUsage(option);
    const std::string after = arguments;
    const std::string &first = optionsLast ? after : before;
    const std::string &second = optionsLast ? before : after;
    return first + (first.empty() || second.empty() ? "" : " ") + second;
}

Tcl_ObjCmdProc *commandProc() {
    return runCommand;
}

std::optional<int> parseOctal(const std::string &digits, int most) {
    const size_t start = digits.compare(0, 2, "0o") == 0 ? 2 : 0;
    const bool octal = digits.size() > start && digits.size() <= start + 5 &&
                       digits.find_first_not_of("01234567", start) == digits.npos;
    const int value = octal ? std::stoi(digits.substr(start), nullptr, 8) : -1;
    return octal && value <= most ? std::optional(value) : std::nullopt;
}

Tcl_Channel findChannel(Tcl_Interp *interp, Tcl_Obj *name) {
    return Tcl_GetChannel(interp, Tcl_GetString(name), nullptr);
}

Tcl_Obj *registerChannel(Tcl_Interp *interp, Tcl_Channel channel) {
    Tcl_RegisterChannel(interp, channel);
    return Tcl_NewStringObj(Tcl_GetChannelName(channel), -1);
}

} // namespace uds
