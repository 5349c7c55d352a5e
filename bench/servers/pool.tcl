#!/usr/bin/env tclsh
# pool.tcl: bench/connections.tcl's job with socketserver::pool.
#
#   tclsh pool.tcl blocking|events WORKERS
#
# Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
# file on standard input.

source [file join [file dirname [file normalize [info script]]] common.tcl]

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
runPool -workers $workers -preload $handlers \
    -handler $mode -concurrency [expr {$mode eq "events" ? 64 : 1}]
