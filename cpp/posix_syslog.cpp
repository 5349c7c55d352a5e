#include "posix_syslog.h"

#include <syslog.h>

#include <algorithm>
#include <mutex>

namespace uds {

const NamedNumber kLogLevels[] = {
    {"debug", LOG_DEBUG},  {"info", LOG_INFO},       {"notice", LOG_NOTICE},
    {"warn", LOG_WARNING}, {"warning", LOG_WARNING}, {"error", LOG_ERR},
    {"err", LOG_ERR},      {"critical", LOG_CRIT},   {"crit", LOG_CRIT},
    {"alert", LOG_ALERT},  {"emergency", LOG_EMERG}, {"emerg", LOG_EMERG},
    {nullptr, 0},
};

// Without "kern", which is the kernel's alone.
const NamedNumber kLogFacilities[] = {
    {"user", LOG_USER},         {"daemon", LOG_DAEMON}, {"auth", LOG_AUTH},
    {"cron", LOG_CRON},         {"ftp", LOG_FTP},       {"lpr", LOG_LPR},
    {"mail", LOG_MAIL},         {"news", LOG_NEWS},     {"syslog", LOG_SYSLOG},
    {"uucp", LOG_UUCP},
#ifdef LOG_AUTHPRIV
    {"authpriv", LOG_AUTHPRIV},
#endif
    {"local0", LOG_LOCAL0},     {"local1", LOG_LOCAL1}, {"local2", LOG_LOCAL2},
    {"local3", LOG_LOCAL3},     {"local4", LOG_LOCAL4}, {"local5", LOG_LOCAL5},
    {"local6", LOG_LOCAL6},     {"local7", LOG_LOCAL7}, {nullptr, 0},
};

namespace {

// What common log services take in one message, with room for their header.
constexpr size_t kMostBytes = 8000;

bool isControl(unsigned char byte) {
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

// As rsyslog shows them.
std::string printable(const std::string &text) {
    std::string shown;
    for (const char each : text) {
        const auto byte = static_cast<unsigned char>(each);
        if (!isControl(byte)) {
            shown += each;
            continue;
        }
        shown += '#';
        for (int shift : {6, 3, 0})
            shown += static_cast<char>('0' + ((byte >> shift) & 7));
    }
    return shown;
}

// openlog(3) keeps the pointer that it gets, so the string outlives everything.
void setIdent(const std::string &wanted) {
    static std::string &ident = *new std::string;
    static bool opened = false;
    if (opened && ident == wanted)
        return;
    ident = wanted;
    opened = true;
    ::openlog(ident.c_str(), LOG_PID, 0);
}

void logLine(int priority, std::string line) {
    while (!line.empty()) {
        const std::string part = cutUtf8(line, kMostBytes);
        line.erase(0, part.size());
        ::syslog(priority, "%s", part.c_str());
    }
}

} // namespace

void logToSystem(const std::string &ident, int facility, int level, const std::string &text) {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    setIdent(printable(ident));
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        std::string line = text.substr(at, end - at);
        if (!line.empty() && line.back() == '\r')
            line.pop_back();
        logLine(facility | level, printable(line));
        at = end + 1;
    }
}

} // namespace uds
