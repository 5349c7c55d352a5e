// arrivals: load at a fixed rate: clients come whether or not others were answered.
//
//   arrivals HOST PORT RATE SECONDS SEED PREFIX MS:WEIGHT ...
//
// RATE connections a second begin, with random gaps (exponential) that are the same
// for the same SEED. Each sends PREFIX and the line "/MS/LETTERS", where MS is one of
// those given, as often as its WEIGHT says, and LETTERS differ; reads up to the end of
// file, and checks that the line came back. Prints one line of JSON: how many were
// answered, errors by kind, and of some times in microseconds the 50th, 99th and 99.9th
// percentile and the longest:
//   p        from when the client was due to the end of file
//   waited   the same without the milliseconds that it asked for
//   late     how long after it was due this program began it: its own fault, or that
//            of the machine, and part of the other two

#include "outcome.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <random>
#include <unordered_set>

namespace {

constexpr auto kStuck = std::chrono::seconds(10);

struct Kind {
    int milliseconds;
    int weight;
};

struct Settings {
    sockaddr_in server{};
    double rate = 0;
    double seconds = 0;
    unsigned seed = 0;
    std::string prefix;
    std::vector<Kind> kinds;
};

struct Client {
    int fd = -1;
    int milliseconds = 0;
    Clock::time_point due;
    Clock::time_point began;
    std::string line;
    std::string request;
    size_t sent = 0;
    std::string answer;
};

class Arrivals {
public:
    explicit Arrivals(const Settings &settings)
        : settings_(settings), epoll_(::epoll_create1(EPOLL_CLOEXEC)), random_(settings.seed),
          gap_(settings.rate) {
        for (const Kind &kind : settings.kinds)
            kinds_.insert(kinds_.end(), static_cast<size_t>(kind.weight), kind.milliseconds);
    }

    Outcome run() {
        Clock::time_point due = Clock::now();
        const auto end =
            due + std::chrono::microseconds(static_cast<int64_t>(settings_.seconds * 1e6));
        while (due < end || !open_.empty()) {
            const auto now = Clock::now();
            for (; due < end && due <= now; due += nextGap())
                begin(due);
            wait(due < end ? due : now + kStuck / 20);
            giveUpStuck();
        }
        return std::move(outcome_);
    }

private:
    Clock::duration nextGap() {
        return std::chrono::nanoseconds(static_cast<int64_t>(gap_(random_) * 1e9));
    }

    // For events, and until then; epoll_wait itself counts in milliseconds.
    void wait(Clock::time_point until) {
        const auto left = std::max(until - Clock::now(), Clock::duration(0));
        const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
        const timespec patience{nanoseconds / 1000000000, nanoseconds % 1000000000};
        pollfd waited{epoll_, POLLIN, 0};
        if (::ppoll(&waited, 1, &patience, nullptr) <= 0)
            return;
        epoll_event events[256];
        const int count = ::epoll_wait(epoll_, events, 256, 0);
        for (int i = 0; i < count; ++i)
            step(static_cast<Client *>(events[i].data.ptr));
    }

    void begin(Clock::time_point due) {
        auto *client = new Client;
        open_.insert(client);
        client->due = due;
        client->milliseconds = kinds_[random_() % kinds_.size()];
        makeLine(*client);
        client->began = Clock::now();
        client->fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int one = 1;
        ::setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (::connect(client->fd, reinterpret_cast<const sockaddr *>(&settings_.server),
                      sizeof settings_.server) < 0 &&
            errno != EINPROGRESS) {
            fail(client, strerror(errno));
            return;
        }
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLET;
        event.data.ptr = client;
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, client->fd, &event);
    }

    void makeLine(Client &client) {
        client.line = "/" + std::to_string(client.milliseconds) + "/";
        while (client.line.size() < 63)
            client.line += static_cast<char>('a' + random_() % 26);
        client.line += '\n';
        client.request = settings_.prefix + client.line;
    }

    void step(Client *client) {
        if (client->sent < client->request.size() && !send(client))
            return;
        char buffer[4096];
        for (;;) {
            const ssize_t got = ::recv(client->fd, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN)
                return;
            if (got < 0) {
                fail(client, strerror(errno));
                return;
            }
            if (got == 0)
                break;
            client->answer.append(buffer, static_cast<size_t>(got));
        }
        if (client->answer != client->line)
            fail(client,
                 client->answer.size() < client->line.size() ? "short answer" : "wrong answer");
        else
            succeed(client);
    }

    // False when there is nothing to do but wait.
    bool send(Client *client) {
        const ssize_t done = ::send(client->fd, client->request.data() + client->sent,
                                    client->request.size() - client->sent, MSG_NOSIGNAL);
        if (done < 0 && (errno == EAGAIN || errno == ENOTCONN))
            return false;
        if (done < 0) {
            fail(client, strerror(errno));
            return false;
        }
        client->sent += static_cast<size_t>(done);
        return true;
    }

    void succeed(Client *client) {
        const int64_t took = microseconds(Clock::now() - client->due);
        outcome_.times["p"].push_back(took);
        outcome_.times["waited"].push_back(took - client->milliseconds * 1000);
        outcome_.times["late"].push_back(microseconds(client->began - client->due));
        ++outcome_.answered;
        finish(client);
    }

    void fail(Client *client, const char *why) {
        ++outcome_.errors[why];
        finish(client);
    }

    void finish(Client *client) {
        ::close(client->fd);
        open_.erase(client);
        delete client;
    }

    void giveUpStuck() {
        const auto now = Clock::now();
        if (now - looked_ < kStuck / 20)
            return;
        looked_ = now;
        std::vector<Client *> stuck;
        for (Client *client : open_)
            if (now - client->began > kStuck)
                stuck.push_back(client);
        for (Client *client : stuck)
            fail(client, "no answer");
    }

    const Settings settings_;
    const int epoll_;
    std::mt19937 random_;
    std::exponential_distribution<double> gap_;
    std::vector<int> kinds_; // each as often as its weight says
    std::unordered_set<Client *> open_;
    Clock::time_point looked_ = Clock::now();
    Outcome outcome_;
};

bool parse(int argc, char **argv, Settings &settings) {
    if (argc < 8)
        return false;
    settings.server.sin_family = AF_INET;
    settings.server.sin_port = htons(static_cast<uint16_t>(atoi(argv[2])));
    settings.rate = atof(argv[3]);
    settings.seconds = atof(argv[4]);
    settings.seed = static_cast<unsigned>(atoi(argv[5]));
    settings.prefix = argv[6];
    for (int i = 7; i < argc; ++i) {
        Kind kind{};
        if (sscanf(argv[i], "%d:%d", &kind.milliseconds, &kind.weight) != 2 ||
            kind.milliseconds < 0 || kind.weight < 1)
            return false;
        settings.kinds.push_back(kind);
    }
    return ::inet_pton(AF_INET, argv[1], &settings.server.sin_addr) == 1 && settings.rate > 0 &&
           settings.seconds > 0;
}

} // namespace

int main(int argc, char **argv) {
    Settings settings;
    if (!parse(argc, argv, settings)) {
        fprintf(stderr, "usage: arrivals HOST PORT RATE SECONDS SEED PREFIX MS:WEIGHT ...\n");
        return 2;
    }
    const auto began = Clock::now();
    Outcome outcome = Arrivals(settings).run();
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    print(outcome, seconds, processorSeconds() / seconds);
    return outcome.errors.empty() ? 0 : 1;
}
