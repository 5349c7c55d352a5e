// line.h: a line from a connection, and back.

#ifndef BENCH_LINE_H
#define BENCH_LINE_H

#include <sys/socket.h>

#include <cstring>

// Its size; less than a line when it does not fit or the connection ends.
inline size_t receiveLine(int fd, char *buffer, size_t room) {
    size_t size = 0;
    while (size < room && !memchr(buffer, '\n', size)) {
        const ssize_t got = ::recv(fd, buffer + size, room - size, 0);
        if (got <= 0)
            break;
        size += static_cast<size_t>(got);
    }
    return size;
}

inline void sendLine(int fd, const char *line, size_t size) {
    for (size_t sent = 0; sent < size;) {
        const ssize_t done = ::send(fd, line + sent, size - sent, MSG_NOSIGNAL);
        if (done <= 0)
            break;
        sent += static_cast<size_t>(done);
    }
}

#endif
