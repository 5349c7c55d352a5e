#!/usr/bin/env tclsh
# socket.tcl: bench/connections.tcl's job with socketserver::socket and plain fork.
#
#   tclsh socket.tcl WORKERS
#
# Prints "ready PORT PID ..." as pool.tcl does.

source [file join [file dirname [file normalize [info script]]] common.tcl]
package require socketserver

proc serve {channel address port} {
    chan configure $channel -translation lf
    if {[gets $channel line] >= 0} {
        puts $channel $line
    }
    close $channel
    socketserver::socket client serve
}

unix_process::notifier epoll
set port [socketserver::socket server -host 127.0.0.1 0]
for {set i 0} {$i < [lindex $argv 0]} {incr i} {
    set pid [unix_process::fork]
    if {$pid == 0} {
        socketserver::socket client serve
        vwait forever
    }
    lappend workers $pid
}
announce $port $workers
awaitEnd
foreach pid $workers {
    unix_process::kill $pid SIGKILL
    unix_process::wait $pid
}
