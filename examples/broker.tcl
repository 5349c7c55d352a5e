#!/usr/bin/env tclsh
# broker.tcl --
#
#   A process with rights opens files for one without. The worker has given up its
#   user for good; it asks for a file by name, and gets the open file, if the broker finds
#   it on its list. What the worker is tricked into asking for beyond that is refused.
#
#     tclsh examples/broker.tcl ?FILE ...?      as root, to see it drop its rights

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require unix_sockets
package require unix_process

if {[lindex $argv 0] in {--help -help -?}} {
    puts "usage: broker.tcl ?FILE ...?\nopens these files, and no others, for a process without\
        rights"
    exit
}
set allowed [lmap file [expr {$argc ? $argv : "/etc/shadow"}] {file normalize $file}]

# ---- the broker ----------------------------------------------------------------------

proc serve {channel allowed} {
    while {[gets $channel name] >= 0} {
        set reason "not on the list"
        if {$name in $allowed && ![catch {open $name} reason]} {
            unix_sockets::sendfd $channel $reason "ok"
            close $reason
        } else {
            puts $channel "no: $reason"
            flush $channel
        }
    }
}

# ---- the worker ----------------------------------------------------------------------

# An open file, or an error with the broker's words.
proc openBy {channel name} {
    puts $channel $name
    flush $channel
    set file [unix_sockets::recvfd $channel said]
    if {$file eq ""} {
        error [string trim $said]
    }
    return $file
}

proc work {channel names} {
    if {[exec id -u] == 0} {
        unix_process::setuser nobody
    }
    puts "the worker runs as [exec id -un]"
    foreach name [list {*}$names /etc/gshadow] {
        puts "$name: itself [itself $name], from the broker [fromBroker $channel $name]"
    }
}

proc itself {name} {
    if {[catch {open $name} file]} {
        return "no"
    }
    close $file
    return "yes"
}

proc fromBroker {channel name} {
    if {[catch {openBy $channel $name} file]} {
        return $file
    }
    set size [string length [read $file]]
    close $file
    return "$size bytes"
}

lassign [unix_sockets::pair] brokersEnd workersEnd
set pid [unix_process::fork]
if {$pid == 0} {
    close $brokersEnd
    work $workersEnd $allowed
    unix_process::exit 0
}
close $workersEnd
serve $brokersEnd $allowed
unix_process::wait $pid
