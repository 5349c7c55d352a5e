// passing: open files from one process to another without Tcl: what the machine can do.
//
//   passing flood BATCH SECONDS      messages with BATCH descriptors in one direction
//   passing pingpong BATCH SECONDS   and back again, one message at a time
//
// The receiver closes what it receives, and looks at one descriptor of each 64th message:
// it is to be the file whose turn it is. Says what was done as a dictionary: how many
// descriptors arrived, seconds, processor time of the two processes.

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr int kFiles = 4;
constexpr int kMost = 253;

void die(const char *what) {
    perror(what);
    exit(1);
}

void wrong(const char *what) {
    fprintf(stderr, "passing: %s\n", what);
    exit(1);
}

double now(clockid_t clock = CLOCK_MONOTONIC) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// Descriptors of some files, passed in turn.
struct Files {
    int descriptors[kFiles];
    ino_t inodes[kFiles];

    Files() {
        for (int i = 0; i < kFiles; ++i) {
            char path[] = "/tmp/passing.XXXXXX";
            descriptors[i] = ::mkostemp(path, O_CLOEXEC);
            struct stat info {};
            if (descriptors[i] < 0 || ::unlink(path) < 0 || ::fstat(descriptors[i], &info) < 0)
                die(path);
            inodes[i] = info.st_ino;
        }
    }
};

// One message, used again and again.
struct Message {
    char byte = 0;
    iovec vector{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(kMost * sizeof(int))];
    msghdr header{};

    Message() {
        header.msg_iov = &vector;
        header.msg_iovlen = 1;
        header.msg_control = control;
    }

    void send(int to, const int *descriptors, int count) {
        const size_t size = static_cast<size_t>(count) * sizeof(int);
        header.msg_controllen = CMSG_SPACE(size);
        cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(rights), descriptors, size);
        if (::sendmsg(to, &header, MSG_NOSIGNAL) != 1)
            die("sendmsg");
    }

    // How many came; 0 at the end.
    int receive(int from, int *descriptors) {
        header.msg_controllen = sizeof control;
        const ssize_t got = ::recvmsg(from, &header, MSG_CMSG_CLOEXEC);
        if (got < 0)
            die("recvmsg");
        const cmsghdr *rights = CMSG_FIRSTHDR(&header);
        if (got == 0 || !rights)
            return 0;
        if ((header.msg_flags & MSG_CTRUNC) != 0)
            wrong("descriptors were lost");
        const size_t size = rights->cmsg_len - CMSG_LEN(0);
        memcpy(descriptors, CMSG_DATA(rights), size);
        return static_cast<int>(size / sizeof(int));
    }
};

void closeAll(const int *descriptors, int count) {
    for (int i = 0; i < count; ++i)
        ::close(descriptors[i]);
}

void check(const Files &files, const int *descriptors, int count, unsigned message) {
    const unsigned which = message / 64 % static_cast<unsigned>(count);
    struct stat info {};
    if (::fstat(descriptors[which], &info) < 0 ||
        info.st_ino != files.inodes[(message + which) % kFiles])
        wrong("a descriptor is not that of its file");
}

// The descriptors of a message: beginning with another file each time.
std::vector<int> batchFrom(const Files &files, int first, int count) {
    std::vector<int> batch;
    for (int i = 0; i < count; ++i)
        batch.push_back(files.descriptors[(first + i) % kFiles]);
    return batch;
}

struct Received {
    unsigned long long descriptors;
    double cpu;
};

void tell(int fd, Received received) {
    received.cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    if (::write(fd, &received, sizeof received) < 0)
        die("write");
}

// What the other process says once nothing more comes from here.
Received ask(int fd, unsigned long long sent) {
    ::shutdown(fd, SHUT_WR);
    Received received{};
    if (::recv(fd, &received, sizeof received, MSG_WAITALL) != sizeof received ||
        received.descriptors != sent)
        wrong("descriptors were lost");
    return received;
}

void takeAll(const Files &files, int fd) {
    Message message;
    Received received{};
    int descriptors[kMost];
    for (unsigned messages = 0;; ++messages) {
        const int count = message.receive(fd, descriptors);
        if (count == 0)
            break;
        if (messages % 64 == 0)
            check(files, descriptors, count, messages);
        closeAll(descriptors, count);
        received.descriptors += static_cast<unsigned>(count);
    }
    tell(fd, received);
}

void giveBack(int fd) {
    Message message;
    Received received{};
    int descriptors[kMost];
    while (const int count = message.receive(fd, descriptors)) {
        message.send(fd, descriptors, count);
        closeAll(descriptors, count);
        received.descriptors += static_cast<unsigned>(count);
    }
    tell(fd, received);
}

void flood(int fd, const Files &files, int count, double seconds) {
    std::vector<std::vector<int>> batches;
    for (int i = 0; i < kFiles; ++i)
        batches.push_back(batchFrom(files, i, count));
    Message message;
    const double began = now();
    unsigned long long sent = 0;
    for (unsigned i = 0; now() < began + seconds; ++i, sent += static_cast<unsigned>(count))
        message.send(fd, batches[i % kFiles].data(), count);
    const Received received = ask(fd, sent);
    printf("descriptors %llu seconds %.6f cpu %.6f\n", sent, now() - began,
           now(CLOCK_PROCESS_CPUTIME_ID) + received.cpu);
}

void pingpong(int fd, const Files &files, int count, double seconds) {
    Message message;
    int descriptors[kMost];
    unsigned rounds = 0;
    const double began = now();
    double ended = began;
    for (; ended < began + seconds; ended = now(), ++rounds) {
        const std::vector<int> batch = batchFrom(files, static_cast<int>(rounds % kFiles), count);
        message.send(fd, batch.data(), count);
        if (message.receive(fd, descriptors) != count)
            wrong("descriptors were lost");
        if (rounds % 64 == 0)
            check(files, descriptors, count, rounds);
        closeAll(descriptors, count);
    }
    const unsigned long long sent = 1ULL * rounds * static_cast<unsigned>(count);
    const Received received = ask(fd, sent);
    printf("descriptors %llu seconds %.6f cpu %.6f\n", 2 * sent, ended - began,
           now(CLOCK_PROCESS_CPUTIME_ID) + received.cpu);
}

} // namespace

int main(int argc, char **argv) {
    const std::string mode = argc == 4 ? argv[1] : "";
    const int count = argc == 4 ? atoi(argv[2]) : 0;
    if (count < 1 || count > kMost || (mode != "flood" && mode != "pingpong"))
        wrong("usage: passing flood|pingpong BATCH SECONDS");
    const Files files;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair");
    const pid_t pid = ::fork();
    if (pid < 0)
        die("fork");
    ::close(ends[pid == 0 ? 0 : 1]);
    if (pid == 0 && mode == "flood")
        takeAll(files, ends[1]);
    else if (pid == 0)
        giveBack(ends[1]);
    else if (mode == "flood")
        flood(ends[0], files, count, atof(argv[3]));
    else
        pingpong(ends[0], files, count, atof(argv[3]));
    return 0;
}
