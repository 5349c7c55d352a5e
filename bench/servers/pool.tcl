#!/usr/bin/env tclsh
# pool.tcl: bench/connections.tcl's job with socketserver::pool.
#
#   tclsh pool.tcl blocking|events WORKERS
#
# Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
# file on standard input.

lappend auto_path [file dirname [file dirname [file dirname [file normalize [info script]]]]]
package require socketserver

set handlers {
    proc blocking {channel address port} {
        chan configure $channel -translation lf
        if {[gets $channel line] >= 0} {
            puts $channel $line
        }
        close $channel
    }
    proc events {channel address port} {
        chan configure $channel -translation lf -blocking 0
        chan event $channel readable [list answer $channel]
    }
    proc answer {channel} {
        if {[gets $channel line] >= 0} {
            puts $channel $line
            close $channel
        } elseif {[eof $channel]} {
            close $channel
        }
    }
}

lassign $argv mode workers
unix_process::notifier epoll
socketserver::pool create server -listen 127.0.0.1:0 -workers $workers -preload $handlers \
    -handler $mode -concurrency [expr {$mode eq "events" ? 64 : 1}]
server start
set port [lindex [dict get [lindex [server listeners] 0] address] 2]
puts "ready $port [pid] [lmap worker [server workers] {dict get $worker pid}]"
flush stdout
chan event stdin readable {set ended 1}
vwait ended
server stop -graceful 0
