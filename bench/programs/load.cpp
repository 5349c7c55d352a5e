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

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kStuckMs = 10000;

struct Settings {
    sockaddr_in server{};
    int clients = 0;
    double seconds = 0;
    size_t size = 64;
    int processes = 1;
};

// Counts of microseconds, 32 ranges for each power of two: the width of a range is at
// most 3% of its values.
class Histogram {
public:
    static constexpr size_t kSteps = 32;
    static constexpr size_t kRanges = kSteps * 28;

    void add(uint64_t value) {
        ++counts_[rangeOf(value)];
        ++total_;
        largest_ = std::max(largest_, value);
    }

    void add(const Histogram &other) {
        for (size_t i = 0; i < kRanges; ++i)
            counts_[i] += other.counts_[i];
        total_ += other.total_;
        largest_ = std::max(largest_, other.largest_);
    }

    // The middle of the range that holds it.
    uint64_t quantile(double share) const {
        const auto wanted = static_cast<uint64_t>(share * static_cast<double>(total_));
        uint64_t seen = 0;
        for (size_t i = 0; i < kRanges; ++i) {
            seen += counts_[i];
            if (seen > wanted)
                return std::min((lowestOf(i) + lowestOf(i + 1)) / 2, largest_);
        }
        return largest_;
    }

    uint64_t total() const { return total_; }
    uint64_t largest() const { return largest_; }

    // Each four ranges together: a chart needs no more.
    void print() const {
        const char *separator = "";
        for (size_t i = 0; i < kRanges; i += 4) {
            const uint64_t count = counts_[i] + counts_[i + 1] + counts_[i + 2] + counts_[i + 3];
            if (count == 0)
                continue;
            printf("%s[%llu, %llu]", separator, static_cast<unsigned long long>(lowestOf(i)),
                   static_cast<unsigned long long>(count));
            separator = ", ";
        }
    }

private:
    static size_t rangeOf(uint64_t value) {
        if (value < kSteps)
            return static_cast<size_t>(value);
        const auto shift = static_cast<size_t>(58 - __builtin_clzll(value));
        return std::min(shift * kSteps + static_cast<size_t>(value >> shift), kRanges - 1);
    }

    static uint64_t lowestOf(size_t range) {
        if (range < 2 * kSteps)
            return range;
        const size_t shift = range / kSteps - 1;
        return static_cast<uint64_t>(range - shift * kSteps) << shift;
    }

    uint64_t counts_[kRanges]{};
    uint64_t total_ = 0;
    uint64_t largest_ = 0;
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
    int fd = -1;
    Clock::time_point began;
    std::string line;
    size_t sent = 0;
    std::string answer;
};

class Load {
public:
    Load(const Settings &settings, int clients, uint64_t seed, Outcome &outcome)
        : settings_(settings), clients_(static_cast<size_t>(clients)),
          epoll_(::epoll_create1(EPOLL_CLOEXEC)), random_(seed), outcome_(outcome) {}

    void run() {
        const auto began = Clock::now();
        end_ = began + std::chrono::microseconds(static_cast<int64_t>(settings_.seconds * 1e6));
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
        client.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int one = 1;
        ::setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (::connect(client.fd, reinterpret_cast<const sockaddr *>(&settings_.server),
                      sizeof settings_.server) < 0 &&
            errno != EINPROGRESS) {
            // Who fails at once does not try again at once.
            ++outcome_.errors[std::min(errno, kFaults - 1)];
            ::close(client.fd);
            client.fd = -1;
            resting_.push_back(&client);
            return;
        }
        makeLine(client);
        ++open_;
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
                fail(client, errno);
                return;
            }
            if (got == 0)
                break;
            client.answer.append(buffer, static_cast<size_t>(got));
        }
        if (client.answer != client.line)
            fail(client, isBeginning(client.answer, client.line) ? kShortAnswer : kWrongAnswer);
        else
            succeed(client);
    }

    static bool isBeginning(const std::string &part, const std::string &whole) {
        return part.size() < whole.size() && whole.compare(0, part.size(), part) == 0;
    }

    // False when there is nothing to do but wait.
    bool send(Client &client) {
        const ssize_t done = ::send(client.fd, client.line.data() + client.sent,
                                    client.line.size() - client.sent, MSG_NOSIGNAL);
        if (done < 0 && (errno == EAGAIN || errno == ENOTCONN))
            return false;
        if (done < 0) {
            fail(client, errno);
            return false;
        }
        client.sent += static_cast<size_t>(done);
        return true;
    }

    void succeed(Client &client) {
        const auto took = Clock::now() - client.began;
        outcome_.latencies.add(static_cast<uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
        finish(client);
    }

    void fail(Client &client, int fault) {
        ++outcome_.errors[std::min(fault, kFaults - 1)];
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

double processorSeconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

double secondsSince(Clock::time_point began) {
    return std::chrono::duration<double>(Clock::now() - began).count();
}

pid_t startProcess(const Settings &settings, int number, Outcome &outcome) {
    const int clients = settings.clients / settings.processes +
                        (number < settings.clients % settings.processes ? 1 : 0);
    const pid_t pid = ::fork();
    if (pid != 0)
        return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const auto began = Clock::now();
    const auto seed = 88172645463325252u + static_cast<uint64_t>(number);
    Load(settings, clients, seed, outcome).run();
    outcome.processor = processorSeconds() / secondsSince(began);
    outcome.done = true;
    _exit(0);
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
    settings.server.sin_family = AF_INET;
    settings.server.sin_port = htons(static_cast<uint16_t>(atoi(argv[2])));
    settings.clients = atoi(argv[3]);
    settings.seconds = atof(argv[4]);
    if (argc > 5)
        settings.size = static_cast<size_t>(atol(argv[5]));
    if (argc > 6)
        settings.processes = atoi(argv[6]);
    return ::inet_pton(AF_INET, argv[1], &settings.server.sin_addr) == 1 && settings.seconds > 0 &&
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
