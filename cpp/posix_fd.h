// One owner per descriptor, and the outcome of a system call.
//
// UniqueFd by value takes ownership, int borrows, a returned UniqueFd gives.
// Nothing here blocks. After fork() parent and child each own their copy.
#ifndef UDS_POSIX_FD_H
#define UDS_POSIX_FD_H

#include <string>
#include <utility>
#include <variant>

namespace uds {

class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd &&other) noexcept : fd_(other.release()) {}
    UniqueFd &operator=(UniqueFd &&other) noexcept;
    UniqueFd(const UniqueFd &) = delete;
    UniqueFd &operator=(const UniqueFd &) = delete;
    ~UniqueFd() { reset(); }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    // Hands the descriptor over: the caller closes it from now on.
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    // Closes what is held; errno is kept.
    void reset();

private:
    int fd_ = -1;
};

// What failed. A system error has `code` (an errno); an error of our own has
// `kind` (the second word of its errorCode) and `reason`. The message that a
// user reads is "what: reason", or just the reason when `what` is empty.
struct Error {
    std::string what;
    int code = 0;
    const char *kind = nullptr;
    std::string reason;
    std::string detail;                  // third word of errorCode, for errors of our own
    const char *domain = "UNIX_SOCKETS"; // first word, likewise
};

Error systemError(std::string what, int code);
Error systemError(std::string what); // takes errno
Error ownError(const char *kind, std::string what, std::string reason, std::string detail);

template <class T> class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
    explicit operator bool() const { return state_.index() == 0; }
    T &value() { return *std::get_if<0>(&state_); }
    const T &value() const { return *std::get_if<0>(&state_); }
    const Error &error() const { return *std::get_if<1>(&state_); }

private:
    std::variant<T, Error> state_;
};

struct Nothing {};
using Status = Result<Nothing>;

bool isWouldBlock(int code);
// The process or the machine has no descriptor to give.
bool isOutOfDescriptors(int code);

// Repeats a call that a signal interrupted.
template <class Call> auto retry(Call call) -> decltype(call());

// Waits until `events` (POLLIN, POLLOUT) show on fd. Blocks; a signal does
// not end the wait. timeoutMs < 0: without limit. False at the time limit.
bool waitFor(int fd, short events, int timeoutMs = -1);

// True when the process may open at least `count` more descriptors. Found by
// opening them: the only way that also sees other threads and raised limits.
bool canOpen(int count, int likeFd);

} // namespace uds

#include <cerrno>

template <class Call> auto uds::retry(Call call) -> decltype(call()) {
    for (;;) {
        auto result = call();
        if (result >= 0 || errno != EINTR)
            return result;
    }
}

#endif
