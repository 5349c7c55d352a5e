# forkserver --
#
#   A small process, started early, that forks clean children on request for
#   every process that holds a connection to it. The manual is
#   man/forkserver.man.
#
#   Kinds of process, each with a file in forkserver/:
#     caller.tcl   holds a forkserver::Connection, asks, gets exit events
#     server.tcl   namespace forkserver::server: single-threaded, forks and reaps
#     spare.tcl    forked ahead, waits to become a child
#     child.tcl    runs a script; what it got is answered by forkserver::child
#   They speak the messages of link.tcl.

package require Tcl 8.6-
package require unix_sockets
package require unix_process

namespace eval forkserver {
    namespace export {[a-z]*}
    namespace ensemble create

    # In a child: its pid, socket, handles, args, the way to its server, and the
    # Connection to it once it was asked for.
    variable childState {}

    # Bytes of the largest message.
    variable maxMessage [expr {64 << 20}]
    # A caller that has left more bytes than this unread is dropped when there
    # is one message more for it.
    variable maxUnread [expr {4 << 20}]
    # Requests of one caller that are served before it is the others' turn.
    variable maxTurn 20
    # How long an ending server waits for its starter to read the last reply.
    variable maxFarewellMs 10000
    # Characters of an error's message, code and stack, each, that travel.
    variable maxErrorText 100000
    # Characters of the longest result of "eval"; well below maxUnread.
    variable maxResult 1000000
    # Statuses that a caller keeps for "wait" of children that have ended.
    variable maxStatuses 10000
    # Tcl 9 is strict about what is no character, Tcl 8.6 takes everything.
    variable encoding utf-8
    if {[package vsatisfies [package provide Tcl] 9-]} {
        variable encoding {-profile tcl8 utf-8}
    }
}

# forkserver::start ?-preload script? ?-name title? ?-onlost cmd? ?-keep channels? ?-onready cmd?
#     ?-spare n? --
#
#   Forks a fork server from this process. Returns its object command.

proc forkserver::start {args} {
    lassign [unix_process::ParseOptions \
        "forkserver::start ?-preload script? ?-name title? ?-onlost cmd? ?-keep channels?\
            ?-onready cmd? ?-spare n?" \
        {-preload {} -name forkserver -onlost {} -keep {} -onready {} -spare 0} 0 $args] options
    CheckLists $options -onlost -keep -onready
    CheckKeep [dict get $options -keep]
    CheckSpare [dict get $options -spare]
    CheckThreads
    set life ""
    lassign [Try SOCKET {unix_sockets::pair}] mine theirs
    try {
        set life [Try PIPE {OpenLife}]
        set pid [Try FORK {unix_process::fork}]
        if {$pid == 0} {
            server::Run $mine $theirs $life $options
        }
    } on error {message failure} {
        close $mine
        return -options $failure $message
    } finally {
        close $theirs
        if {$life ne ""} {
            close $life
        }
    }
    set connection [Connection new $mine $pid 1 [dict get $options -onlost]]
    try {
        Watch $pid
        [info object namespace $connection]::my AwaitReady [dict get $options -onready]
    } on error {message failure} {
        $connection destroy
        catch {unix_process::wait $pid}
        return -options $failure $message
    }
    return $connection
}

# forkserver::attach ?-onlost cmd? channel --
#
#   Takes the connection that another process sends with "share".

proc forkserver::attach {args} {
    lassign [unix_process::ParseOptions "forkserver::attach ?-onlost cmd? channel" \
        {-onlost {}} 1 $args] options channel
    CheckLists $options -onlost
    set data ""
    set descriptors [Try READ {unix_sockets::recvfd -raw -max 1 $channel data}]
    if {[llength $descriptors] != 1 || [scan $data "forkserver %d%n" pid length] != 2} {
        CloseAll $descriptors
        throw {FORKSERVER READ} "couldn't attach: no fork server was shared on \"$channel\""
    }
    try {
        set link [unix_sockets::adopt [lindex $descriptors 0]]
    } on error {message failure} {
        CloseAll $descriptors
        return -options $failure $message
    }
    try {
        return [Connection new $link $pid 0 [dict get $options -onlost]]
    } on error {} {
        close $link ;# not even a unix socket
        throw {FORKSERVER READ} "couldn't attach: no fork server was shared on \"$channel\""
    }
}

# ---- helpers of all parts ------------------------------------------------------

# Runs a script of the caller; its system errors become errors of one kind.
proc forkserver::Try {kind script} {
    try {
        return [uplevel 1 $script]
    } trap POSIX {message failure} {
        set code [dict get $failure -errorcode]
        if {[lindex $code 1] eq "ENOMEM"} {
            set kind MEMORY
        }
        throw [list FORKSERVER $kind {*}$code] $message
    }
}

proc forkserver::CheckLists {options args} {
    foreach name $args {
        if {![string is list [dict get $options $name]]} {
            throw [list FORKSERVER VALUE [dict get $options $name]] \
                "bad value \"[dict get $options $name]\" for $name: must be a list"
        }
    }
}

proc forkserver::CheckKeep {channels} {
    foreach channel $channels {
        if {[catch {chan configure $channel -blocking}]} {
            throw [list FORKSERVER VALUE $channel] \
                "bad value \"$channel\" for -keep: not an open channel"
        }
    }
}

proc forkserver::CheckSpare {count} {
    if {![string is integer -strict $count] || $count < 0 || $count > 100} {
        throw [list FORKSERVER VALUE $count] \
            "bad value \"$count\" for -spare: must be a number from 0 to 100"
    }
}

proc forkserver::CheckOwner {owner} {
    if {$owner != [pid]} {
        throw [list FORKSERVER OWNER $owner] "this connection belongs to process $owner:\
            use \"share\" to give one to another process"
    }
}

proc forkserver::OpenLife {} {
    try {
        return [unix_process::pidfd [pid]]
    } trap {POSIX ENOSYS} {} {
        return ""
    }
}

# Without this an ended server would stay as a zombie.
proc forkserver::Watch {pid} {
    try {
        Try PIPE {unix_process::onexit $pid ::forkserver::Ignore}
    } on error {message failure} {
        unix_process::kill $pid SIGKILL
        return -options $failure $message
    }
}

proc forkserver::Ignore {args} {}

proc forkserver::CloseAll {descriptors} {
    foreach fd $descriptors {
        CloseDescriptor $fd
    }
}

# Locks that another thread holds at the fork stay locked in the server. Tcl
# 8.6's notifier thread holds none: it is ended, and starts again by itself.
proc forkserver::CheckThreads {} {
    Try PIPE QuietNotifier
    set others {}
    foreach task [Try READ {glob -nocomplain /proc/[pid]/task/*}] {
        set thread [file tail $task]
        if {$thread == [pid] || [IsNotifier $thread] || [catch {open $task/comm} file]} {
            continue
        }
        lappend others "$thread ([string trim [read $file]])"
        close $file
    }
    if {[llength $others] > 0} {
        throw [list FORKSERVER THREADS [llength $others]] "couldn't start a fork server:\
            this process has more than one thread: [join $others {, }]"
    }
}

# Calls a command prefix from the event loop; its errors are background errors.
proc forkserver::CallLater {cmd args} {
    if {$cmd ne ""} {
        after 0 [list uplevel #0 [list {*}$cmd {*}$args]]
    }
}

# The same for a method, if its object still exists then.
proc forkserver::CallMethod {my args} {
    if {[namespace which -command $my] ne ""} {
        $my {*}$args
    }
}

proc forkserver::RaiseLater {message failure} {
    after 0 [list ::forkserver::Raise $message $failure]
}

proc forkserver::Raise {message failure} {
    return -options [dict merge $failure {-code error -level 0}] $message
}

# What of an error's options can travel, and what of its texts: a caller with
# too much unread would be dropped.
proc forkserver::Portable {failure} {
    variable maxErrorText
    set portable [dict filter $failure key -errorcode -errorinfo]
    dict for {name text} $portable {
        if {[string length $text] > $maxErrorText} {
            # Half a code would be no list.
            dict set portable $name [expr {$name eq "-errorcode" ? "NONE" : [Shortened $text]}]
        }
    }
    return $portable
}

proc forkserver::Shortened {text} {
    variable maxErrorText
    if {[string length $text] <= $maxErrorText} {
        return $text
    }
    return "[string range $text 0 $maxErrorText-1]..."
}

foreach part {link caller server spare child} {
    source [file join [file dirname [info script]] forkserver $part.tcl]
}
unset part
