#!/usr/bin/env tclsh
# pool.tcl --
#
#   The smallest useful server: three worker processes, each of which serves one
#   connection at a time. It runs until Ctrl-C, or kill:
#
#     tclsh examples/pool.tcl
#     nc localhost 8888

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require socketserver

# Runs in a worker, once for each connection.
proc serve {client address port} {
    chan configure $client -buffering line
    while {[gets $client line] >= 0} {
        puts $client "worker [socketserver::worker id]: $line"
    }
    close $client
}

socketserver::pool create echo -listen 8888 -handler serve -workers 3
echo run
