#!/usr/bin/env tclsh
# echo_server.tcl --
#
#   An echo server with worker processes. The parent accepts; each worker
#   serves one connection at a time, and echoes every line with its own process
#   id and the client's address and port. Talk to it with telnet or nc:
#
#     tclsh examples/echo_server.tcl
#     nc localhost 8888
#
#   SIGUSR1 to the parent forks one more worker, SIGUSR2 has it print how many
#   connections it accepted and how many of them wait for a worker. SIGTERM or
#   SIGINT ends the parent and its workers. A worker that ends is not replaced.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require cmdline
package require socketserver

set workers {} ;# process ids

proc main {arguments} {
    set options [parseArguments $arguments]
    unix_process::onsignal SIGUSR1 {startWorker}
    unix_process::onsignal SIGUSR2 {report}
    unix_process::onsignal SIGTERM {stop}
    unix_process::onsignal SIGINT {stop}
    # Open first, fork then: the workers inherit the queue.
    set port [openServer [dict get $options port] [dict get $options host]]
    say "listening on port $port, pid [pid]"
    for {set i 0} {$i < [dict get $options workers]} {incr i} {
        startWorker
    }
    vwait forever
}

proc parseArguments {arguments} {
    set declared {
        {port.arg    8888 "port to listen on; 0 picks a free one"}
        {workers.arg 3    "number of worker processes"}
        {host.arg    ""   "address to listen on; default: every address"}
    }
    try {
        set options [cmdline::getoptions arguments $declared "?options?"]
    } trap {CMDLINE USAGE} usage {
        if {[lindex $::argv 0] in {--help -help -?}} {
            puts $usage
            exit
        }
        puts stderr $usage
        exit 1
    }
    set workers [dict get $options workers]
    if {[llength $arguments] > 0} {
        fail "unexpected argument \"[lindex $arguments 0]\", see --help"
    }
    if {![string is integer -strict $workers] || $workers < 0} {
        fail "bad number of workers \"$workers\""
    }
    return $options
}

proc openServer {port host} {
    try {
        socketserver::socket server -host $host -- $port
    } on error {message} {
        fail $message
    }
}

proc fail {message} {
    puts stderr "echo_server: $message"
    exit 1
}

# Whoever reads the output may be gone: no reason to stop serving.
proc say {message} {
    catch {
        puts $message
        flush stdout
    }
}

# ---- parent ------------------------------------------------------------------

# The argument is the signal's name when a signal asked for it.
proc startWorker {args} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        socketserver::socket client serve
        vwait forever
    }
    lappend ::workers $pid
    unix_process::onexit $pid workerEnded
    say "worker $pid started"
}

proc workerEnded {pid status} {
    say "worker $pid ended: $status"
    set ::workers [lsearch -all -inline -not -exact $::workers $pid]
}

proc report {signal} {
    set info [socketserver::socket info]
    say "accepted [dict get $info accepted], waiting [dict get $info queued]"
}

proc stop {signal} {
    say "stopping: $signal"
    # The same signal once more ends the parent without waiting.
    unix_process::onsignal $signal {}
    socketserver::socket close
    foreach pid $::workers {
        unix_process::kill $pid SIGTERM
    }
    while {[llength $::workers] > 0} {
        vwait ::workers
    }
    exit
}

# ---- worker ------------------------------------------------------------------

# The worker has nothing else to do, so it may wait for its client's next line.
proc serve {client address port} {
    # Bytes go back as they came, in whatever encoding.
    chan configure $client -buffering line -encoding iso8859-1
    try {
        while {[gets $client line] >= 0} {
            puts $client "[pid] $address $port $line"
        }
    } on error {message} {
        say "worker [pid]: $message" ;# such as: connection reset by peer
    } finally {
        close $client
    }
    socketserver::socket client serve
}

main $argv
