#!/usr/bin/env tclsh
# socket.tcl: bench/connections.tcl's job with socketserver::socket and plain fork.
#
#   tclsh socket.tcl WORKERS
#
# Prints "ready PORT PID ..." as pool.tcl does.

lappend auto_path [file dirname [file dirname [file dirname [file normalize [info script]]]]]
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
puts "ready $port [pid] $workers"
flush stdout
chan event stdin readable {set ended 1}
vwait ended
foreach pid $workers {
    unix_process::kill $pid SIGKILL
    unix_process::wait $pid
}
