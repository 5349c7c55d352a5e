// load: a load generator for servers that echo one line.
//
//   load HOST PORT CLIENTS SECONDS ?SIZE?
//
// CLIENTS connections are open at a time: each connects, sends one line of SIZE
// bytes (64), reads the line that comes back, checks every byte of it, and reads
// on to the end of file. Prints one line of JSON: how many were answered, errors
// by kind, latencies from connect to end of file in microseconds, and the share
// of one processor that this program used: near 1 it is the ceiling itself.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kStuckMs = 10000;

struct Settings {
    sockaddr_in server{};
    int clients = 0;
    double seconds = 0;
    size_t size = 64;
};

struct Client {
    int fd = -1;
    Clock::time_point began;
    std::string line;
    size_t sent = 0;
    std::string answer;
};

struct Outcome {
    uint64_t answered = 0;
    std::map<std::string, uint64_t> errors;
    std::vector<uint32_t> latencies;
};

class Load {
public:
    explicit Load(const Settings &settings)
        : settings_(settings), clients_(static_cast<size_t>(settings.clients)),
          epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

    Outcome run() {
        const auto began = Clock::now();
        end_ = began + std::chrono::microseconds(static_cast<int64_t>(settings_.seconds * 1e6));
        for (Client &client : clients_)
            begin(client);
        while (open_ > 0)
            turn();
        return std::move(outcome_);
    }

private:
    void turn() {
        epoll_event events[256];
        const int count = ::epoll_wait(epoll_, events, 256, 100);
        for (int i = 0; i < count; ++i)
            step(*static_cast<Client *>(events[i].data.ptr));
        if (count <= 0)
            giveUpStuck();
    }

    void begin(Client &client) {
        client.began = Clock::now();
        if (client.began >= end_)
            return;
        client.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int one = 1;
        ::setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        makeLine(client);
        ++open_;
        if (::connect(client.fd, reinterpret_cast<const sockaddr *>(&settings_.server),
                      sizeof settings_.server) < 0 &&
            errno != EINPROGRESS) {
            fail(client, strerror(errno));
            return;
        }
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLET;
        event.data.ptr = &client;
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, client.fd, &event);
    }

    // Different for each connection, so that a mixed-up answer shows.
    void makeLine(Client &client) {
        client.line.resize(settings_.size);
        for (char &c : client.line) {
            random_ = random_ * 6364136223846793005u + 1442695040888963407u;
            c = static_cast<char>('a' + (random_ >> 59) % 26);
        }
        client.line.back() = '\n';
        client.sent = 0;
        client.answer.clear();
    }

    void step(Client &client) {
        if (client.sent < client.line.size() && !send(client))
            return;
        char buffer[16384];
        for (;;) {
            const ssize_t got = ::recv(client.fd, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN)
                return;
            if (got < 0) {
                fail(client, strerror(errno));
                return;
            }
            if (got == 0)
                break;
            client.answer.append(buffer, static_cast<size_t>(got));
        }
        if (client.answer != client.line)
            fail(client, client.answer.size() < client.line.size() ? "short answer"
                                                                   : "wrong answer");
        else
            succeed(client);
    }

    // False when there is nothing to do but wait.
    bool send(Client &client) {
        const ssize_t done = ::send(client.fd, client.line.data() + client.sent,
                                    client.line.size() - client.sent, MSG_NOSIGNAL);
        if (done < 0 && (errno == EAGAIN || errno == ENOTCONN))
            return false;
        if (done < 0) {
            fail(client, strerror(errno));
            return false;
        }
        client.sent += static_cast<size_t>(done);
        return true;
    }

    void succeed(Client &client) {
        const auto took = Clock::now() - client.began;
        outcome_.latencies.push_back(static_cast<uint32_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
        ++outcome_.answered;
        finish(client);
    }

    void fail(Client &client, const char *why) {
        ++outcome_.errors[why];
        finish(client);
    }

    void finish(Client &client) {
        ::close(client.fd);
        client.fd = -1;
        --open_;
        begin(client);
    }

    void giveUpStuck() {
        const auto now = Clock::now();
        for (Client &client : clients_)
            if (client.fd >= 0 && now - client.began > std::chrono::milliseconds(kStuckMs))
                fail(client, "no answer");
    }

    const Settings settings_;
    std::vector<Client> clients_;
    const int epoll_;
    int open_ = 0;
    uint64_t random_ = 88172645463325252u;
    Clock::time_point end_;
    Outcome outcome_;
};

uint32_t percentile(const std::vector<uint32_t> &sorted, double share) {
    if (sorted.empty())
        return 0;
    const auto last = static_cast<double>(sorted.size() - 1);
    return sorted[static_cast<size_t>(share * last)];
}

double processorSeconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void print(Outcome &outcome, double seconds) {
    std::sort(outcome.latencies.begin(), outcome.latencies.end());
    printf("{\"answered\": %llu, \"seconds\": %.4f, \"cpu\": %.3f, \"errors\": {",
           static_cast<unsigned long long>(outcome.answered), seconds,
           processorSeconds() / seconds);
    const char *separator = "";
    for (const auto &[kind, count] : outcome.errors) {
        printf("%s\"%s\": %llu", separator, kind.c_str(), static_cast<unsigned long long>(count));
        separator = ", ";
    }
    printf("}, \"p50\": %u, \"p99\": %u, \"p999\": %u, \"max\": %u}\n",
           percentile(outcome.latencies, 0.5), percentile(outcome.latencies, 0.99),
           percentile(outcome.latencies, 0.999), percentile(outcome.latencies, 1));
}

} // namespace

int main(int argc, char **argv) {
    Settings settings;
    if (argc < 5 || argc > 6) {
        fprintf(stderr, "usage: load HOST PORT CLIENTS SECONDS ?SIZE?\n");
        return 2;
    }
    settings.server.sin_family = AF_INET;
    settings.server.sin_port = htons(static_cast<uint16_t>(atoi(argv[2])));
    settings.clients = atoi(argv[3]);
    settings.seconds = atof(argv[4]);
    if (argc == 6)
        settings.size = static_cast<size_t>(atol(argv[5]));
    if (::inet_pton(AF_INET, argv[1], &settings.server.sin_addr) != 1 || settings.clients < 1 ||
        settings.seconds <= 0 || settings.size < 2) {
        fprintf(stderr, "load: bad arguments\n");
        return 2;
    }
    const auto began = Clock::now();
    Outcome outcome = Load(settings).run();
    print(outcome, std::chrono::duration<double>(Clock::now() - began).count());
    return outcome.errors.empty() ? 0 : 1;
}
