# Both sides of an upgrade, in this process: what the old program says to the new one, and
# the other way round. The new one goes on when the old one has gone, or fails with a reason;
# the old one hears once what becomes of it.
#
# The number of the first step says who speaks: the old program if it is even. The other
# steps: 0 bytes as they are; 1 to 6 a frame of these bytes with so many descriptors less
# one.

source [file join [file dirname [file normalize [info script]]] harness.tcl]
package require socketserver

oo::define socketserver::Predecessor method StandardInput {} {
    return $::theirs
}

# Of a program that never runs.
oo::define socketserver::Successor method Execute {program standardInput} {
    set ::theirs [unix_sockets::adopt [Number $standardInput]]
    return 999999999
}

# The descriptor of a channel.
proc Number {channel} {
    lassign [unix_sockets::pair] mine other
    unix_sockets::sendfd $mine [list $channel]
    set fd [unix_sockets::recvfd -raw $other]
    close $mine
    close $other
    return $fd
}

proc tell {channel kind bytes} {
    set count [expr {max(0, $kind % 7 - 1)}]
    if {$kind % 7 > 0} {
        set bytes [binary format IS [string length $bytes] $count]$bytes
    }
    if {$count > 0} {
        unix_sockets::sendfd $channel [fuzz::handles $count] [string range $bytes 0 1999]
        set bytes [string range $bytes 2000 end]
    }
    puts -nonewline $channel $bytes
    flush $channel
}

# As far as there is room: the other side may not read any more.
proc tellAll {channel input} {
    chan configure $channel -translation binary -blocking 0
    foreach {kind bytes} $input {
        if {[catch {tell $channel $kind [string range $bytes 0 9999]}]} {
            break
        }
    }
}

# The new program: it has all in time, since all has been said when it begins.
proc tryPredecessor {input} {
    lassign [unix_sockets::pair] mine ::theirs
    set ::env($::socketserver::takeoverVariable) 1
    tellAll $mine $input
    forkserver::Discard [list $mine]
    set ::told 0
    try {
        set predecessor [socketserver::Predecessor new]
    } on error {message} {
        fuzz::require [expr {$message ne ""}] "a failure has a reason"
        return
    }
    $predecessor listeners 127.0.0.1:80
    $predecessor ready {incr ::told}
    update
    fuzz::require [expr {$::told == 1}] "it goes on when the old one has gone: $::told"
    $predecessor destroy
}

proc hear {word {reason ""}} {
    lappend ::told $word
    chan event [[info object namespace $::successor]::my Channel] readable {}
}
oo::define socketserver::Successor method Channel {} {
    my variable link
    return [$link channel]
}

proc trySuccessor {input} {
    set ::told {}
    set ::successor [socketserver::Successor new {} {hear ready} {hear failed}]
    tellAll $::theirs $input
    forkserver::Discard [list $::theirs]
    update
    update
    fuzz::require [expr {$::told in {ready failed}}] "it is heard what becomes of it: $::told"
    $::successor destroy
}

# What a failed program leaves ends with it; this one goes on.
proc tidy {} {
    foreach channel [chan names] {
        if {$channel ni $::channelsBefore} {
            close $channel
        }
    }
    set more [dict remove [descriptors] {*}[dict keys $::descriptorsBefore]]
    forkserver::CloseAll [dict keys $more]
    unix_process::DisownPidFile
}

proc tryTakeover {input} {
    try {
        if {$input ne {} && [lindex $input 0] % 2} {
            trySuccessor [lrange $input 2 end]
        } else {
            tryPredecessor [lrange $input 2 end]
        }
    } finally {
        tidy
    }
}

fuzz::handles 1
waitFor 1000 {[info exists ::waitForTick]} ;# opens the notifier's descriptors
set channelsBefore [chan names]
set descriptorsBefore [descriptors]
fuzz::run [list \
    [list 0 "" 4 {takeover 1 {127.0.0.1:80 1} {}} 1 {go {}}] \
    [list 0 "" 5 {takeover 12 {127.0.0.1:80 1 unix:/run/x 1} {}} \
        1 {go {127.0.0.1:80 {} x {y 1 2}}}] \
    [list 0 "" 4 [list takeover 1 {} [tempPath handle]] 1 {go {}}] \
    [list 0 "" 1 {takeover 1 {} {}}] \
    [list 1 "" 1 {ready 123}] [list 1 "" 1 {failed {no database}}] \
    [list 1 "" 2 {ready 1} 1 {failed x}] [list 1 "" 0 abc] [list 0 "" 0 abc]
] {takeover "go " ready failed 127.0.0.1:80} tryTakeover
