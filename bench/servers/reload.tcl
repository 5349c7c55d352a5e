#!/usr/bin/env tclsh
# reload.tcl: bench/reload.tcl's job with socketserver::pool.
#
#   tclsh reload.tcl WORKERS PACKAGE ...
#
# Sends back one line for each connection; the application loads the packages. Prints
# "ready PORT PID ..." with the pids, the parent's first. Each line on standard input
# makes it load the application anew; it prints "reloaded" when all new workers serve,
# and ends at end of file.

lappend auto_path [file dirname [file dirname [file dirname [file normalize [info script]]]]]
package require socketserver

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

proc obey {} {
    if {[gets stdin] eq "" && [eof stdin]} {
        set ::ended 1
        return
    }
    server reload
    puts reloaded
    flush stdout
}

unix_process::notifier epoll
socketserver::pool create server -listen 127.0.0.1:0 -workers $workers \
    -preload $application -handler serve
server start
set port [lindex [dict get [lindex [server listeners] 0] address] 2]
puts "ready $port [pid] [lmap worker [server workers] {dict get $worker pid}]"
flush stdout
chan event stdin readable obey
vwait ended
server stop -graceful 0
