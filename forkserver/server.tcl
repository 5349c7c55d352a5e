# forkserver/server.tcl --
#
#   The process that forks and reaps. It has one thread and holds none of its
#   callers' descriptors.

namespace eval forkserver::server {
    # callers: link -> {starter 0|1 child pid mayAsk 0|1}: the process at its other end
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
    variable starterPid
    # A channel that becomes readable when the starter dies, or empty.
    variable life
    # The starter's limit for open files, for the children.
    variable openFiles
}

# Never returns, whatever happens: there must be no second copy of the program.
proc forkserver::server::Run {startersEnd channel startersLife options} {
    variable serverPid [pid]
    variable starterPid [lindex [Maker $channel] 0]
    variable life $startersLife
    set code [catch {
        close $startersEnd
        set starter [AddCaller $channel 1 0 1]
        Prepare $channel $options
        uplevel #0 [dict get $options -preload]
    } message failure]
    if {$code != 1} {
        set code [catch {::forkserver::CheckThreads} message failure]
    }
    if {$code == 1} {
        catch {
            $starter send [list failure 0 [::forkserver::Shortened $message] \
                [::forkserver::Portable $failure]] 1
        }
        unix_process::exit 1
    }
    Compile
    Reply $starter 0 ""
    KeepSpares [dict get $options -spare]
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
    RaiseLimit
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
        ::forkserver::server::RunSpare ::forkserver::server::Rehearse
        ::forkserver::server::TakeOrder
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

# Each child and each caller takes a descriptor here: as many as the system gives.
proc forkserver::server::RaiseLimit {} {
    variable openFiles
    lassign [unix_process::rlimit nofile] openFiles most
    unix_process::rlimit nofile $most
}

proc forkserver::server::OpenDoor {} {
    variable door
    variable childDoor
    lassign [unix_sockets::pair -type seqpacket] door childDoor
    chan configure $door -blocking 0
    WatchDoor
}

proc forkserver::server::WatchDoor {} {
    variable door
    chan event $door readable ::forkserver::server::LetIn
}

# Makes callers of the children that ask for it.
proc forkserver::server::LetIn {} {
    variable door
    while {![catch {unix_sockets::recvfd -raw -max 1 $door data} descriptors]} {
        if {[llength $descriptors] == 0} {
            return
        }
        if {[catch {unix_sockets::adopt [lindex $descriptors 0]} channel]} {
            ::forkserver::CloseAll $descriptors
        } else {
            lassign [Maker $channel] pid user
            catch {
                AddCaller $channel 0 [expr {$pid eq "" ? $data : $pid}] [MayAsk $pid $user]
            }
        }
    }
    # No free descriptor: they wait.
    chan event $door readable {}
    after 50 ::forkserver::server::WatchDoor
}

# The kernel knows who made a socket pair: {pid user}, each empty where it does not tell.
proc forkserver::server::Maker {channel} {
    if {[catch {chan configure $channel -peercred} peer]} {
        return [list "" ""]
    }
    return [list [expr {[dict get $peer pid] == 0 ? "" : [dict get $peer pid]}] \
        [dict get $peer uid]]
}

# A child that has given up rights, which the server has, is not to get them back here.
# Nor by a socket that it has from the starter, and not made itself.
proc forkserver::server::MayAsk {pid user} {
    variable starterPid
    lassign [unix_sockets::pair] one other
    set own [lindex [Maker $one] 1]
    close $one
    close $other
    return [expr {$user eq $own && ($pid eq "" || $pid ne $starterPid)}]
}

proc forkserver::server::AddCaller {channel isStarter childPid mayAsk} {
    variable callers
    try {
        set link [::forkserver::Link new $channel]
    } on error {} {
        close $channel
        throw {FORKSERVER READ} "couldn't add a caller: its channel is no unix-domain socket"
    }
    dict set callers $link [dict create starter $isStarter child $childPid mayAsk $mayAsk]
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
        Leave
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
# of the request, the descriptors (which are closed after it) and the words.
proc forkserver::server::Obey {link message descriptors} {
    variable callers
    if {[catch {lassign $message number verb}] || ![string is integer -strict $number]} {
        ::forkserver::CloseAll $descriptors
        DropCaller $link
        return
    }
    try {
        if {$verb ne "failed" && ![dict get $callers $link mayAsk]} {
            throw {FORKSERVER RIGHTS} "the fork server runs as another user than this process"
        }
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
    set pid [UseSpare $descriptors $script $arguments $title]
    if {$pid eq ""} {
        FlushAll
        set pid [Try FORK {unix_process::fork}]
        if {$pid == 0} {
            RunChild LeaveServer $descriptors $script $arguments $title
        }
        WatchChild $pid ChildEnded
    }
    dict set children $pid [dict create link $link name $title started [clock milliseconds] \
        waiters {} error {}]
    Reply $link $number $pid
    MakeSparesLater $::forkserver::server::spareDelayMs
}

proc forkserver::server::verb::share {link number descriptors} {
    if {[llength $descriptors] != 1} {
        throw {FORKSERVER READ} "couldn't share: the request came without a socket"
    }
    # Obey closes the number that came with the request.
    AddCaller [unix_sockets::adopt [Duplicate [lindex $descriptors 0]]] 0 0 1
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
    # Spares would not have what it changes.
    DropSpares
    MakeSparesLater $::forkserver::server::spareDelayMs
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
        set killTimer [after $timeout [list ::forkserver::server::KillAll SIGKILL]]
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
proc forkserver::server::WatchChild {pid handler} {
    try {
        ::forkserver::Try PIPE {unix_process::onexit $pid ::forkserver::server::$handler}
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
    EndSpares
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
