# A fork server that runs, with hostile callers and children. It answers or closes; what it
# says are messages; who behaves well is served all the time, and nothing is left.
#
# Steps: 0 bytes as they are; 1 to 5 a frame of these bytes with so many descriptors less
# one; 6 reads what has come; 7 half a close; 8 to 10 a child knocks at the door for
# callers with these bytes and so many descriptors less eight. Each input is a caller.

source [file join [file dirname [file normalize [info script]]] harness.tcl]
source [file join $::projectRoot tests forks.tcl]

proc startVictim {} {
    global fs
    set fs [forkserver::start -name victim]
    # Scripts of children that fail tell so on standard error.
    $fs eval {unix_process::Redirect /dev/null}
    checkVictim
}

# What somebody who behaves well asks for.
proc checkVictim {} {
    global fs
    fuzz::require [expr {[$fs eval {expr {6 * 7}}] == 42}] "it answers"
    fuzz::require [expr {[answer $fs {list child {*}[forkserver::child args]} -args me] eq
        "child me"}] "its children run"
    $fs killall SIGKILL
    fuzz::require [$fs waitall -timeout $::fuzz::patience] "children end"
    fuzz::unchanged [$fs pid]
}

proc knock {bytes count} {
    global fs
    set child [$fs fork -args [list $bytes $count] {
        lassign $argv bytes count
        set door [dict get $::forkserver::childState door]
        chan configure $door -translation binary
        set ends [unix_sockets::pair]
        if {$count > 0} {
            unix_sockets::sendfd $door [lrange [list {*}$ends stdout] 0 $count-1] "$bytes "
        } else {
            puts -nonewline $door $bytes
            flush $door
        }
    }]
    spawned $child $fs
}

# The answers so far: false at the end of the connection.
proc hear {link} {
    $link fill
    while {[$link next message descriptors]} {
        fuzz::require [expr {[string is list $message] && [llength $message] in {3 4 5} &&
            [lindex $message 0] in {reply failure exit} && $descriptors eq {}}] \
            "it answers in messages: [string range $message 0 99]"
    }
    return [expr {![$link ended]}]
}

proc tell {channel kind bytes} {
    if {$kind > 0} {
        set bytes [binary format IS [string length $bytes] [expr {$kind - 1}]]$bytes
    }
    if {$kind > 1 && $bytes ne ""} {
        unix_sockets::sendfd $channel [fuzz::handles [expr {$kind - 1}]] \
            [string range $bytes 0 1999]
        set bytes [string range $bytes 2000 end]
    }
    puts -nonewline $channel $bytes
    flush $channel
}

proc tryCaller {input} {
    global fs
    set channel [rawConnection $fs]
    set link [forkserver::Link new $channel]
    set writable 1
    foreach {kind bytes} $input {
        set kind [expr {$kind % 11}]
        chan configure $channel -blocking [expr {$kind != 6}]
        try {
            if {$kind == 6} {
                hear $link
            } elseif {$kind >= 8} {
                knock $bytes [expr {$kind - 8}]
            } elseif {$kind == 7 && $writable} {
                set writable 0
                chan close $channel write
            } elseif {$writable} {
                tell $channel $kind $bytes
            }
        } trap POSIX {} {
            break ;# it has closed the connection
        }
    }
    chan configure $channel -blocking 0
    hear $link
    $link destroy
    fuzz::require [alive [$fs pid]] "the server lives"
}

startVictim
fuzz::run [list \
    [list 1 {1 children} 6 {}] \
    [list 2 {1 fork {set x 1} {a b} title} 1 {2 waitall} 6 {}] \
    [list 2 {1 fork {error oops} {} {}} 1 {2 wait 123} 6 {}] \
    [list 3 {1 fork {puts [forkserver::child socket] x} a b} 1 {2 killall SIGTERM}] \
    [list 2 {1 share} 1 {2 children} 7 {} 6 {}] \
    [list 1 {1 eval {expr {1 + 1}}} 1 {2 eval {set x [list a b]}}] \
    [list 1 {1 kill 1 SIGTERM} 1 {2 stop 1 1000} 1 {3 stopserver}] \
    [list 1 {4 failed text {-errorcode X}}] \
    [list 0 [fuzz::frame {1 children}] 0 [string range [fuzz::frame {2 wait 7}] 0 4]] \
    [list 9 123 10 456 8 x 1 {1 children}] \
    [list 5 {1 share} 4 {1 share} 1 {2 children}]
] [list [fuzz::frame {1 children}] {fork } {1 share} {7 failed } waitall "wait 1"] \
    tryCaller checkVictim 40
