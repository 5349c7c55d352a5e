// passing: open files from one process to another without Tcl: what the machine can do.
//
//   passing flood BATCH SECONDS      messages with BATCH descriptors in one direction
//   passing pingpong BATCH SECONDS   and back again, one message at a time
//
// The receiver closes what it receives, and looks at one descriptor of each 64th message:
// it is to be the file whose turn it is. Says what was done as a dictionary: how many
// descriptors arrived, seconds, processor time of the two processes.

#include "pair.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int kFiles = 4;
constexpr int kMost = 253;

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

void takeAll(const Files &files, int fd) {
    Message message;
    unsigned long long received = 0;
    int descriptors[kMost];
    for (unsigned messages = 0;; ++messages) {
        const int count = message.receive(fd, descriptors);
        if (count == 0)
            break;
        if (messages % 64 == 0)
            check(files, descriptors, count, messages);
        closeAll(descriptors, count);
        received += static_cast<unsigned>(count);
    }
    tell(fd, received);
}

void giveBack(int fd) {
    Message message;
    unsigned long long received = 0;
    int descriptors[kMost];
    while (const int count = message.receive(fd, descriptors)) {
        message.send(fd, descriptors, count);
        closeAll(descriptors, count);
        received += static_cast<unsigned>(count);
    }
    tell(fd, received);
}

void flood(int fd, const Files &files, int count, double seconds) {
    std::vector<std::vector<int>> batches;
    for (int i = 0; i < kFiles; ++i)
        batches.push_back(batchFrom(files, i, count));
    Message message;
    const auto began = Clock::now();
    unsigned long long sent = 0;
    for (unsigned i = 0; secondsSince(began) < seconds; ++i, sent += static_cast<unsigned>(count))
        message.send(fd, batches[i % kFiles].data(), count);
    const double cpu = ask(fd, sent);
    report("descriptors", sent, secondsSince(began), cpu);
}

void pingpong(int fd, const Files &files, int count, double seconds) {
    Message message;
    int descriptors[kMost];
    unsigned rounds = 0;
    const auto began = Clock::now();
    double took = 0;
    for (; took < seconds; took = secondsSince(began), ++rounds) {
        const std::vector<int> batch = batchFrom(files, static_cast<int>(rounds % kFiles), count);
        message.send(fd, batch.data(), count);
        if (message.receive(fd, descriptors) != count)
            wrong("descriptors were lost");
        if (rounds % 64 == 0)
            check(files, descriptors, count, rounds);
        closeAll(descriptors, count);
    }
    const unsigned long long sent = 1ULL * rounds * static_cast<unsigned>(count);
    report("descriptors", 2 * sent, took, ask(fd, sent));
}

} // namespace

int main(int argc, char **argv) {
    const std::string mode = argc == 4 ? argv[1] : "";
    const int count = argc == 4 ? atoi(argv[2]) : 0;
    if (count < 1 || count > kMost || (mode != "flood" && mode != "pingpong"))
        wrong("usage: passing flood|pingpong BATCH SECONDS");
    const Files files;
    const int fd = withChild([&](int end) {
        if (mode == "flood")
            takeAll(files, end);
        else
            giveBack(end);
    });
    if (mode == "flood")
        flood(fd, files, count, atof(argv[3]));
    else
        pingpong(fd, files, count, atof(argv[3]));
    return 0;
}
