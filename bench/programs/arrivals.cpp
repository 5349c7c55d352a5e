// arrivals: load at a fixed rate: clients come whether or not others were answered.
//
//   arrivals HOST PORT RATE SECONDS SEED PREFIX ?from SOURCE SOURCES? MS:WEIGHT ...
//
// RATE connections a second begin, with random gaps (exponential) that are the same
// for the same SEED. Each sends PREFIX and the line "/MS/LETTERS", where MS is one of
// those given, as often as its WEIGHT says, and LETTERS differ; reads up to the end of
// file, and checks that the line came back. They come from SOURCES addresses in turn, SOURCE
// and those behind it, or from one. Prints one line of JSON: how many were
// answered, errors by kind, and of some times in microseconds the 50th, 99th and 99.9th
// percentile and the longest:
//   p        from when the client was due to the end of file
//   waited   the same without the milliseconds that it asked for
//   late     how long after it was due this program began it: its own fault, or that
//            of the machine, and part of the other two

#include "clock.h"
#include "events.h"
#include "exchange.h"
#include "outcome.h"

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
    sockaddr_in source{};
    uint32_t sources = 0; // 0: from where the system likes
    std::vector<Kind> kinds;
};

struct Client {
    Exchange exchange;
    int milliseconds = 0;
    Clock::time_point due;
    Clock::time_point began;
    std::string line;
    std::string request;
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
        const auto end = due + durationOf(settings_.seconds);
        while (due < end || !open_.empty()) {
            const auto now = Clock::now();
            for (; due < end && due <= now; due += durationOf(gap_(random_)))
                begin(due);
            waitForEvents(epoll_, due < end ? due : now + kStuck / 20,
                          [&](epoll_event &event) { step(static_cast<Client *>(event.data.ptr)); });
            giveUpStuck();
        }
        return std::move(outcome_);
    }

private:
    void begin(Clock::time_point due) {
        auto *client = new Client;
        open_.insert(client);
        client->due = due;
        client->milliseconds = kinds_[random_() % kinds_.size()];
        makeLine(*client);
        client->began = Clock::now();
        sockaddr_in source = settings_.source;
        if (settings_.sources > 0)
            source.sin_addr.s_addr =
                htonl(ntohl(source.sin_addr.s_addr) + begun_++ % settings_.sources);
        if (!client->exchange.connect(settings_.server, epoll_, client,
                                      settings_.sources > 0 ? &source : nullptr))
            fail(client, strerror(errno));
    }

    void makeLine(Client &client) {
        client.line = "/" + std::to_string(client.milliseconds) + "/";
        while (client.line.size() < 63)
            client.line += static_cast<char>('a' + random_() % 26);
        client.line += '\n';
        client.request = settings_.prefix + client.line;
    }

    void step(Client *client) {
        const std::string &answer = client->exchange.answer();
        const auto state = client->exchange.proceed(client->request);
        if (state == Exchange::State::failed)
            fail(client, strerror(errno));
        else if (state == Exchange::State::complete && answer == client->line)
            succeed(client);
        else if (state == Exchange::State::complete)
            fail(client, answer.size() < client->line.size() ? "short answer" : "wrong answer");
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
    uint32_t begun_ = 0;
    std::vector<int> kinds_; // each as often as its weight says
    std::unordered_set<Client *> open_;
    Clock::time_point looked_ = Clock::now();
    Outcome outcome_;
};

bool parse(int argc, char **argv, Settings &settings) {
    if (argc < 8)
        return false;
    settings.rate = atof(argv[3]);
    settings.seconds = atof(argv[4]);
    settings.seed = static_cast<unsigned>(atoi(argv[5]));
    settings.prefix = argv[6];
    int next = 7;
    if (argc > next + 2 && std::string(argv[next]) == "from") {
        settings.sources = static_cast<uint32_t>(atol(argv[next + 2]));
        if (settings.sources == 0 || !parseAddress(argv[next + 1], "0", settings.source))
            return false;
        next += 3;
    }
    for (int i = next; i < argc; ++i) {
        Kind kind{};
        if (sscanf(argv[i], "%d:%d", &kind.milliseconds, &kind.weight) != 2 ||
            kind.milliseconds < 0 || kind.weight < 1)
            return false;
        settings.kinds.push_back(kind);
    }
    return parseAddress(argv[1], argv[2], settings.server) && settings.rate > 0 &&
           settings.seconds > 0 && !settings.kinds.empty();
}

} // namespace

int main(int argc, char **argv) {
    Settings settings;
    if (!parse(argc, argv, settings)) {
        fprintf(stderr, "usage: arrivals HOST PORT RATE SECONDS SEED PREFIX ?from SOURCE SOURCES? "
                        "MS:WEIGHT ...\n");
        return 2;
    }
    const auto began = Clock::now();
    Outcome outcome = Arrivals(settings).run();
    const double took = secondsSince(began);
    print(outcome, took, processorSeconds() / took);
    return outcome.errors.empty() ? 0 : 1;
}
