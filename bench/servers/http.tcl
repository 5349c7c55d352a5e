#!/usr/bin/env tclsh
# http.tcl: bench/http.tcl's job with examples/httpd.tcl in a pool.
#
#   tclsh http.tcl WORKERS
#
# Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
# file on standard input.

set home [file dirname [file dirname [file dirname [file normalize [info script]]]]]
lappend auto_path $home
package require socketserver

unix_process::notifier epoll
set argv [lassign $argv workers]
socketserver::pool create server -listen 127.0.0.1:0 -workers $workers \
    -preload [list source [file join $home examples httpd.tcl]]
server start
set port [lindex [dict get [lindex [server listeners] 0] address] 2]
puts "ready $port [pid] [lmap worker [server workers] {dict get $worker pid}]"
flush stdout
chan event stdin readable {set ended 1}
vwait ended
server stop -graceful 0
