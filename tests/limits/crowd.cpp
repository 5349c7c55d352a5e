// crowd: many clients of one server, too many of them, or such that do not behave.
//
//   crowd HOST PORT SOURCE SOURCES CLIENTS REST WAY ?MS?
//
// CLIENTS connect at once, from SOURCES addresses in turn, SOURCE and those behind it. A
// WAY is what they do:
//   offer MS   each sends the line "/MS/...", and reads up to the end of file
//   hold       each has a line echoed, and stays
//   drip MS    each sends a byte every MS milliseconds and no line; 0: nothing
//   reset      connections are reset, at once or, each other one, with half a line sent
//   halfopen   connections are never completed: nothing that comes back is taken
// A client whose connection has ended begins another one after REST milliseconds, more or
// less, so that they do not come in waves; with 0, and with `offer`, it does not. All end at the
// end of standard input, or when none is left; then one line of JSON tells how connections ended,
// and times in microseconds:
//   p          from the beginning to the line that came back
//   lasted     from connection to end, of those that the server has ended without a word
//   open       since the connection, of those that are open and have no answer
//   most       no time: most connections that an address held at a time (`hold`)

#include "clock.h"
#include "events.h"
#include "exchange.h"
#include "outcome.h"

#include <linux/filter.h>

#include <cstring>
#include <random>

namespace {

enum class Way { offer, hold, drip, reset, halfopen };

const std::map<std::string, Way> kWays = {{"offer", Way::offer},
                                          {"hold", Way::hold},
                                          {"drip", Way::drip},
                                          {"reset", Way::reset},
                                          {"halfopen", Way::halfopen}};

struct Settings {
    sockaddr_in server{};
    sockaddr_in source{};
    size_t sources = 0;
    size_t clients = 0;
    Clock::duration rest{};
    Way way = Way::offer;
    int ms = 0;
};

struct Client {
    size_t number = 0;
    int fd = -1;
    bool connected = false;
    bool answered = false;
    Clock::time_point began;
    Clock::time_point connectedAt;
    std::string received;
};

class Crowd {
public:
    explicit Crowd(const Settings &settings)
        : settings_(settings), clients_(settings.clients), held_(settings.sources),
          most_(settings.sources), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        // The server knows a line that begins with / as the only one of its connection.
        line_ = settings.way == Way::offer ? "/" + std::to_string(settings.ms) + "/" : "hold";
        line_ += std::string(60, 'x') + "\n";
        watch(epoll_, STDIN_FILENO);
    }

    Outcome run() {
        for (size_t i = 0; i < clients_.size() && !dismissed_; ++i) {
            clients_[i].number = i;
            begin(clients_[i]);
        }
        nextByte_ = Clock::now();
        while (!dismissed_ && (open_ > 0 || !resting_.empty())) {
            waitForEvents(epoll_, nextDue(), [this](epoll_event &event) { step(event); });
            sendBytes();
            while (!resting_.empty() && resting_.begin()->first <= Clock::now()) {
                Client &client = *resting_.begin()->second;
                resting_.erase(resting_.begin());
                begin(client);
            }
        }
        countOpen();
        return std::move(outcome_);
    }

private:
    // ---- beginning ---------------------------------------------------------

    void begin(Client &client) {
        client.began = Clock::now();
        client.connected = client.answered = false;
        client.received.clear();
        ++open_;
        if (!connect(client))
            end(client, strerror(errno));
        else if (settings_.way == Way::reset && client.number % 2 == 0)
            reset(client);
    }

    bool connect(Client &client) {
        client.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (client.fd < 0)
            return false;
        sockaddr_in source = settings_.source;
        source.sin_addr.s_addr = htonl(ntohl(source.sin_addr.s_addr) +
                                       static_cast<uint32_t>(client.number % settings_.sources));
        const int one = 1;
        ::setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        ::setsockopt(client.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (settings_.way == Way::halfopen)
            ignoreAnswers(client.fd);
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLET;
        event.data.ptr = &client;
        return ::bind(client.fd, reinterpret_cast<sockaddr *>(&source), sizeof source) == 0 &&
               (::connect(client.fd, reinterpret_cast<const sockaddr *>(&settings_.server),
                          sizeof settings_.server) == 0 ||
                errno == EINPROGRESS) &&
               ::epoll_ctl(epoll_, EPOLL_CTL_ADD, client.fd, &event) == 0;
    }

    // The kernel of the client drops them: the server waits for the end of the handshake.
    static void ignoreAnswers(int fd) {
        sock_filter drop = {BPF_RET | BPF_K, 0, 0, 0};
        const sock_fprog program{1, &drop};
        if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
            die("SO_ATTACH_FILTER");
    }

    // ---- going on ----------------------------------------------------------

    void step(epoll_event &event) {
        if (!event.data.ptr) { // standard input
            dismissed_ = true;
            return;
        }
        Client &client = *static_cast<Client *>(event.data.ptr);
        if (!client.connected && !isConnected(client))
            return;
        read(client);
    }

    // Has it sent its line then. False when it has ended.
    bool isConnected(Client &client) {
        int problem = 0;
        socklen_t size = sizeof problem;
        ::getsockopt(client.fd, SOL_SOCKET, SO_ERROR, &problem, &size);
        if (problem != 0) {
            end(client, strerror(problem));
            return false;
        }
        client.connected = true;
        client.connectedAt = Clock::now();
        if (settings_.way == Way::reset) {
            send(client, line_.size() / 2);
            reset(client);
            return false;
        }
        if (settings_.way != Way::drip)
            send(client, line_.size());
        return true;
    }

    // Whatever comes of it is seen when it is read.
    void send(Client &client, size_t size) {
        static_cast<void>(::send(client.fd, line_.data(), size, MSG_NOSIGNAL));
    }

    void read(Client &client) {
        char buffer[256];
        for (;;) {
            const ssize_t got = ::recv(client.fd, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN)
                return;
            if (got <= 0) {
                endedBy(client, got < 0 ? strerror(errno) : "");
                return;
            }
            client.received.append(buffer, static_cast<size_t>(got));
            if (client.received == line_)
                answer(client);
        }
    }

    void answer(Client &client) {
        client.answered = true;
        ++outcome_.answered;
        outcome_.times["p"].push_back(microseconds(Clock::now() - client.began));
        const size_t source = client.number % settings_.sources;
        most_[source] = std::max(most_[source], ++held_[source]);
    }

    // Every client sends one after the other, evenly.
    void sendBytes() {
        if (settings_.way != Way::drip || settings_.ms == 0)
            return;
        for (const auto now = Clock::now(); nextByte_ <= now; nextByte_ += gap()) {
            Client &client = clients_[next_++ % clients_.size()];
            if (client.connected)
                static_cast<void>(::send(client.fd, "x", 1, MSG_NOSIGNAL));
        }
    }

    Clock::duration gap() const {
        return durationOf(settings_.ms / 1000.0 / static_cast<double>(clients_.size()));
    }

    Clock::time_point nextDue() const {
        Clock::time_point due = Clock::now() + std::chrono::seconds(1);
        if (settings_.way == Way::drip && settings_.ms > 0)
            due = std::min(due, std::max(nextByte_, Clock::now() + std::chrono::milliseconds(1)));
        if (!resting_.empty())
            due = std::min(due, resting_.begin()->first);
        return due;
    }

    // ---- ending ------------------------------------------------------------

    // Without a problem it is an end of file.
    void endedBy(Client &client, const char *problem) {
        if (client.answered) {
            end(client, settings_.way == Way::offer && !*problem ? "" : "ended afterwards");
        } else if (client.received == "busy\n") {
            end(client, "refused");
        } else if (!client.received.empty()) {
            end(client, "wrong answer");
        } else {
            outcome_.times["lasted"].push_back(microseconds(Clock::now() - client.connectedAt));
            end(client, *problem ? problem : "ended");
        }
    }

    void reset(Client &client) {
        const linger none{1, 0};
        ::setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        end(client, "reset by the client");
    }

    // Empty: as it should.
    void end(Client &client, const std::string &how) {
        if (!how.empty())
            ++outcome_.errors[how];
        if (client.answered)
            --held_[client.number % settings_.sources];
        if (client.fd >= 0)
            ::close(client.fd);
        client.fd = -1;
        client.connected = false;
        --open_;
        if (settings_.rest > Clock::duration(0) && settings_.way != Way::offer)
            resting_.emplace(Clock::now() + settings_.rest / 2 +
                                 random_() % 1000 * settings_.rest / 1000,
                             &client);
    }

    void countOpen() {
        for (const Client &client : clients_) {
            if (client.fd < 0)
                continue;
            if (!client.connected) {
                ++outcome_.errors["waiting"];
            } else if (client.answered) {
                ++outcome_.errors["held"];
            } else {
                ++outcome_.errors["open"];
                outcome_.times["open"].push_back(microseconds(Clock::now() - client.connectedAt));
            }
        }
        outcome_.times["most"].assign(most_.begin(), most_.end());
    }

    const Settings settings_;
    std::string line_;
    std::vector<Client> clients_;
    std::vector<int64_t> held_; // by source
    std::vector<int64_t> most_;
    std::multimap<Clock::time_point, Client *> resting_;
    std::mt19937 random_{1};
    const int epoll_;
    size_t open_ = 0;
    size_t next_ = 0;
    Clock::time_point nextByte_;
    bool dismissed_ = false;
    Outcome outcome_;
};

bool parse(int argc, char **argv, Settings &settings) {
    if (argc < 8 || argc > 9 || kWays.count(argv[7]) == 0)
        return false;
    settings.sources = static_cast<size_t>(atol(argv[4]));
    settings.clients = static_cast<size_t>(atol(argv[5]));
    settings.rest = std::chrono::milliseconds(atol(argv[6]));
    settings.way = kWays.at(argv[7]);
    settings.ms = argc > 8 ? atoi(argv[8]) : 0;
    return parseAddress(argv[1], argv[2], settings.server) &&
           parseAddress(argv[3], "0", settings.source) && settings.sources > 0 &&
           settings.clients > 0;
}

} // namespace

int main(int argc, char **argv) {
    Settings settings;
    if (!parse(argc, argv, settings)) {
        fprintf(stderr, "usage: crowd HOST PORT SOURCE SOURCES CLIENTS REST WAY ?MS?\n");
        return 2;
    }
    const auto began = Clock::now();
    Outcome outcome = Crowd(settings).run();
    const double took = secondsSince(began);
    print(outcome, took, processorSeconds() / took);
    return 0;
}
