// Smaller texts of others: a pid file, the name of a signal, UTF-8 that is cut.
#include "fuzz.h"
#include "posix_daemon.h"
#include "posix_identity.h"
#include "posix_signal.h"

#include <signal.h>
#include <unistd.h>

using namespace uds;
using fuzz::Input;
using fuzz::require;

namespace {

std::string contents(int fd) {
    char bytes[256];
    const ssize_t count = ::pread(fd, bytes, sizeof bytes, 0);
    return std::string(bytes, count < 0 ? 0 : static_cast<size_t>(count));
}

// A file that is no pid file stays as it is.
void checkPidFile(const std::string &text) {
    const fuzz::NothingLeft check;
    const std::string path = "/tmp/uds-fuzz-" + std::to_string(::getpid());
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0 && ::pwrite(fd, text.data(), text.size(), 0) >= 0, "a file can be written");
    Result<std::optional<pid_t>> holder = takePidFile(path);
    const std::string now = contents(fd);
    if (holder) {
        require(!holder.value(), "nobody holds it");
        require(now == std::to_string(::getpid()) + "\n", "it has our pid");
        require(text.find_first_not_of(" \t\n\v\f\r+-0123456789") == text.npos,
                "only a number is replaced");
    } else {
        require(now == text.substr(0, 256), "another file stays as it is");
    }
    disownPidFile();
    ::unlink(path.c_str());
    ::close(fd);
}

void checkSignal(const std::string &text) {
    Result<int> signal = parseSignal(text);
    require(!signal || (signal.value() >= 0 && signal.value() <= 64), "a signal is one there is");
}

bool isContinuation(char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

void checkCut(const std::string &text, size_t most) {
    const std::string cut = cutUtf8(text, most);
    require(cut.size() <= most && text.compare(0, cut.size(), cut) == 0, "a cut text begins so");
    require(cut.size() == text.size() || !isContinuation(text[cut.size()]) || cut.empty(),
            "no character is cut");
    require(text.size() > most || cut == text, "what fits is whole");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Input input(bytes, size);
    switch (input.upTo(2)) {
    case 0:
        checkPidFile(input.rest());
        break;
    case 1:
        checkSignal(input.rest());
        break;
    default:
        const size_t most = input.byte();
        checkCut(input.rest(), most);
    }
    return 0;
}
