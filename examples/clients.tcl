# clients.tcl --
#
#   For examples that show what clients notice while a server changes, deploy.tcl and
#   two_hosts.tcl: clients that ask for a page again and again, and count the answers.

namespace eval clients {
    # counts   what an answer said -> how often; last: the latest one
    # waiting  channel -> what has come
    variable counts [dict create]
    variable last ""
    variable waiting [dict create]
    variable ending 0
    variable patienceMs 60000
    variable late 0
}

# So many at a time, with a pause between an answer and the next request.
proc clients::start {host port count} {
    for {set i 0} {$i < $count} {incr i} {
        Ask $host $port
    }
}

# Lets them have their last answers.
proc clients::end {} {
    variable ending 1
    variable waiting
    await {[dict size $::clients::waiting] == 0}
}

proc clients::forget {} {
    variable counts [dict create]
}

# Waits with the clients going on, but not for ever.
proc clients::await {condition} {
    variable patienceMs
    variable late
    set timer [after $patienceMs {set ::clients::late 1}]
    while {![uplevel 1 [list expr $condition]]} {
        if {$late} {
            error "this did not happen in time: $condition"
        }
        after 10 {set ::clients::tick 1}
        vwait ::clients::tick
    }
    after cancel $timer
}

# The output of socketserverctl.
proc clients::ctl {control args} {
    variable here
    set channel [open |[list [info nameofexecutable] $here/../bin/socketserverctl \
        -control $control {*}$args 2>@1]]
    chan configure $channel -blocking 0
    set output ""
    await {[append output [read $channel]; eof $channel]}
    chan configure $channel -blocking 1
    close $channel
    return $output
}

# Prints the counts; returns whether there was a failure.
proc clients::report {} {
    variable counts
    foreach what [lsort [dict keys $counts]] {
        puts "[dict get $counts $what] times $what"
    }
    return [dict exists $counts "a failure"]
}

# ---- private -------------------------------------------------------------------------

namespace eval clients {
    variable here [file dirname [file normalize [info script]]]
}

proc clients::Ask {host port} {
    variable waiting
    set channel [socket -async $host $port]
    chan configure $channel -blocking 0 -translation binary
    dict set waiting $channel ""
    puts $channel "GET / HTTP/1.0\r\nHost: localhost\r\n\r"
    flush $channel
    chan event $channel readable [list ::clients::Answered $channel $host $port]
}

proc clients::Answered {channel host port} {
    variable waiting
    variable counts
    variable last
    variable ending
    dict append waiting $channel [read $channel]
    if {![eof $channel]} {
        return
    }
    set last "a failure"
    regexp {^HTTP/1\.\d 200 .*\r\n\r\n(.*)\n$} [dict get $waiting $channel] -> last
    dict incr counts $last
    dict unset waiting $channel
    close $channel
    if {!$ending} {
        after 3 [list ::clients::Ask $host $port]
    }
}
