# A log service in the place of the system's, for the suites of what writes to the
# system's log. Index:
#
#   startLog               starts it, and sets the constraint `log`: false where there
#                          is a service already, or none can be made; waits while
#                          another suite has one
#   logged                 the next message: {facility*8+level tag text}
#   stopLog                ends it

# The service, for as long as the tests run that need it. Prints each message
# in hexadecimal digits, and ends at the end of its input.
set ::logService {
import os, socket, sys, threading
def end():
    sys.stdin.read()
    os.unlink("/dev/log")
    os._exit(0)
mine = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
try:
    mine.bind("\0uds-test-log")
except OSError:
    sys.exit()
if os.path.exists("/dev/log"):
    os.unlink("/dev/log")
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
os.chmod("/dev/log", 0o666)
threading.Thread(target=end).start()
print("ready", flush=True)
while True:
    print(log.recv(1 << 20).hex(), flush=True)
}

# A service that was killed leaves its file: nobody answers there.
proc isLogServed {} {
    set probe {import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("/dev/log")}
    return [expr {![catch {exec python3 -c $probe 2>@1}]}]
}

proc startLog {} {
    set ::logChannel {}
    testConstraint log 0
    if {![testConstraint root] || [auto_execok python3] eq {}} {
        return
    }
    set deadline [expr {[clock milliseconds] + 200000}]
    while {$::logChannel eq {} && [clock milliseconds] < $deadline} {
        if {[anotherSuiteLogs]} {
            after 100
        } elseif {[isLogServed]} {
            return
        } else {
            tryLog
        }
    }
    testConstraint log [expr {$::logChannel ne {}}]
}

proc anotherSuiteLogs {} {
    set file [open /proc/net/unix]
    set found [string match "*@uds-test-log\n*" [read $file]]
    close $file
    return $found
}

# Another suite may be faster.
proc tryLog {} {
    set ::logChannel [open |[list python3 -c $::logService 2>@stderr] r+]
    if {[lineFrom $::logChannel] ne "ready"} {
        reap $::logChannel
        set ::logChannel {}
    }
}

proc stopLog {} {
    if {$::logChannel ne {}} {
        chan configure $::logChannel -blocking 1
        close $::logChannel
    }
}

# The next message: {facility*8+level tag text}, where the tag has the pid.
proc logged {} {
    set bytes [binary decode hex [lineFrom $::logChannel]]
    if {![regexp {^<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d (.*?\[\d+\]): (.*)$} $bytes all \
        priority tag text]} {
        error "not a message: $bytes"
    }
    return [list $priority $tag [encoding convertfrom utf-8 $text]]
}
