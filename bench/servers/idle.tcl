#!/usr/bin/env tclsh
# idle.tcl: bench/idle.tcl's job with socketserver::pool.
#
#   tclsh idle.tcl WORKERS
#
# Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
# file on standard input.

lappend auto_path [file dirname [file dirname [file dirname [file normalize [info script]]]]]
package require socketserver

set handlers {
    # Echoes lines as long as the client likes.
    proc serve {channel address port} {
        chan configure $channel -translation lf -blocking 0 -buffering line
        chan event $channel readable [list answer $channel]
    }
    proc answer {channel} {
        if {[catch {gets $channel line} length] || [eof $channel]} {
            close $channel
        } elseif {$length >= 0} {
            puts $channel $line
        }
    }
}

unix_process::notifier epoll
socketserver::pool create server -listen 127.0.0.1:0 -workers [lindex $argv 0] \
    -preload $handlers -handler serve -concurrency 100000
server start
set port [lindex [dict get [lindex [server listeners] 0] address] 2]
puts "ready $port [pid] [lmap worker [server workers] {dict get $worker pid}]"
flush stdout
chan event stdin readable {set ended 1}
vwait ended
server stop -graceful 0
