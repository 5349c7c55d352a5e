#!/usr/bin/env tclsh
# select.tcl: bench/connections.tcl's job the way that servers which pass descriptors
# did it before: all workers have an ordinary readable event on one socket pair, in
# Tcl's own notifier. Each connection wakes all that are idle, and one gets it.
#
#   tclsh select.tcl WORKERS
#
# Prints "ready PORT PID ..." as pool.tcl does.

source [file join [file dirname [file normalize [info script]]] common.tcl]
package require unix_sockets
package require unix_process

# The parent's part is as quick as it can be made: it is not what is compared.
proc parent {count} {
    set listener [unix_sockets::listener 127.0.0.1:0]
    lassign [unix_sockets::queue] sending receiving
    # New processes: a forked one would not have Tcl's own notifier. They get the queue as
    # descriptor 9, as 0 belongs to stdin.
    set command [list sh -c {exec "$@" 9<&0 </dev/null} sh \
        [info nameofexecutable] [info script] worker]
    for {set i 0} {$i < $count} {incr i} {
        lappend workers [open |[list {*}$command <@ $receiving 2>@stderr]]
    }
    foreach worker $workers {
        gets $worker
        lappend pids [pid $worker]
    }
    close $receiving
    unix_process::notifier epoll
    chan event $listener readable [list unix_sockets::handoff $listener $sending]
    announce [lindex [chan configure $listener -sockname] 2] $pids
    awaitEnd
}

proc worker {} {
    set queue [unix_sockets::adopt 9]
    chan configure $queue -blocking 0
    wait $queue
    puts ready
    flush stdout
    vwait forever
}

# For one connection; who has served it asks for the next one.
proc wait {queue} {
    chan event $queue readable [list take $queue]
}

proc take {queue} {
    set channel [unix_sockets::recvfd $queue]
    if {$channel ne ""} {
        chan event $queue readable {}
        serve $channel
        wait $queue
    } elseif {[eof $queue]} {
        exit
    } ;# else another one was faster
}

proc serve {channel} {
    chan configure $channel -translation lf
    if {[gets $channel line] >= 0} {
        puts $channel $line
    }
    close $channel
}

if {$argv eq "worker"} {
    worker
} else {
    parent [lindex $argv 0]
}
