# common.tcl --
#
#   How the servers in Tcl here find the packages, start and end.

set home [file dirname [file dirname [file dirname [file normalize [info script]]]]]
lappend auto_path $home

# A pool named ::server, on a free port, with the options.
proc startPool {args} {
    package require socketserver
    unix_process::notifier epoll
    socketserver::pool create ::server -listen 127.0.0.1:0 {*}$args
    server start
    announce [lindex [dict get [lindex [server listeners] 0] address] 2] \
        [lmap worker [server workers] {dict get $worker pid}]
}

# Prints "ready PORT PID ..." with the pids, the parent's first.
proc announce {port workers} {
    puts "ready $port [pid] $workers"
    flush stdout
}

# Returns at end of file on standard input; calls the command for each line before.
proc awaitEnd {{command {}}} {
    chan event stdin readable [list input $command]
    vwait ::ended
}

proc input {command} {
    if {[gets stdin] eq "" && [eof stdin]} {
        set ::ended 1
    } else {
        {*}$command
    }
}

proc runPool {args} {
    startPool {*}$args
    awaitEnd
    server stop -graceful 0
}
