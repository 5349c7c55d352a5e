# forkserver --
#
#   A small process, started early, that forks clean children on request for
#   every process that holds a connection to it. The manual is
#   man/forkserver.man.
#
#   Three kinds of process, each with its part of this file:
#     caller   holds a forkserver::Connection, asks, gets exit events
#     server   namespace forkserver::server: single-threaded, forks and reaps
#     child    runs a script; what it got is answered by forkserver::child
#
# Messages, in frames of forkserver::Link, are Tcl lists:
#   caller to server   number verb argument ...
#       fork script arguments title    with the child's socket and the handles
#       share                          with a socket: one more connection
#       wait pid | waitall | kill pid signal | killall signal | children
#       eval script | stop wait timeout | stopserver
#       failed message options         from a child, about its script; no reply
#   server to caller
#       reply number result
#       failure number message options
#       exit pid status message options    message and options after an error
#       ready | failed message options     once, to the starter

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

# forkserver::start ?-preload script? ?-name title? ?-onlost cmd? ?-keep channels? --
#
#   Forks a fork server from this process. Returns its object command.

proc forkserver::start {args} {
    set options [ParseOptions {-preload {} -name forkserver -onlost {} -keep {}} \
        "start ?-preload script? ?-name title? ?-onlost cmd? ?-keep channels?" 0 $args]
    CheckLists $options -onlost -keep
    CheckKeep [dict get $options -keep]
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
        [info object namespace $connection]::my AwaitReady
        # Without this the ended server would stay as a zombie.
        Try PIPE {unix_process::onexit $pid ::forkserver::Ignore}
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
    lassign [ParseOptions {-onlost {}} "attach ?-onlost cmd? channel" 1 $args] options channel
    CheckLists $options -onlost
    set data ""
    set descriptors [Try READ {unix_sockets::recvfd -raw -max 1 $channel data}]
    if {[llength $descriptors] != 1 || [scan $data "forkserver %d%n" pid length] != 2} {
        CloseAll $descriptors
        throw {FORKSERVER READ} "couldn't attach: no fork server was shared on \"$channel\""
    }
    set link [unix_sockets::adopt [lindex $descriptors 0]]
    try {
        return [Connection new $link $pid 0 [dict get $options -onlost]]
    } on error {} {
        close $link ;# not even a unix socket
        throw {FORKSERVER READ} "couldn't attach: no fork server was shared on \"$channel\""
    }
}

# forkserver::child socket|handles|args|server --
#
#   In a child: its end of the socket pair, the channels and the arguments that
#   it was given, and its own connection to the fork server.

namespace eval forkserver::child {
    namespace ensemble create -command ::forkserver::child -map {
        socket  {::forkserver::ChildValue socket}
        handles {::forkserver::ChildValue handles}
        args    {::forkserver::ChildValue args}
        server  ::forkserver::ChildServer
    }
}

proc forkserver::ChildValue {name} {
    variable childState
    if {![dict exists $childState $name]} {
        throw {FORKSERVER NOCHILD} "this process is not a child of a fork server"
    }
    return [dict get $childState $name]
}

proc forkserver::ChildServer {} {
    variable childState
    set door [ChildValue door]
    if {![dict exists $childState server]} {
        set channel [Knock $door]
        dict set childState server [Connection new $channel [dict get $childState serverPid] 0 {}]
    }
    return [dict get $childState server]
}

# In a child: a connection to its server, given to it through the door.
proc forkserver::Knock {door} {
    lassign [Try SOCKET {unix_sockets::pair}] mine theirs
    try {
        Try WRITE {unix_sockets::sendfd $door $theirs [pid]}
    } trap {FORKSERVER WRITE POSIX EPIPE} {} {
        close $mine
        throw {FORKSERVER LOST} "the fork server is gone"
    } on error {message failure} {
        close $mine
        return -options $failure $message
    } finally {
        close $theirs
    }
    return $mine
}

# ---- helpers of all parts ------------------------------------------------------

# With a count of arguments: {options argument ...}; without: the options.
proc forkserver::ParseOptions {defaults usage count words} {
    set options $defaults
    while {[llength $words] > $count && ($count == 0 || [string match -* [lindex $words 0]])} {
        set words [lassign $words name]
        if {$name eq "--"} break
        set name [tcl::prefix match -message option [dict keys $defaults] $name]
        if {[llength $words] == 0} {
            WrongArguments $usage
        }
        set words [lassign $words value]
        dict set options $name $value
    }
    if {[llength $words] != $count} {
        WrongArguments $usage
    }
    return [expr {$count == 0 ? $options : [list $options {*}$words]}]
}

proc forkserver::WrongArguments {usage} {
    throw {TCL WRONGARGS} "wrong # args: should be \"forkserver::$usage\""
}

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

proc forkserver::Ignore {args} {}

proc forkserver::CloseAll {descriptors} {
    foreach fd $descriptors {
        CloseDescriptor $fd
    }
}

# Locks that another thread holds at the fork stay locked in the server. Tcl
# 8.6's notifier thread holds none: it is ended, and starts again by itself.
proc forkserver::CheckThreads {} {
    QuietNotifier
    set others {}
    foreach task [Try READ {glob -nocomplain /proc/[pid]/task/*}] {
        if {[file tail $task] != [pid] && ![catch {open $task/comm} file]} {
            lappend others "[file tail $task] ([string trim [read $file]])"
            close $file
        }
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

# ---- messages in frames ----------------------------------------------------------

# A frame: bytes of the message, number of descriptors, the message in UTF-8.
oo::class create forkserver::Link {
    # buffer   what was read; messages before the byte `at` have been taken
    variable channel buffer at

    constructor {unixChannel} {
        set channel $unixChannel
        set buffer ""
        set at 0
        chan configure $channel -translation binary -blocking 0 -passfds 1
    }

    # Of no use to anybody: what the other end did not read so far, above all in
    # a child, whose copy of it must not be written a second time.
    destructor {
        if {[catch {::forkserver::Discard [list $channel]}]} {
            catch {close $channel}
        }
    }

    method channel {} {
        return $channel
    }

    # Waits for room only if told to.
    method send {message blocking {handles {}}} {
        set payload [encoding convertto {*}$::forkserver::encoding $message]
        if {[string length $payload] > $::forkserver::maxMessage} {
            throw {FORKSERVER WRITE} "couldn't send a message of [string length $payload] bytes:\
                the limit is $::forkserver::maxMessage"
        }
        set head [binary format IS [string length $payload] [llength $handles]]
        chan configure $channel -blocking $blocking
        try {
            if {[llength $handles] > 0} {
                unix_sockets::sendfd $channel $handles $head
                set head ""
            }
            puts -nonewline $channel $head$payload
            flush $channel
        } finally {
            chan configure $channel -blocking 0
        }
    }

    # Waits until there is something to read, for so many milliseconds (-1: for
    # ever).
    method await {ms} {
        if {[chan pending input $channel] == 0} {
            ::forkserver::WaitReadable $channel [expr {min($ms, 1000000000)}]
        }
    }

    method fill {} {
        append buffer [read $channel 262144]
    }

    # Takes the next message: false if it is not complete yet. Throws
    # {FORKSERVER READ} for bytes that are no message, and {FORKSERVER SOCKET}
    # after a message whose descriptors found no room in this process.
    method next {messageName descriptorsName} {
        upvar 1 $messageName message $descriptorsName descriptors
        if {[binary scan $buffer @${at}IuSu length count] < 2} {
            return [my Incomplete]
        }
        if {$length > $::forkserver::maxMessage} {
            throw {FORKSERVER READ} "message is too long: $length bytes"
        }
        set end [expr {$at + 6 + $length}]
        if {[string length $buffer] < $end} {
            return [my Incomplete]
        }
        set payload [string range $buffer $at+6 $end-1]
        set at $end
        set message [encoding convertfrom {*}$::forkserver::encoding $payload]
        set descriptors [my Descriptors $count]
        return 1
    }

    # Descriptors come with the first byte of their message. More of them than
    # that would only fill the table of this process.
    method Incomplete {} {
        set buffer [string range $buffer $at end]
        set at 0
        if {[chan pending input $channel] == 0 &&
            [::forkserver::Held $channel] > ([string length $buffer] > 0)} {
            throw {FORKSERVER READ} "descriptors came without a message"
        }
        return 0
    }

    method Descriptors {count} {
        if {$count == 0} {
            return {}
        }
        try {
            set descriptors [unix_sockets::recvfd -raw $channel]
        } trap {UNIX_SOCKETS TRUNCATED} {message failure} {
            throw [list FORKSERVER SOCKET {*}[dict get $failure -errorcode]] $message
        }
        if {[llength $descriptors] != $count} {
            ::forkserver::CloseAll $descriptors
            throw {FORKSERVER READ} "message came without its descriptors"
        }
        return $descriptors
    }

    method ended {} {
        eof $channel
    }

    method unread {} {
        chan pending output $channel
    }
}

# ---- the caller's part -------------------------------------------------------------

oo::class create forkserver::Connection {
    # owner      pid of the process that may use this object
    # serverPid  pid of the fork server
    # starter    1 in the process that started it
    # onlost     called once when the server has died
    # lost       why no call can work any more; empty while it can
    # number     of the last request
    # callbacks  pid -> {onexit cmd onerror cmd} of children that live
    # early      pid -> exit message that came together with the reply to fork
    # statuses   pid -> status of those that have ended and nobody asked about
    # givenUp    pid -> number of the last wait for it that reached its time limit
    variable link owner serverPid starter onlost lost number callbacks early statuses givenUp

    constructor {channel pid isStarter onlostCmd} {
        set link [::forkserver::Link new $channel]
        set owner [pid]
        set serverPid $pid
        set starter $isStarter
        set onlost $onlostCmd
        set lost ""
        set number 0
        set callbacks [dict create]
        set statuses [dict create]
        set early [dict create]
        set givenUp [dict create]
        chan event $channel readable [namespace code {my Readable}]
    }

    destructor {
        catch {$link destroy}
    }

    # fork ?-onexit cmd? ?-onerror cmd? ?-handles list? ?-args list? ?-name title? script
    method fork {args} {
        set usage "fork ?-onexit cmd? ?-onerror cmd? ?-handles list? ?-args list?\
            ?-name title? script"
        lassign [::forkserver::ParseOptions \
            {-onexit {} -onerror {} -handles {} -args {} -name {}} $usage 1 $args] options script
        ::forkserver::CheckLists $options -onexit -onerror -handles -args
        my Usable
        lassign [::forkserver::Try SOCKET {unix_sockets::pair}] mine theirs
        try {
            set pid [my Call [list $theirs {*}[dict get $options -handles]] \
                fork $script [dict get $options -args] [dict get $options -name]]
        } on error {message failure} {
            close $mine
            return -options $failure $message
        } finally {
            close $theirs
        }
        dict unset statuses $pid ;# of an older process with this number
        dict set callbacks $pid [dict filter $options key -onexit -onerror]
        if {[dict exists $early $pid]} {
            my Dispatch [dict get $early $pid]
            dict unset early $pid
        }
        return [dict create pid $pid socket $mine]
    }

    # wait pid ?-timeout ms? -> status; empty at the time limit
    method wait {pid args} {
        set timeout [my Timeout "wait pid ?-timeout ms?" $args]
        set status ""
        if {![dict exists $statuses $pid]} {
            try {
                set status [my CallFor $timeout {} wait $pid]
            } trap {FORKSERVER WAIT} {message failure} {
                # It had ended; the news came while the call waited for its reply.
                if {![dict exists $statuses $pid]} {
                    return -options $failure $message
                }
            }
        }
        if {[dict exists $statuses $pid]} {
            set status [dict get $statuses $pid]
        }
        if {$status ne ""} {
            dict unset statuses $pid
            dict unset givenUp $pid
        } else {
            dict set givenUp $pid $number
        }
        return $status
    }

    # waitall ?-timeout ms? -> 1; 0 at the time limit
    method waitall {args} {
        set timeout [my Timeout "waitall ?-timeout ms?" $args]
        return [expr {[my CallFor $timeout {} waitall] ne ""}]
    }

    method kill {pid signal} {
        my Call {} kill $pid $signal
    }

    method killall {signal} {
        my Call {} killall $signal
    }

    method children {} {
        my Call {} children
    }

    method pid {} {
        return $serverPid
    }

    method eval {script} {
        my Call {} eval $script
    }

    # share channel: gives another connection to the process at its other end
    method share {channel} {
        my Usable
        lassign [::forkserver::Try SOCKET {unix_sockets::pair}] given theirs
        try {
            my Call [list $theirs] share
            ::forkserver::Try WRITE {unix_sockets::sendfd $channel $given "forkserver $serverPid"}
        } finally {
            close $given
            close $theirs
        }
        return
    }

    # stop ?-wait bool? ?-timeout ms?
    method stop {args} {
        set options [::forkserver::ParseOptions {-wait 0 -timeout -1} \
            "stop ?-wait bool? ?-timeout ms?" 0 $args]
        my CheckStop
        if {![string is boolean -strict [dict get $options -wait]]} {
            throw [list FORKSERVER VALUE [dict get $options -wait]] \
                "bad value \"[dict get $options -wait]\" for -wait: must be a boolean"
        }
        my CheckTimeout [dict get $options -timeout]
        my Call {} stop [dict get $options -wait] [dict get $options -timeout]
        if {[dict get $options -wait]} {
            catch {unix_process::wait $serverPid}
        }
        my destroy
    }

    method stopserver {} {
        my CheckStop
        my Call {} stopserver
        catch {unix_process::wait $serverPid}
        my destroy
    }

    # ---- private -------------------------------------------------------------

    method CheckStop {} {
        my Usable
        if {!$starter} {
            throw {FORKSERVER STOP} "couldn't stop the fork server: only the process that\
                started it may"
        }
    }

    method Timeout {usage words} {
        set timeout [dict get [::forkserver::ParseOptions {-timeout -1} $usage 0 $words] -timeout]
        my CheckTimeout $timeout
        return $timeout
    }

    method CheckTimeout {ms} {
        if {![string is integer -strict $ms] || $ms < -1} {
            throw [list FORKSERVER VALUE $ms] \
                "bad value \"$ms\" for -timeout: must be a number of milliseconds"
        }
    }

    method Usable {} {
        if {$lost ne ""} {
            throw {FORKSERVER LOST} $lost
        }
        ::forkserver::CheckOwner $owner
    }

    method Call {handles verb args} {
        my CallFor -1 $handles $verb {*}$args
    }

    # Sends a request and waits for its reply; empty at the time limit.
    method CallFor {timeout handles verb args} {
        my Usable
        set deadline [expr {[clock milliseconds] + $timeout}]
        set mine [incr number]
        try {
            $link send [list $mine $verb {*}$args] 1 $handles
        } trap {POSIX EPIPE} {} {
            my ReadLast
            my Lost
        } trap POSIX {message failure} {
            throw [list FORKSERVER WRITE {*}[dict get $failure -errorcode]] $message
        }
        while {1} {
            foreach message [my Receive] {
                lassign $message kind which result failure
                if {$kind eq "reply" && $which == $mine} {
                    set answer $result
                } elseif {$kind eq "failure" && $which == $mine} {
                    set error [list $result $failure]
                } else {
                    my Dispatch $message
                }
            }
            if {[info exists answer]} {
                return $answer
            }
            if {[info exists error]} {
                lassign $error message failure
                return -code error {*}$failure $message
            }
            if {[$link ended]} {
                my Lost
            }
            set left [expr {$timeout < 0 ? -1 : $deadline - [clock milliseconds]}]
            if {$timeout >= 0 && $left <= 0} {
                return ""
            }
            $link await $left
        }
    }

    # The messages that have come.
    method Receive {} {
        set messages {}
        try {
            $link fill
            while {[$link next message descriptors]} {
                lappend messages $message
            }
        } trap {FORKSERVER} {} - trap POSIX {} {
            my Lost
        }
        return $messages
    }

    # What the server had sent before it died.
    method ReadLast {} {
        catch {
            foreach message [my Receive] {
                my Dispatch $message
            }
        }
    }

    method Lost {} {
        my NoteLost
        throw {FORKSERVER LOST} $lost
    }

    method NoteLost {} {
        if {$lost eq ""} {
            set lost "the fork server (process $serverPid) is gone"
            chan event [$link channel] readable {}
            ::forkserver::CallLater $onlost
        }
    }

    method AwaitReady {} {
        while {1} {
            foreach message [my Receive] {
                lassign $message kind text failure
                if {$kind eq "failed"} {
                    return -code error {*}$failure $text
                }
                return
            }
            if {[$link ended]} {
                my Lost
            }
            $link await -1
        }
    }

    # From the event loop: only what nobody waits for.
    method Readable {} {
        if {$owner != [pid]} {
            chan event [$link channel] readable {}
            return
        }
        try {
            foreach message [my Receive] {
                my Dispatch $message
            }
        } trap {FORKSERVER LOST} {} {
            return
        }
        if {[$link ended]} {
            my NoteLost
        }
    }

    # To a call that gave up: a status is told but once, so it is kept.
    method LateReply {kind to result} {
        dict for {pid waited} $givenUp {
            if {$waited == $to && $kind eq "reply"} {
                dict set statuses $pid $result
                dict unset givenUp $pid
                return
            }
        }
    }

    method Dispatch {message} {
        lassign $message kind pid status text failure
        if {$kind ne "exit"} {
            my LateReply $kind $pid $status
            return
        }
        if {![dict exists $callbacks $pid]} {
            dict set early $pid $message
            return
        }
        set ended [dict get $callbacks $pid]
        dict unset callbacks $pid
        dict set statuses $pid $status
        if {[dict size $statuses] > $::forkserver::maxStatuses} {
            dict unset statuses [lindex [dict keys $statuses] 0]
        }
        if {$failure ne "" && [dict get $ended -onerror] ne ""} {
            ::forkserver::CallLater [dict get $ended -onerror] $pid $text $failure
        } elseif {$failure ne ""} {
            ::forkserver::RaiseLater $text $failure
        }
        ::forkserver::CallLater [dict get $ended -onexit] $pid $status
    }
}

# ---- the server's part ---------------------------------------------------------------

namespace eval forkserver::server {
    # callers: link -> {starter 0|1 child pid}: the process at its other end
    variable callers [dict create]
    # The ends of a socket pair: what a child sends into the second comes out of
    # the first as a new caller. A connection for each child from its birth would
    # be one more thing that each sibling has to close, and few children use it.
    variable door
    variable childDoor
    # children: pid -> {link L name N started MS waiters {link number ...} error {}}
    variable children [dict create]
    # link -> number of the request, of those who wait for all children.
    variable waitingForAll [dict create]
    # Once stopping: {link number} to answer at the end, or empty, and the timer
    # of the time limit.
    variable stopping 0
    variable stopReply {}
    variable killTimer ""
    variable ending 0
    variable serverPid
    # A channel that becomes readable when the starter dies, or empty.
    variable life
}

# Never returns, whatever happens: there must be no second copy of the program.
proc forkserver::server::Run {startersEnd channel startersLife options} {
    variable serverPid [pid]
    variable life $startersLife
    set code [catch {
        close $startersEnd
        set starter [AddCaller $channel 1 0]
        Prepare $channel $options
        uplevel #0 [dict get $options -preload]
    } message failure]
    if {$code != 1} {
        set code [catch {::forkserver::CheckThreads} message failure]
    }
    if {$code == 1} {
        catch {
            $starter send [list failed [::forkserver::Shortened $message] \
                [::forkserver::Portable $failure]] 1
        }
        unix_process::exit 1
    }
    Compile
    Send $starter ready
    vwait [namespace current]::forever
}

proc forkserver::server::Prepare {channel options} {
    variable life
    foreach id [after info] {
        after cancel $id
    }
    set kept [list $channel {*}$life {*}[dict get $options -keep]]
    foreach standard {stdin stdout stderr} {
        if {![catch {chan configure $standard}]} {
            lappend kept $standard
        }
    }
    ::forkserver::Try SOCKET {
        ::forkserver::Abandon $kept
        OpenDoor
    }
    # A terminal's signals reach the whole group: the starter decides.
    ::forkserver::ResetSignals {SIGINT SIGTERM SIGHUP SIGQUIT}
    SetTitle [dict get $options -name]
    if {$life ne ""} {
        chan event $life readable ::forkserver::server::StarterDied
    }
}

# It stays only to keep the time limit of a stop.
proc forkserver::server::StarterDied {} {
    variable life
    variable killTimer
    if {$killTimer eq ""} {
        Leave
    }
    close $life
    set life ""
}

# A forked process gets its copy of a page when it first writes to it, by a fault
# that takes longer than most commands: the fewer pages a child touches, the
# sooner it is there. Compiling touches many.
proc forkserver::server::Compile {} {
    foreach name {
        ::forkserver::server::RunChild ::forkserver::server::LeaveServer
        ::forkserver::server::SetTitle ::forkserver::server::TakeOver ::forkserver::ChildValue
        ::unix_process::BecomeChild ::unix_process::NoteInherited ::unix_process::SeedRandom
        ::unix_process::exit
    } {
        catch {tcl::unsupported::disassemble proc $name}
    }
}

proc forkserver::server::SetTitle {title} {
    if {$title ne ""} {
        catch {unix_process::title $title}
    }
}

proc forkserver::server::OpenDoor {} {
    variable door
    variable childDoor
    lassign [unix_sockets::pair -type seqpacket] door childDoor
    chan configure $door -blocking 0
    chan event $door readable ::forkserver::server::LetIn
}

# Makes callers of the children that ask for it.
proc forkserver::server::LetIn {} {
    variable door
    while {![catch {unix_sockets::recvfd -raw -max 1 $door data} descriptors]} {
        if {[llength $descriptors] == 0} {
            return
        }
        catch {AddCaller [unix_sockets::adopt [lindex $descriptors 0]] 0 $data}
    }
    # No free descriptor: they wait.
    chan event $door readable {}
    after 50 [list chan event $door readable ::forkserver::server::LetIn]
}

proc forkserver::server::AddCaller {channel isStarter childPid} {
    variable callers
    try {
        set link [::forkserver::Link new $channel]
    } on error {} {
        close $channel
        throw {FORKSERVER READ} "couldn't add a caller: its channel is no unix-domain socket"
    }
    dict set callers $link [dict create starter $isStarter child $childPid]
    chan event $channel readable [list ::forkserver::server::Serve $link]
    return $link
}

proc forkserver::server::DropCaller {link} {
    variable callers
    if {![dict exists $callers $link]} {
        return
    }
    dict unset callers $link
    $link destroy
    EndIfUnused
}

# Nobody can reach a server without callers and children: it ends.
proc forkserver::server::EndIfUnused {} {
    variable callers
    variable children
    variable stopping
    if {[dict size $callers] == 0 && [dict size $children] == 0 && !$stopping} {
        unix_process::exit 0
    }
}

# Throws only for a message that is too long.
proc forkserver::server::Send {link message} {
    variable callers
    if {![dict exists $callers $link]} {
        return
    }
    if {[$link unread] > $::forkserver::maxUnread} {
        DropCaller $link
        return
    }
    try {
        $link send $message 0
    } trap {FORKSERVER WRITE} {text failure} {
        return -options $failure $text
    } on error {} {
        DropCaller $link
    }
}

# Serves a caller for one turn.
proc forkserver::server::Serve {link} {
    if {[ServeSome $link $::forkserver::maxTurn]} {
        set again [list ::forkserver::server::Serve $link]
        after cancel $again
        after 0 $again
    }
}

# Whether there may be more requests than were served. Reads once, and only when
# it has nothing left: who asks faster than it can be answered has to wait.
proc forkserver::server::ServeSome {link most} {
    variable callers
    set filled 0
    set served 0
    while {[dict exists $callers $link]} {
        if {$served == $most} {
            return 1
        }
        if {[ServeNext $link]} {
            incr served
        } elseif {$filled} {
            break
        } elseif {[catch {$link fill}]} {
            DropCaller $link
        } else {
            set filled 1
        }
    }
    if {[dict exists $callers $link] && [$link ended]} {
        DropCaller $link
    }
    return 0
}

# Whether there was a request.
proc forkserver::server::ServeNext {link} {
    set message ""
    try {
        if {![$link next message descriptors]} {
            return 0
        }
    } trap {FORKSERVER SOCKET} {text failure} {
        Send $link [list failure [FirstWord $message] $text [::forkserver::Portable $failure]]
        return 1
    } on error {} {
        DropCaller $link
        return 0
    }
    if {[catch {Obey $link $message $descriptors} reason]} {
        catch {puts stderr "fork server: $reason"}
    }
    return 1
}

proc forkserver::server::FirstWord {message} {
    if {[catch {lindex $message 0} word]} {
        return ""
    }
    return $word
}

# Each verb is a procedure of the namespace verb. It gets the link, the number
# of the request, the descriptors (which it must close) and the words.
proc forkserver::server::Obey {link message descriptors} {
    if {[catch {lassign $message number verb}] || ![string is integer -strict $number]} {
        ::forkserver::CloseAll $descriptors
        DropCaller $link
        return
    }
    try {
        set handler [namespace which -command verb::$verb]
        if {$handler eq "" || ![string is lower -strict $verb]} {
            throw {FORKSERVER VERB} "unknown request \"$verb\""
        }
        $handler $link $number $descriptors {*}[lrange $message 2 end]
    } on error {text failure} {
        Send $link [list failure $number [::forkserver::Shortened $text] \
            [::forkserver::Portable $failure]]
    } finally {
        ::forkserver::CloseAll $descriptors
    }
}

proc forkserver::server::Reply {link number result} {
    Send $link [list reply $number $result]
}

namespace eval forkserver::server::verb {
    namespace path {::forkserver::server ::forkserver}
}

proc forkserver::server::verb::fork {link number descriptors script arguments title} {
    variable ::forkserver::server::stopping
    variable ::forkserver::server::children
    if {$stopping} {
        throw {FORKSERVER STOP} "couldn't fork: the fork server is stopping"
    }
    if {[llength $descriptors] == 0} {
        throw {FORKSERVER READ} "couldn't fork: the request came without a socket"
    }
    FlushAll
    set pid [Try FORK {unix_process::fork}]
    if {$pid == 0} {
        RunChild $descriptors $script $arguments $title
    }
    WatchChild $pid
    dict set children $pid [dict create link $link name $title started [clock milliseconds] \
        waiters {} error {}]
    Reply $link $number $pid
}

proc forkserver::server::verb::share {link number descriptors} {
    if {[llength $descriptors] != 1} {
        throw {FORKSERVER READ} "couldn't share: the request came without a socket"
    }
    # Obey closes the number that came with the request.
    AddCaller [unix_sockets::adopt [Duplicate [lindex $descriptors 0]]] 0 0
    Reply $link $number ""
}

proc forkserver::server::verb::wait {link number descriptors pid} {
    variable ::forkserver::server::children
    CheckChild $pid WAIT "wait for"
    # One for each caller: it gave up what it asked before.
    dict set children $pid waiters $link $number
}

proc forkserver::server::verb::waitall {link number descriptors} {
    variable ::forkserver::server::waitingForAll
    dict set waitingForAll $link $number
    AnswerIfNoChild
}

proc forkserver::server::verb::kill {link number descriptors pid signal} {
    CheckChild $pid KILL "signal"
    Try KILL {unix_process::kill $pid $signal}
    Reply $link $number ""
}

proc forkserver::server::verb::killall {link number descriptors signal} {
    KillAll $signal
    Reply $link $number ""
}

proc forkserver::server::verb::children {link number descriptors} {
    variable ::forkserver::server::children
    set now [clock milliseconds]
    set answer [dict create]
    dict for {pid child} $children {
        dict set answer $pid [dict create pid $pid name [dict get $child name] \
            age [expr {$now - [dict get $child started]}]]
    }
    Reply $link $number $answer
}

proc forkserver::server::verb::eval {link number descriptors script} {
    # A script may also end by "return".
    if {[catch {uplevel #0 $script} result failure] == 1} {
        return -options $failure $result
    }
    if {[string length $result] > $::forkserver::maxResult} {
        throw {FORKSERVER WRITE} "couldn't answer: the result has\
            [string length $result] characters, more than $::forkserver::maxResult"
    }
    Reply $link $number $result
}

proc forkserver::server::verb::stop {link number descriptors wait timeout} {
    variable ::forkserver::server::stopping
    variable ::forkserver::server::stopReply
    variable ::forkserver::server::killTimer
    CheckStarter $link
    KillAll SIGTERM
    KillAll SIGCONT ;# a stopped child sees the first one only then
    set stopping 1
    if {$wait} {
        set stopReply [list $link $number]
    } else {
        Reply $link $number ""
    }
    if {$timeout >= 0} {
        set killTimer [after $timeout [list forkserver::server::KillAll SIGKILL]]
    }
    AnswerIfNoChild
}

proc forkserver::server::verb::stopserver {link number descriptors} {
    CheckStarter $link
    Reply $link $number ""
    End
}

# From a child, about its script.
proc forkserver::server::verb::failed {link number descriptors message failure} {
    variable ::forkserver::server::callers
    variable ::forkserver::server::children
    set pid [dict get $callers $link child]
    if {[dict exists $children $pid]} {
        dict set children $pid error [list $message $failure]
    }
}

proc forkserver::server::CheckStarter {link} {
    variable callers
    if {![dict get $callers $link starter]} {
        throw {FORKSERVER STOP} "couldn't stop the fork server: only the process that\
            started it may"
    }
}

proc forkserver::server::CheckChild {pid kind verb} {
    variable children
    if {![dict exists $children $pid]} {
        throw [list FORKSERVER $kind $pid] \
            "couldn't $verb \"$pid\": not a running child of this fork server"
    }
}

proc forkserver::server::KillAll {signal} {
    variable children
    set failures {}
    foreach pid [dict keys $children] {
        try {
            ::forkserver::Try KILL {unix_process::kill $pid $signal}
        } on error {message failure} {
            lappend failures $failure $message
        }
    }
    if {$failures ne {}} {
        return -options {*}[lrange $failures 0 1]
    }
}

# ---- the server and its children

# A child whose end nobody would see must not live on unnoticed.
proc forkserver::server::WatchChild {pid} {
    try {
        ::forkserver::Try PIPE {unix_process::onexit $pid ::forkserver::server::ChildEnded}
    } on error {message failure} {
        unix_process::kill $pid SIGKILL
        unix_process::wait $pid
        return -options $failure $message
    }
}

proc forkserver::server::ChildEnded {pid status} {
    variable callers
    variable children
    # What it said last may still be unread.
    LetIn
    dict for {link caller} $callers {
        if {[dict get $caller child] == $pid} {
            ServeSome $link -1
        }
    }
    set child [dict get $children $pid]
    dict unset children $pid
    Send [dict get $child link] [list exit $pid $status {*}[dict get $child error]]
    dict for {link number} [dict get $child waiters] {
        Reply $link $number $status
    }
    AnswerIfNoChild
    EndIfUnused
}

# For a child, which cannot wait for itself, the others are all.
proc forkserver::server::AnswerIfNoChild {} {
    variable callers
    variable children
    variable waitingForAll
    variable stopping
    variable stopReply
    if {[dict size $children] > 1} {
        return
    }
    dict for {link number} $waitingForAll {
        if {![dict exists $callers $link]} {
            dict unset waitingForAll $link
        } elseif {[dict keys $children] in [list {} [dict get $callers $link child]]} {
            dict unset waitingForAll $link
            Reply $link $number 1
        }
    }
    if {$stopping && [dict size $children] == 0} {
        if {$stopReply ne ""} {
            Reply {*}$stopReply ""
        }
        End
    }
}

# Ends the server once its starter has read what it was sent, or is gone.
proc forkserver::server::End {} {
    variable stopping 1
    variable ending
    if {$ending} {
        return
    }
    set ending 1
    set deadline [expr {[clock milliseconds] + $::forkserver::maxFarewellMs}]
    while {[StarterReads] && [clock milliseconds] < $deadline} {
        after 5 [list set [namespace current]::tick 1]
        vwait [namespace current]::tick
    }
    Leave
}

# Exit flushes the channels that are left, and would wait for every caller.
proc forkserver::server::Leave {} {
    variable callers
    foreach link [dict keys $callers] {
        $link destroy
    }
    unix_process::exit 0
}

proc forkserver::server::StarterReads {} {
    variable callers
    dict for {link caller} $callers {
        if {[dict get $caller starter]} {
            return [expr {[$link unread] > 0}]
        }
    }
    return 0
}

# What the preloaded code has buffered must not be written by every child.
proc forkserver::server::FlushAll {} {
    variable callers
    set own [lmap link [dict keys $callers] {$link channel}]
    foreach channel [chan names] {
        if {![catch {chan pending output $channel} pending] && $pending > 0 && $channel ni $own} {
            catch {flush $channel}
        }
    }
}

# ---- the child's part ------------------------------------------------------------------

# Never returns, whatever happens: there must be no second server.
proc forkserver::server::RunChild {descriptors script arguments title} {
    catch {
        LeaveServer
        SetTitle $title
        TakeOver $descriptors $arguments
        uplevel #0 $script
    } message failure
    set code [dict get $failure -code] ;# that of "return -code", too
    if {$code == 1} {
        catch {puts stderr [dict get $failure -errorinfo]}
        TellFailure $message $failure
    }
    unix_process::exit [expr {$code == 1}]
}

proc forkserver::server::LeaveServer {} {
    variable callers
    variable door
    variable life
    close $door
    # What a caller has not read yet is the server's to write. Not the objects
    # around the channels: to delete those touches many pages.
    ::forkserver::Discard [list {*}$life {*}[lmap link [dict keys $callers] {$link channel}]]
    set callers {}
    ::forkserver::ResetSignals {}
}

proc forkserver::server::TakeOver {descriptors arguments} {
    variable serverPid
    variable childDoor
    set channels [lmap fd $descriptors {unix_sockets::adopt $fd}]
    set ::argv $arguments
    set ::argc [llength $arguments]
    set ::forkserver::childState [dict create pid [pid] door $childDoor serverPid $serverPid \
        socket [lindex $channels 0] handles [lrange $channels 1 end] args $arguments]
}

# The server reads it before it tells of the exit.
proc forkserver::server::TellFailure {message failure} {
    variable childDoor
    catch {
        set link [::forkserver::Link new [::forkserver::Knock $childDoor]]
        $link send [list 0 failed [::forkserver::Shortened $message] \
            [::forkserver::Portable $failure]] 1
    }
}
