#!/usr/bin/env tclsh
# reload.tcl: bench/reload.tcl's job with socketserver::pool.
#
#   tclsh reload.tcl WORKERS PACKAGE ...
#
# Sends back one line for each connection; the application loads the packages. Prints
# "ready PORT PID ..." with the pids, the parent's first. Each line on standard input
# makes it load the application anew; it prints "reloaded" when all new workers serve,
# and ends at end of file.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set packages [lassign $argv workers]
set application [string map [list %PACKAGES $packages] {
    foreach package {%PACKAGES} {
        package require $package
    }
    proc serve {channel address port} {
        chan configure $channel -translation lf
        if {[gets $channel line] >= 0} {
            puts $channel $line
        }
        close $channel
    }
}]

proc reload {} {
    server reload
    puts reloaded
    flush stdout
}

startPool -workers $workers -preload $application -handler serve
awaitEnd reload
server stop -graceful 0
