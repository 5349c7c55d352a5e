// clients: many short connections to a pool, each of which is accounted for.
//
//   clients PORT CLIENTS PATIENCE FATES
//
// Each connection has a number, and comes from an address and a port that no other one has
// had: 127.77.B.C and PORT make the number (B * 256 + C) * 20000 + PORT - 10000. It sends
// a line that begins with the number, and the answer is to be "WORKER LINE", to the end of
// file. So the server's side knows a connection that never said anything, and this side who
// has answered.
//
// Commands, lines on standard input:
//   go N     CLIENTS at a time, until N have begun in all
//   count    prints "count BEGUN"
//   rest     begins no more; prints "rested BEGUN" once all have ended, and FATES is written
//
// FATES gets a line for each that has ended, with milliseconds of the monotonic clock:
//   NUMBER BEGAN ENDED FATE WORKER
// The fate is served; refused (the banner "busy"); nobody (nobody listens); cut (without an
// answer, or in the middle of it); wrong; hung (no end after PATIENCE seconds).

#include "clock.h"
#include "events.h"
#include "exchange.h"

#include <fcntl.h>

#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr uint32_t kFirstPort = 10000;
constexpr uint32_t kPorts = 20000;
constexpr auto kRest = std::chrono::milliseconds(50); // of who was not let in

struct Settings {
    sockaddr_in server{};
    size_t clients = 0;
    double patience = 0;
};

sockaddr_in sourceOf(uint64_t number) {
    const uint64_t host = number / kPorts;
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_port = htons(static_cast<uint16_t>(kFirstPort + number % kPorts));
    source.sin_addr.s_addr = htonl(static_cast<uint32_t>((127u << 24) | (77u << 16) | host));
    return source;
}

long long milliseconds(Clock::time_point when) {
    return microseconds(when.time_since_epoch()) / 1000;
}

struct Client {
    Exchange exchange;
    uint64_t number = 0;
    Clock::time_point began;
    Clock::time_point due; // of the next attempt, or of the rest of the line
    std::string line;
    size_t first = 0; // so many bytes of the line go at once
};

class Clients {
public:
    Clients(const Settings &settings, FILE *fates)
        : settings_(settings), clients_(settings.clients), fates_(fates),
          epoll_(::epoll_create1(EPOLL_CLOEXEC)), random_(settings.server.sin_port) {
        watch(epoll_, STDIN_FILENO);
    }

    // Until the end of standard input.
    void run() {
        while (!ended_) {
            waitForEvents(epoll_, Clock::now() + std::chrono::milliseconds(5),
                          [this](const epoll_event &event) { happened(event); });
            turn();
        }
    }

private:
    void happened(const epoll_event &event) {
        if (event.data.ptr) // standard input is number 0
            step(*static_cast<Client *>(event.data.ptr));
        else
            listen();
    }

    void listen() {
        char buffer[256];
        const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
        ended_ = got <= 0;
        if (!ended_)
            heard_.append(buffer, static_cast<size_t>(got));
        for (size_t end; (end = heard_.find('\n')) != std::string::npos; heard_.erase(0, end + 1))
            obey(heard_.substr(0, end));
    }

    void obey(const std::string &command) {
        if (command == "count") {
            say("count");
            return;
        }
        resting_ = command == "rest";
        if (!resting_)
            last_ = strtoull(command.c_str() + strlen("go "), nullptr, 10);
    }

    void say(const char *word) {
        printf("%s %llu\n", word, static_cast<unsigned long long>(begun_));
        fflush(stdout);
    }

    // What causes no event.
    void turn() {
        const auto now = Clock::now();
        for (Client &client : clients_) {
            const bool open = client.exchange.isOpen();
            if (!open && !resting_ && begun_ < last_ && now >= client.due)
                begin(client);
            else if (open && client.first < client.line.size() && now >= client.due)
                sayRest(client);
            else if (open && secondsSince(client.began) > settings_.patience)
                end(client, "hung", "-");
        }
        if (resting_ && open_ == 0) {
            resting_ = false;
            last_ = begun_;
            fflush(fates_);
            say("rested");
        }
    }

    void begin(Client &client) {
        client.began = Clock::now();
        while (true) {
            client.number = next_++;
            const sockaddr_in source = sourceOf(client.number);
            if (client.exchange.connect(settings_.server, epoll_, &client, &source))
                break;
            // Somebody else uses this port, or did a moment ago.
            if (errno != EADDRINUSE && errno != EADDRNOTAVAIL)
                die("connect");
            client.exchange.close();
        }
        ++begun_;
        ++open_;
        makeLine(client);
    }

    // One of 50 pauses in the middle of it, one of 100 has much to say.
    void makeLine(Client &client) {
        const size_t size = random_() % 100 == 0 ? 20000 : 1 + random_() % 300;
        client.line = std::to_string(client.number) + ' ';
        for (size_t i = 0; i < size; ++i)
            client.line += static_cast<char>('a' + random_() % 26);
        client.line += '\n';
        client.first = client.line.size();
        if (random_() % 50 == 0) {
            client.first = 1 + random_() % (client.line.size() - 1);
            client.due = client.began + std::chrono::milliseconds(random_() % 20);
        }
    }

    void sayRest(Client &client) {
        client.first = client.line.size();
        step(client);
    }

    void step(Client &client) {
        const auto state = client.exchange.proceed(client.line.substr(0, client.first));
        if (state == Exchange::State::unfinished)
            return;
        const bool failed = state == Exchange::State::failed;
        judge(client, failed, failed ? errno : 0);
    }

    void judge(Client &client, bool failed, int error) {
        const std::string answer = client.exchange.answer();
        const size_t blank = answer.find(' ');
        const std::string worker = answer.substr(0, blank);
        const std::string echo = blank == std::string::npos ? "" : answer.substr(blank + 1);
        if (!failed && echo == client.line)
            end(client, "served", worker.c_str());
        else if (answer == "busy\n")
            end(client, "refused", "-");
        else if (answer.empty() && error == ECONNREFUSED)
            end(client, "nobody", "-");
        else if (worker.find_first_not_of("0123456789:") == std::string::npos &&
                 client.line.compare(0, echo.size(), echo) == 0)
            end(client, "cut", "-");
        else
            end(client, "wrong", "-");
    }

    void end(Client &client, const char *fate, const char *worker) {
        const auto now = Clock::now();
        fprintf(fates_, "%llu %lld %lld %s %s\n", static_cast<unsigned long long>(client.number),
                milliseconds(client.began), milliseconds(now), fate, worker);
        client.exchange.close();
        client.due = strcmp(fate, "served") == 0 ? now : now + kRest;
        --open_;
        if (!resting_ && begun_ < last_ && now >= client.due)
            begin(client);
    }

    const Settings settings_;
    std::vector<Client> clients_;
    FILE *const fates_;
    const int epoll_;
    std::minstd_rand random_;
    std::string heard_;
    uint64_t next_ = 0; // number
    uint64_t begun_ = 0;
    uint64_t last_ = 0; // so many may begin
    size_t open_ = 0;
    bool resting_ = false;
    bool ended_ = false;
};

} // namespace

int main(int argc, char **argv) {
    Settings settings;
    if (argc != 5 || !parseAddress("127.0.0.1", argv[1], settings.server)) {
        fprintf(stderr, "usage: clients PORT CLIENTS PATIENCE FATES\n");
        return 2;
    }
    settings.clients = static_cast<size_t>(atoi(argv[2]));
    settings.patience = atof(argv[3]);
    FILE *fates = fopen(argv[4], "ae");
    if (!fates)
        die(argv[4]);
    Clients(settings, fates).run();
    return 0;
}
