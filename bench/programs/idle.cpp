// idle: many connections at a time, few of which have something to say.
//
//   idle HOST PORT SOURCE
//
// Connects from the address SOURCE: each has some 28,000 ports for one server. Reads
// commands from standard input, answers each with one line of JSON, and ends with it:
//   open N                    N connections more, each of which has one line echoed
//   traffic K RATE SECONDS    RATE lines a second, in turn over the first K connections;
//                             the times in it are from when a line was due to its answer
//   echo                      every connection has a line echoed
// The lines differ, have 64 bytes, and each byte that comes back is checked.

#include "clock.h"
#include "events.h"
#include "exchange.h"
#include "outcome.h"

#include <cstring>
#include <iostream>
#include <random>
#include <sstream>

namespace {

constexpr size_t kLine = 64;
constexpr int kStuckMs = 10000;

struct Connection {
    int fd = -1;
    char line[kLine];
    size_t received = kLine; // of the answer to that line
    Clock::time_point due;

    bool busy() const { return received < kLine; }
};

class Idle {
public:
    Idle(const sockaddr_in &server, const sockaddr_in &source)
        : server_(server), source_(source), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

    Outcome open(size_t count) {
        outcome_ = {};
        connections_.reserve(connections_.size() + count);
        for (size_t i = 0; i < count; ++i) {
            connections_.emplace_back();
            Connection &connection = connections_.back();
            if (!connectOne(connection)) {
                ++outcome_.errors[strerror(errno)];
                connections_.pop_back();
                break; // the next one would fail like it
            }
            send(connection, Clock::now());
            receiveAll(connection);
        }
        return std::move(outcome_);
    }

    // Some hundred at a time, as many as a listener's queue takes.
    Outcome echo() {
        outcome_ = {};
        constexpr size_t kBatch = 256;
        for (size_t first = 0; first < connections_.size(); first += kBatch) {
            const size_t end = std::min(first + kBatch, connections_.size());
            for (size_t i = first; i < end; ++i)
                send(connections_[i], Clock::now());
            for (size_t i = first; i < end; ++i)
                receiveAll(connections_[i]);
        }
        return std::move(outcome_);
    }

    Outcome traffic(size_t active, double rate, double seconds) {
        outcome_ = {};
        watch(active, EPOLL_CTL_ADD);
        const auto gap = durationOf(1 / rate);
        Clock::time_point due = Clock::now();
        const auto end = due + durationOf(seconds);
        while (due < end) {
            for (const auto now = Clock::now(); due <= now && due < end; due += gap)
                if (!sendOnFree(active, due))
                    break;
            wait(std::max(due, Clock::now() + gap / 4));
        }
        const auto patience = Clock::now() + std::chrono::milliseconds(kStuckMs);
        while (busy_ > 0 && Clock::now() < patience)
            wait(Clock::now() + std::chrono::milliseconds(100));
        if (busy_ > 0)
            outcome_.errors["no answer"] += busy_;
        watch(active, EPOLL_CTL_DEL);
        return std::move(outcome_);
    }

private:
    bool connectOne(Connection &connection) {
        connection.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connection.fd < 0)
            return false;
        const int one = 1;
        const timeval patience{kStuckMs / 1000, 0};
        const linger none{1, 0}; // so that no port is kept for a minute when it is closed
        ::setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        ::setsockopt(connection.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        ::setsockopt(connection.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(connection.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        if (::bind(connection.fd, reinterpret_cast<const sockaddr *>(&source_), sizeof source_) ==
                0 &&
            ::connect(connection.fd, reinterpret_cast<const sockaddr *>(&server_),
                      sizeof server_) == 0)
            return true;
        const int why = errno;
        ::close(connection.fd);
        errno = why;
        return false;
    }

    void send(Connection &connection, Clock::time_point due) {
        for (char &c : connection.line)
            c = static_cast<char>('a' + random_() % 26);
        connection.line[kLine - 1] = '\n';
        connection.received = 0;
        connection.due = due;
        ++busy_;
        if (::send(connection.fd, connection.line, kLine, MSG_NOSIGNAL) !=
            static_cast<ssize_t>(kLine))
            fail(connection, strerror(errno));
    }

    void receiveAll(Connection &connection) {
        while (connection.busy())
            receive(connection, 0);
    }

    void receive(Connection &connection, int flags) {
        char buffer[kLine];
        const ssize_t got = ::recv(connection.fd, buffer, kLine - connection.received, flags);
        if (got < 0) {
            fail(connection, errno == EAGAIN ? "no answer" : strerror(errno));
        } else if (got == 0) {
            fail(connection, "closed");
        } else if (memcmp(buffer, connection.line + connection.received,
                          static_cast<size_t>(got)) != 0) {
            fail(connection, "wrong answer");
        } else {
            connection.received += static_cast<size_t>(got);
            if (!connection.busy())
                succeed(connection);
        }
    }

    void succeed(Connection &connection) {
        --busy_;
        ++outcome_.answered;
        outcome_.times["p"].push_back(microseconds(Clock::now() - connection.due));
    }

    void fail(Connection &connection, const char *why) {
        --busy_;
        connection.received = kLine;
        ++outcome_.errors[why];
    }

    // False when all of them wait for an answer.
    bool sendOnFree(size_t active, Clock::time_point due) {
        for (size_t tried = 0; tried < active; ++tried) {
            Connection &connection = connections_[next_++ % active];
            if (!connection.busy()) {
                send(connection, due);
                return true;
            }
        }
        return false;
    }

    void watch(size_t active, int operation) {
        for (size_t i = 0; i < active; ++i) {
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.u64 = i;
            ::epoll_ctl(epoll_, operation, connections_[i].fd, &event);
        }
    }

    void wait(Clock::time_point until) {
        waitForEvents(epoll_, until, [this](epoll_event &event) {
            Connection &connection = connections_[event.data.u64];
            if (connection.busy()) {
                receive(connection, MSG_DONTWAIT);
            } else {
                ++outcome_.errors["something that was not asked for"];
                ::epoll_ctl(epoll_, EPOLL_CTL_DEL, connection.fd, nullptr);
            }
        });
    }

    const sockaddr_in server_;
    const sockaddr_in source_;
    const int epoll_;
    std::vector<Connection> connections_;
    size_t next_ = 0;
    uint64_t busy_ = 0;
    std::mt19937 random_{1};
    Outcome outcome_;
};

// False when the line is no command.
bool obey(Idle &idle, const std::string &line) {
    std::istringstream words(line);
    std::string verb;
    size_t count = 0;
    double rate = 0, seconds = 0;
    words >> verb >> count >> rate >> seconds;
    const auto began = Clock::now();
    const double used = processorSeconds();
    Outcome outcome;
    if (verb == "open" && count > 0)
        outcome = idle.open(count);
    else if (verb == "traffic" && count > 0 && rate > 0 && seconds > 0)
        outcome = idle.traffic(count, rate, seconds);
    else if (verb == "echo")
        outcome = idle.echo();
    else
        return false;
    const double took = secondsSince(began);
    print(outcome, took, (processorSeconds() - used) / took);
    return true;
}

} // namespace

int main(int argc, char **argv) {
    sockaddr_in server{};
    sockaddr_in source{};
    if (argc != 4 || !parseAddress(argv[1], argv[2], server) ||
        !parseAddress(argv[3], "0", source)) {
        fprintf(stderr, "usage: idle HOST PORT SOURCE\n");
        return 2;
    }
    Idle idle(server, source);
    std::string line;
    while (std::getline(std::cin, line))
        if (!obey(idle, line)) {
            fprintf(stderr, "idle: what is \"%s\"?\n", line.c_str());
            return 2;
        }
    return 0;
}
