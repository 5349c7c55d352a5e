#!/usr/bin/env tclsh
# slow.tcl: bench/slow.tcl's job with socketserver::pool.
#
#   tclsh slow.tcl WORKERS
#
# Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
# file on standard input.

source [file join [file dirname [file normalize [info script]]] common.tcl]

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

runPool -workers [lindex $argv 0] -preload $handlers -handler serve
