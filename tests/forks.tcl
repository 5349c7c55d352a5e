# Helpers of the suites of forkserver, sourced after helpers.tcl. Index:
#
#   withServer VAR SCRIPT ?OPTION VALUE ...?
#                       SCRIPT with a fork server in VAR, which is stopped at the end,
#                       and has one spare child unless told otherwise
#   answer FS SCRIPT ?OPTION VALUE ...?
#                       what SCRIPT returns in a new child, after its end
#   spawned DICT        the child of "fork" has ended: its status; closes the socket
#   call FS WORD ...    a method's outcome: {ok result} or {errorcode message}
#   elapsed SCRIPT      how many milliseconds SCRIPT takes
#   procStatus PID NAME a field of /proc/PID/status
#   openFiles PID       what the descriptors of a process are: sorted kinds
#   serverFiles FS      the same of a fork server
#   firstFree           the number of the next descriptor
#   offspring PID       pids of a process's children
#   spares FS           pids of the children that are forked ahead
#   withoutSpares FS SCRIPT
#                       SCRIPT while the fork server has none
#   strays FS           child processes that it should not have: zombies, for example
#   alive PID           whether a process runs: it exists and is no zombie
#   rawConnection FS    a channel to the server, for bytes of any kind
#   frame MESSAGE ?N?   the bytes of a request with N descriptors
#   replyOn CHANNEL     the next message of the server on such a channel

package require forkserver

# A server that starts gives the starter's notifier new pipes: only the number
# and the kinds of descriptors stay.
rename descriptors exactDescriptors
proc descriptors {} {
    set found [dict create]
    foreach kind [openFiles self] {
        dict set found $kind[incr seen($kind)] $kind
    }
    return $found
}

proc openFiles {pid} {
    set kinds {}
    foreach link [glob -nocomplain -directory /proc/$pid/fd *] {
        if {![catch {file readlink $link} target]} {
            lappend kinds [regsub {\[\d+\]} $target {}]
        }
    }
    return [lsort $kinds]
}

# A limit of so many leaves no descriptor.
proc firstFree {} {
    set free 0
    while {[file exists /proc/self/fd/$free]} {
        incr free
    }
    return $free
}

# A server that has just started opens its notifier's descriptors first.
proc serverFiles {fs} {
    withoutSpares $fs {
        set files [openFiles [$fs pid]]
    }
    return $files
}

proc spares {fs} {
    set children [dict keys [$fs children]]
    return [lmap pid [offspring [$fs pid]] {expr {$pid in $children ? [continue] : $pid}}]
}

proc withoutSpares {fs script} {
    set wanted [$fs eval {
        set was $forkserver::server::wantedSpares
        set forkserver::server::wantedSpares 0
        return $was
    }]
    pollFor 5000 {[spares $fs] eq {}}
    try {
        uplevel 1 $script
    } finally {
        $fs eval [list forkserver::server::KeepSpares $wanted]
    }
}

proc withServer {varName script args} {
    upvar 1 $varName fs
    set fs [forkserver::start -spare 1 {*}$args]
    try {
        uplevel 1 $script
    } finally {
        # A test may have ended it.
        if {[info object isa object $fs]} {
            if {[catch {$fs stop -wait 1 -timeout 2000}]} {
                catch {$fs destroy}
            }
        }
    }
}

proc answer {fs script args} {
    set child [$fs fork {*}$args [list apply {{script} {
        set socket [forkserver::child socket]
        puts -nonewline $socket [uplevel #0 $script]
        flush $socket
    }} $script]]
    set text [read [dict get $child socket]]
    spawned $child $fs
    return $text
}

proc spawned {child {fs ""}} {
    if {$fs eq ""} {
        set fs $::fs
    }
    set status [$fs wait [dict get $child pid] -timeout 20000]
    close [dict get $child socket]
    return $status
}

proc call {fs args} {
    try {
        return [list ok [$fs {*}$args]]
    } on error {message options} {
        return [list [dict get $options -errorcode] $message]
    }
}

proc elapsed {script} {
    set began [clock milliseconds]
    uplevel 1 $script
    return [expr {[clock milliseconds] - $began}]
}

proc strays {fs} {
    withoutSpares $fs {
        set children [dict keys [$fs children]]
        set strays [lmap pid [offspring [$fs pid]] {
            expr {$pid in $children ? [continue] : $pid}
        }]
    }
    return $strays
}

proc procStatus {pid name} {
    return [lindex [regexp -inline -line "^$name:\\s*(.*)$" [procFile /proc/$pid/status]] 1]
}

proc offspring {pid} {
    return [lsort -integer [procFile /proc/$pid/task/$pid/children]]
}

proc alive {pid} {
    expr {![catch {procStatus $pid State} state] && [string index $state 0] ni {Z X}}
}

proc rawConnection {fs} {
    lassign [unix_sockets::pair] mine theirs
    $fs share $mine
    set channel [lindex [unix_sockets::recvfd $theirs] 0]
    close $mine
    close $theirs
    chan configure $channel -translation binary -blocking 1 -buffering none
    return $channel
}

proc frame {message {count 0}} {
    set payload [encoding convertto utf-8 $message]
    return [binary format IS [string length $payload] $count]$payload
}

# Empty at the end of the connection.
proc replyOn {channel} {
    set head [read $channel 6]
    if {[binary scan $head Iu length] != 1} {
        return ""
    }
    return [encoding convertfrom utf-8 [read $channel $length]]
}
