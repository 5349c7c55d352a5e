// load: a load generator for servers that echo one line.
//
//   load HOST PORT CLIENTS SECONDS ?SIZE? ?PROCESSES?
//
// CLIENTS connections are open at a time: each connects, sends one line of SIZE
// bytes (64), reads the line that comes back, checks every byte of it, and reads
// on to the end of file. PROCESSES (1) share the clients.
//
// Prints one line of JSON: how many were answered, errors by kind, latencies from
// connect to end of file in microseconds, with a histogram {[from, count], ...}, and
// the share of one processor that a process of this program used: near 1 it is the
// ceiling itself. Shows its progress on a terminal. Ends with 1 after errors.

#include "clock.h"
#include "events.h"
#include "exchange.h"
#include "histogram.h"
#include "workers.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <utility>

namespace {

constexpr auto kStuck = std::chrono::seconds(10);

struct Settings {
    sockaddr_in server{};
    int clients = 0;
    double seconds = 0;
    size_t size = 64;
    int processes = 1;
};

// Errors are numbers of errno, and these.
enum Fault : int { kShortAnswer = 200, kWrongAnswer, kNoAnswer, kFaults };

const char *nameOf(int fault) {
    switch (fault) {
    case kShortAnswer:
        return "short answer";
    case kWrongAnswer:
        return "wrong answer";
    case kNoAnswer:
        return "no answer";
    default:
        return strerror(fault);
    }
}

// Plain numbers, in memory that the processes share.
struct Outcome {
    Histogram latencies;
    uint64_t errors[kFaults]{};
    double processor = 0; // the largest share that one process used
    bool done = false;

    void add(const Outcome &other) {
        latencies.add(other.latencies);
        for (int i = 0; i < kFaults; ++i)
            errors[i] += other.errors[i];
        processor = std::max(processor, other.processor);
    }

    bool failed() const {
        return std::any_of(errors, errors + kFaults, [](uint64_t count) { return count > 0; });
    }
};

struct Client {
    Exchange exchange;
    Clock::time_point began;
    std::string line;
};

class Load {
public:
    Load(const Settings &settings, int clients, uint64_t seed, Outcome &outcome)
        : settings_(settings), clients_(static_cast<size_t>(clients)),
          epoll_(::epoll_create1(EPOLL_CLOEXEC)), random_(seed), outcome_(outcome) {}

    void run() {
        const auto began = Clock::now();
        end_ = began + durationOf(settings_.seconds);
        for (Client &client : clients_)
            begin(client);
        while (open_ > 0 || (!resting_.empty() && Clock::now() < end_))
            turn();
    }

private:
    void turn() {
        epoll_event events[256];
        const int count = ::epoll_wait(epoll_, events, 256, resting_.empty() ? 100 : 10);
        for (int i = 0; i < count; ++i)
            step(*static_cast<Client *>(events[i].data.ptr));
        if (count <= 0) {
            giveUpStuck();
            for (Client *client : std::exchange(resting_, {}))
                begin(*client);
        }
    }

    void begin(Client &client) {
        client.began = Clock::now();
        if (client.began >= end_)
            return;
        if (!client.exchange.connect(settings_.server, epoll_, &client)) {
            // Who fails at once does not try again at once.
            ++outcome_.errors[std::min(errno, kFaults - 1)];
            client.exchange.close();
            resting_.push_back(&client);
            return;
        }
        makeLine(client);
        ++open_;
    }

    // Different for each connection, so that a mixed-up answer shows.
    void makeLine(Client &client) {
        client.line.resize(settings_.size);
        for (char &c : client.line) {
            random_ = random_ * 6364136223846793005u + 1442695040888963407u;
            c = static_cast<char>('a' + (random_ >> 59) % 26);
        }
        client.line.back() = '\n';
    }

    void step(Client &client) {
        const std::string &answer = client.exchange.answer();
        const auto state = client.exchange.proceed(client.line);
        if (state == Exchange::State::failed)
            fail(client, errno);
        else if (state == Exchange::State::complete && answer == client.line)
            succeed(client);
        else if (state == Exchange::State::complete)
            fail(client, isBeginning(answer, client.line) ? kShortAnswer : kWrongAnswer);
    }

    static bool isBeginning(const std::string &part, const std::string &whole) {
        return part.size() < whole.size() && whole.compare(0, part.size(), part) == 0;
    }

    void succeed(Client &client) {
        outcome_.latencies.add(static_cast<uint64_t>(microseconds(Clock::now() - client.began)));
        finish(client);
    }

    void fail(Client &client, int fault) {
        ++outcome_.errors[std::min(fault, kFaults - 1)];
        finish(client);
    }

    void finish(Client &client) {
        client.exchange.close();
        --open_;
        begin(client);
    }

    void giveUpStuck() {
        const auto now = Clock::now();
        for (Client &client : clients_)
            if (client.exchange.isOpen() && now - client.began > kStuck)
                fail(client, kNoAnswer);
    }

    const Settings settings_;
    std::vector<Client> clients_;
    std::vector<Client *> resting_;
    const int epoll_;
    int open_ = 0;
    uint64_t random_;
    Clock::time_point end_;
    Outcome &outcome_;
};

pid_t startProcess(const Settings &settings, int number, Outcome &outcome) {
    const int clients = settings.clients / settings.processes +
                        (number < settings.clients % settings.processes ? 1 : 0);
    return forkWorker([&] {
        const auto began = Clock::now();
        const auto seed = 88172645463325252u + static_cast<uint64_t>(number);
        Load(settings, clients, seed, outcome).run();
        outcome.processor = processorSeconds() / secondsSince(began);
        outcome.done = true;
    });
}

// Shows the progress on a terminal meanwhile.
void awaitEnd(const Settings &settings, const std::vector<pid_t> &pids) {
    const auto began = Clock::now();
    while (::isatty(STDERR_FILENO) && secondsSince(began) < settings.seconds) {
        const int done = static_cast<int>(40 * secondsSince(began) / settings.seconds);
        fprintf(stderr, "\r[%-40s] %.0f s", std::string(static_cast<size_t>(done), '#').c_str(),
                settings.seconds - secondsSince(began));
        ::poll(nullptr, 0, 100);
    }
    for (pid_t pid : pids)
        ::waitpid(pid, nullptr, 0);
    if (::isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

void print(const Outcome &outcome, double seconds) {
    const Histogram &latencies = outcome.latencies;
    printf("{\"answered\": %llu, \"seconds\": %.4f, \"cpu\": %.3f, \"errors\": {",
           static_cast<unsigned long long>(latencies.total()), seconds, outcome.processor);
    const char *separator = "";
    for (int fault = 0; fault < kFaults; ++fault) {
        if (outcome.errors[fault] == 0)
            continue;
        printf("%s\"%s\": %llu", separator, nameOf(fault),
               static_cast<unsigned long long>(outcome.errors[fault]));
        separator = ", ";
    }
    printf("}");
    const struct {
        const char *name;
        double share;
    } quantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}};
    for (const auto &[name, share] : quantiles)
        printf(", \"%s\": %llu", name, static_cast<unsigned long long>(latencies.quantile(share)));
    printf(", \"max\": %llu, \"histogram\": [",
           static_cast<unsigned long long>(latencies.largest()));
    latencies.print();
    printf("]}\n");
}

bool parse(int argc, char **argv, Settings &settings) {
    if (argc < 5 || argc > 7)
        return false;
    settings.clients = atoi(argv[3]);
    settings.seconds = atof(argv[4]);
    if (argc > 5)
        settings.size = static_cast<size_t>(atol(argv[5]));
    if (argc > 6)
        settings.processes = atoi(argv[6]);
    return parseAddress(argv[1], argv[2], settings.server) && settings.seconds > 0 &&
           settings.size >= 2 && settings.processes >= 1 && settings.clients >= settings.processes;
}

// Null when a process did not come to its end.
Outcome *run(const Settings &settings) {
    const auto count = static_cast<size_t>(settings.processes);
    void *memory = ::mmap(nullptr, count * sizeof(Outcome), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return nullptr;
    auto *outcomes = static_cast<Outcome *>(memory);
    std::vector<pid_t> pids;
    for (size_t i = 0; i < count; ++i)
        pids.push_back(startProcess(settings, static_cast<int>(i), *new (outcomes + i) Outcome));
    awaitEnd(settings, pids);
    for (size_t i = 0; i < count; ++i) {
        if (!outcomes[i].done)
            return nullptr;
        if (i > 0)
            outcomes[0].add(outcomes[i]);
    }
    return outcomes;
}

} // namespace

int main(int argc, char **argv) {
    Settings settings;
    if (!parse(argc, argv, settings)) {
        fprintf(stderr, "usage: load HOST PORT CLIENTS SECONDS ?SIZE? ?PROCESSES?\n");
        return 2;
    }
    const auto began = Clock::now();
    const Outcome *outcome = run(settings);
    if (!outcome) {
        fprintf(stderr, "load: a process of it has failed\n");
        return 2;
    }
    print(*outcome, secondsSince(began));
    return outcome->failed() ? 1 : 0;
}
