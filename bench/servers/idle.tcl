#!/usr/bin/env tclsh
# idle.tcl: bench/idle.tcl's job with socketserver::pool.
#
#   tclsh idle.tcl WORKERS
#
# Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
# file on standard input.

source [file join [file dirname [file normalize [info script]]] common.tcl]

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

runPool -workers [lindex $argv 0] -preload $handlers -handler serve -concurrency 100000
