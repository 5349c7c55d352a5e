# socketserver/socket.tcl --
#
#   The simple interface: socketserver::socket. A program opens a port, forks its
#   workers itself, and each asks for one connection after the other.
#
#   parent:  listener --handoff--> queue's sending end
#   worker:  queue's receiving end --take--> handler
#
#   The queue is shared: whoever is free takes the next connection. The parent
#   keeps both ends, so a worker that dies loses only what it was serving.

namespace eval socketserver {
    namespace eval server {
        # One namespace array per port, in the process that opened the port and
        # in all that were forked from it:
        #   owner      pid of the process that accepts
        #   acceptor   what accepts: an Acceptor; without listeners in a worker, and
        #              once closed
        #   sender receiver   the ends of the queue
        #   life       channel that turns readable when the owner ends
        #   keeper     what the owner holds open for that; empty with a pidfd,
        #              "closed" in a worker
        #   watcher    pid of the worker that watches the owner's life
        #   watched    connections in the queue cause events
        #   troubled   the last attempt to take a connection failed
        #   handlers   command prefixes that wait for a connection, in order
    }

    # Ports in the order in which they were opened.
    variable ports {}
    # Handler calls that are running, innermost last: 1 for each that has asked
    # for its next connection already, else 0.
    variable serving {}
    # What a worker calls when its parent has ended; empty: exit.
    variable parentExitCmd {}
    # The process that has made itself a worker of its parent's ports.
    variable workerPid 0
    # Worker: the parent's end has been noticed; nothing more is taken.
    variable parentEnded 0
    variable finishing 0

    # Milliseconds between attempts while the system has nothing to give.
    variable retryMs 100
    # {pid life keeper} of OpenLife.
    variable lifeline {}

    namespace ensemble create -command ::socketserver::socket -map {
        server       ::socketserver::Server
        client       ::socketserver::Client
        info         ::socketserver::Info
        close        ::socketserver::Close
        onparentexit ::socketserver::OnParentExit
    }
}

lappend unix_process::childHooks ::socketserver::BecomeWorker

# ---- public: socketserver::socket SUBCOMMAND -------------------------------

# socketserver::socket server ?-host addr? ?-backlog n? ?-maxqueue n? port --
#
#   Listens, and accepts from the event loop. Returns the port that was bound.

proc socketserver::Server {args} {
    variable ports
    lassign [unix_process::ParseOptions \
        "socketserver::socket server ?-host addr? ?-backlog n? ?-maxqueue n? port" \
        {-host {} -backlog 1024 -maxqueue 0} 1 $args] options port
    CheckNumber "port" $port 0 65535
    CheckNumber "value of -maxqueue" [dict get $options -maxqueue] 0 1000000000
    set listener [unix_sockets::listener -backlog [dict get $options -backlog] -- \
        [EndpointOf [dict get $options -host] $port]]
    try {
        set port [lindex [chan configure $listener -sockname] 2]
        OpenPort $port [dict get $options -maxqueue]
    } on error {message failure} {
        close $listener
        return -options $failure $message
    }
    if {$port ni $ports} {
        lappend ports $port
    }
    namespace upvar server $port state
    $state(acceptor) add $port $listener
    $state(acceptor) release
    return $port
}

# socketserver::socket client ?-port port? handler --
#
#   Gives the next queued connection to the handler, once.

proc socketserver::Client {args} {
    lassign [unix_process::ParseOptions "socketserver::socket client ?-port port? handler" \
        {-port {}} 1 $args] options handlerCmd
    if {[catch {llength $handlerCmd} words] || $words == 0} {
        throw [list SOCKETSERVER HANDLER $handlerCmd] \
            "bad handler \"$handlerCmd\": must be a command prefix"
    }
    set port [FindPort [dict get $options -port]]
    namespace upvar server $port state
    set process [pid]
    if {$state(owner) != $process && $state(watcher) != $process} {
        BecomeWorker
        set state(watcher) $process
        WatchParent $port
    }
    lappend state(handlers) $handlerCmd
    NoteArmed
    Watch $port
    return
}

# socketserver::socket info ?-port port? --

proc socketserver::Info {args} {
    lassign [unix_process::ParseOptions "socketserver::socket info ?-port port?" \
        {-port {}} 0 $args] options
    set port [FindPort [dict get $options -port]]
    namespace upvar server $port state
    set accepting [$state(acceptor) statistics]
    # Both limits of the queue look alike, and a port that closes does not pause.
    set reason [string map {maxqueue full stop {}} [dict get $accepting paused]]
    return [dict create port $port accepted [dict get $accepting accepted] \
        queued [$state(acceptor) depth] paused [expr {$reason ne ""}] reason $reason]
}

# socketserver::socket close ?-port port? --
#
#   Stops listening. What is queued is still served.

proc socketserver::Close {args} {
    lassign [unix_process::ParseOptions "socketserver::socket close ?-port port?" \
        {-port {}} 0 $args] options
    set port [FindPort [dict get $options -port]]
    namespace upvar server $port state
    if {[llength [$state(acceptor) listeners]] > 0} {
        $state(acceptor) stop [list ::socketserver::ReleaseWhenEmpty $port]
    }
    return
}

# socketserver::socket onparentexit ?cmd? --
#
#   What a worker does when its parent has ended, in place of exiting.

proc socketserver::OnParentExit {args} {
    variable parentExitCmd
    if {[llength $args] > 1} {
        unix_process::WrongArguments "socketserver::socket onparentexit ?cmd?"
    }
    if {[llength $args] == 1} {
        set parentExitCmd [lindex $args 0]
    }
    return $parentExitCmd
}

# ---- arguments ---------------------------------------------------------------

proc socketserver::CheckNumber {what value least most} {
    if {![string is integer -strict $value] || $value < $least || $value > $most} {
        throw [list SOCKETSERVER VALUE $value] \
            "bad $what \"$value\": must be a number from $least to $most"
    }
}

proc socketserver::EndpointOf {host port} {
    if {$host eq ""} {
        return $port
    }
    if {[string first / $host] >= 0} {
        throw [list SOCKETSERVER VALUE $host] \
            "bad value of -host \"$host\": must be an address or a host name"
    }
    # In brackets nothing else is taken for another form of endpoint.
    return [expr {[regexp {^@|:|^unix$|^fd$} $host] ? "\[$host\]:$port" : "$host:$port"}]
}

# The port that a command means: the first opened when none is named.
proc socketserver::FindPort {port} {
    variable ports
    if {$port eq "" && [llength $ports] == 0} {
        throw {SOCKETSERVER NOSERVER} "no port is open: call \"socketserver::socket server\" first"
    }
    if {$port eq ""} {
        return [lindex $ports 0]
    }
    if {$port ni $ports} {
        throw [list SOCKETSERVER NOPORT $port] \
            "no server on port \"$port\": must be [join $ports {, }]"
    }
    return $port
}

# ---- the parent: accepting -----------------------------------------------------

# A port that is opened again while connections of its earlier time still wait
# keeps its queue, and so its workers.
proc socketserver::OpenPort {port maxqueue} {
    namespace upvar server $port state
    set options [dict replace [options::Defaults] -maxqueue $maxqueue]
    if {![info exists state(owner)] || $state(owner) != [pid]} {
        array set state [OpenQueue $options]
    } elseif {[llength [$state(acceptor) listeners]] > 0} {
        throw [list SOCKETSERVER OPEN $port] "port \"$port\" is already open on another address"
    } else {
        $state(acceptor) configure $options
    }
}

proc socketserver::OpenQueue {options} {
    set size [dict get $options -maxqueue]
    lassign [unix_sockets::queue {*}[expr {$size > 0 ? [list -size $size] : ""}]] sender receiver
    try {
        lassign [OpenLife] life keeper
    } on error {message failure} {
        close $sender
        close $receiver
        return -options $failure $message
    }
    # Nobody needs to hear what goes into the queue, and that a limit is reached.
    set acceptor [Acceptor new $sender "" $options list list list ::socketserver::Report]
    return [list sender $sender receiver $receiver life $life keeper $keeper \
        acceptor $acceptor owner [pid] watcher 0 watched 0 troubled 0 handlers {}]
}

# Returns {life keeper}. Where there is no pidfd, the end of a pipe tells, which this
# process keeps as long as it lives.
proc socketserver::OpenLife {} {
    variable lifeline
    try {
        return [list [unix_process::pidfd [pid]] {}]
    } trap {POSIX ENOSYS} {} {
        if {[lindex $lifeline 0] != [pid]} {
            set lifeline [list [pid] {*}[chan pipe]]
        }
        return [lrange $lifeline 1 2]
    }
}

# The parent lets go of a closed port once its queue is empty.
proc socketserver::ReleaseWhenEmpty {port} {
    variable ports
    variable retryMs
    namespace upvar server $port state
    if {![info exists state(owner)] || $state(owner) != [pid] ||
        [llength [$state(acceptor) listeners]] > 0} {
        return
    }
    if {[$state(acceptor) depth] > 0} {
        after $retryMs [list ::socketserver::ReleaseWhenEmpty $port]
        return
    }
    $state(acceptor) destroy
    close $state(sender)
    close $state(receiver)
    if {$state(keeper) eq ""} {
        close $state(life)
    }
    unset state
    set ports [lsearch -all -inline -not -exact $ports $port]
}

# ---- the worker: serving -------------------------------------------------------

# In a forked child: nothing of the parent's accepting goes on here, and the
# port is free when the parent lets go of it.
proc socketserver::BecomeWorker {} {
    variable ports
    variable workerPid
    variable serving
    if {$workerPid == [pid]} {
        return
    }
    set workerPid [pid]
    set serving {}
    unix_process::NoteInherited
    foreach port $ports {
        namespace upvar server $port state
        if {$state(owner) != [pid]} {
            $state(acceptor) letgo
            array set state {handlers {} watched 0}
            catch {chan event $state(receiver) readable {}} ;# a fork server has closed it
            if {$state(keeper) ni {{} closed}} {
                catch {close $state(keeper)} ;# ports share it
                set state(keeper) closed
            }
        }
    }
}

# Wakes only while a handler waits.
proc socketserver::Watch {port} {
    variable finishing
    namespace upvar server $port state
    if {![info exists state(receiver)]} {
        return ;# closed meanwhile
    }
    set wanted [expr {[llength $state(handlers)] > 0 && !$finishing}]
    if {$wanted != $state(watched)} {
        set state(watched) $wanted
        chan event $state(receiver) readable \
            [expr {$wanted ? [list ::socketserver::Take $port] : ""}]
    }
}

proc socketserver::Take {port} {
    variable retryMs
    namespace upvar server $port state
    if {[llength $state(handlers)] == 0} {
        Watch $port ;# a handler runs that waits with events
        return
    }
    try {
        set connection [unix_sockets::take $state(receiver)]
    } on error {message failure} {
        # No descriptor to take it with (it stays queued), or a broken record.
        if {!$state(troubled)} {
            Report $message $failure
        }
        array set state {troubled 1 watched 0}
        chan event $state(receiver) readable {}
        after $retryMs [list ::socketserver::Watch $port]
        return
    }
    if {[llength $connection] == 0} {
        return ;# another worker was faster
    }
    set state(troubled) 0
    set state(handlers) [lassign $state(handlers) handlerCmd]
    # Most handlers ask for the next connection without having waited with events:
    # for those, taking the queue's event away and setting it again is dear.
    set timer [after 0 [list ::socketserver::Watch $port]]
    Serve $port $handlerCmd $connection
    after cancel $timer
    Watch $port
}

proc socketserver::Serve {port handlerCmd connection} {
    variable serving
    set number [unix_sockets::Track [lindex $connection 0]]
    if {[TakesOnlyChannel $handlerCmd]} {
        set connection [lrange $connection 0 0]
    }
    lappend serving 0
    set isWell [CallHandler $handlerCmd $connection $number]
    # Empty in a child that was forked by the handler.
    set armedAgain [expr {[lindex $serving end] eq "1"}]
    set serving [lrange $serving 0 end-1]
    if {!$isWell && !$armedAgain} {
        Client -port $port -- $handlerCmd
    }
}

# The handler that is running, if any, has asked for its next connection.
proc socketserver::NoteArmed {} {
    variable serving
    if {[llength $serving] > 0} {
        lset serving end 1
    }
}

# True for a procedure or lambda that takes one more argument and no other
# number: the handlers of the documents that this package follows are such.
proc socketserver::TakesOnlyChannel {handlerCmd} {
    set given [expr {[llength $handlerCmd] - 1}]
    set command [namespace eval :: [list namespace which -command [lindex $handlerCmd 0]]]
    if {$command eq "::apply"} {
        set parameters [lindex $handlerCmd 1 0]
        incr given -1
    } elseif {$command eq "" || [catch {info args [namespace origin $command]} parameters]} {
        return 0 ;# not a procedure
    }
    return [expr {[lindex $parameters end] ne "args" && [llength $parameters] - $given == 1}]
}

# ---- the worker: when the parent ends --------------------------------------------

proc socketserver::WatchParent {port} {
    namespace upvar server $port state
    chan event $state(life) readable [list ::socketserver::ParentExited $port]
    # A process that is no worker of ours (TclX's fork) may hold the pipe too.
    if {$state(keeper) eq "closed"} {
        LookForParent $port
    }
}

proc socketserver::LookForParent {port} {
    namespace upvar server $port state
    if {[catch {unix_process::kill $state(owner) 0}]} {
        ParentExited $port
    } else {
        after 1000 [list ::socketserver::LookForParent $port]
    }
}

# What is being served is finished first; nothing more is taken.
proc socketserver::ParentExited {port} {
    variable ports
    variable parentExitCmd
    variable parentEnded
    variable finishing
    namespace upvar server $port state
    chan event $state(life) readable {}
    if {$parentEnded} {
        return
    }
    set parentEnded 1
    if {$parentExitCmd ne ""} {
        after 0 $parentExitCmd
        return
    }
    set finishing 1
    foreach each $ports {
        Watch $each
    }
    ExitWhenDone
}

proc socketserver::ExitWhenDone {} {
    variable retryMs
    variable serving
    if {[unix_sockets::Tracked] == 0 && [llength $serving] == 0} {
        unix_process::exit 0
    }
    after $retryMs ::socketserver::ExitWhenDone
}
