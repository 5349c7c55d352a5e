#!/usr/bin/env tclsh
# slow.tcl: bench/slow.tcl's job with socketserver::pool.
#
#   tclsh slow.tcl WORKERS
#
# Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
# file on standard input.

lappend auto_path [file dirname [file dirname [file dirname [file normalize [info script]]]]]
package require socketserver

set handlers {
    # Reads the line /MS/..., and sends it back after so many milliseconds.
    proc serve {channel address port} {
        chan configure $channel -translation lf
        if {[gets $channel line] >= 0} {
            after [lindex [split $line /] 1]
            puts $channel $line
        }
        close $channel
    }
}

unix_process::notifier epoll
socketserver::pool create server -listen 127.0.0.1:0 -workers [lindex $argv 0] \
    -preload $handlers -handler serve
server start
set port [lindex [dict get [lindex [server listeners] 0] address] 2]
puts "ready $port [pid] [lmap worker [server workers] {dict get $worker pid}]"
flush stdout
chan event stdin readable {set ended 1}
vwait ended
server stop -graceful 0
