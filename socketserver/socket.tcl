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
        #   listener   its channel; empty in a worker, and once closed
        #   sender receiver   the ends of the queue
        #   life       channel that turns readable when the owner ends
        #   keeper     what the owner holds open for that; empty with a pidfd,
        #              "closed" in a worker
        #   maxqueue   connections that may wait; 0 for what the kernel allows
        #   accepted   connections accepted so far
        #   paused     why accepting rests: full, descriptors, memory, inflight
        #              or error; empty while it does not
        #   resumeId   timer that ends the pause
        #   closing    to be closed once its last connection is in the queue
        #   watcher    pid of the worker that watches the owner's life
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

    # Connections accepted in one go, before other events get their turn.
    variable batch 64
    # Milliseconds between attempts while the system has nothing to give, and
    # between looks at things that cause no event.
    variable retryMs 100
    variable lookMs 10

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
        OpenQueue $port $listener [dict get $options -maxqueue]
    } on error {message failure} {
        close $listener
        return -options $failure $message
    }
    if {$port ni $ports} {
        lappend ports $port
    }
    Listen $port
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
    if {$state(owner) != [pid]} {
        EnterWorker $port
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
    dict create port $port accepted $state(accepted) \
        queued [unix_sockets::depth $state(sender)] \
        paused [expr {$state(paused) ne ""}] reason $state(paused)
}

# socketserver::socket close ?-port port? --
#
#   Stops listening. What is queued is still served.

proc socketserver::Close {args} {
    lassign [unix_process::ParseOptions "socketserver::socket close ?-port port?" \
        {-port {}} 0 $args] options
    set port [FindPort [dict get $options -port]]
    namespace upvar server $port state
    if {$state(listener) eq ""} {
        return
    }
    set state(closing) 1
    chan event $state(listener) readable {}
    if {$state(paused) eq ""} {
        Accept $port
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
proc socketserver::OpenQueue {port listener maxqueue} {
    namespace upvar server $port state
    if {[info exists state(listener)] && $state(listener) ne "" && $state(owner) == [pid]} {
        throw [list SOCKETSERVER OPEN $port] "port \"$port\" is already open on another address"
    }
    if {![info exists state(sender)] || $state(owner) != [pid]} {
        set size [expr {$maxqueue > 0 ? [list -size $maxqueue] : ""}]
        lassign [unix_sockets::queue {*}$size] sender receiver
        try {
            lassign [OpenLife] life keeper
        } on error {message failure} {
            close $sender
            close $receiver
            return -options $failure $message
        }
        array set state [list sender $sender receiver $receiver life $life keeper $keeper \
            owner [pid] accepted 0 handlers {} troubled 0]
    }
    array set state [list listener $listener maxqueue $maxqueue paused {} resumeId {} closing 0]
}

# Returns {life keeper}. Where there is no pidfd, the end of a pipe tells.
proc socketserver::OpenLife {} {
    try {
        return [list [unix_process::pidfd [pid]] {}]
    } trap {POSIX ENOSYS} {} {
        return [chan pipe]
    }
}

proc socketserver::Listen {port} {
    namespace upvar server $port state
    chan event $state(listener) readable [list ::socketserver::Accept $port]
}

# Never throws: Tcl would take the event away, and the port would be deaf.
proc socketserver::Accept {port} {
    namespace upvar server $port state
    if {$state(owner) != [pid]} {
        BecomeWorker ;# forked by somebody else's fork
        return
    }
    try {
        set reason [HandOff $port]
    } on error {message failure} {
        set reason error
        if {$state(paused) ne "error"} {
            Report $message $failure
        }
    }
    if {$reason ni {max empty}} {
        Pause $port $reason
    } elseif {$state(closing)} {
        CloseListener $port
        ReleaseWhenEmpty $port
    } else {
        set state(paused) ""
    }
}

# Returns why it stopped. A port that closes accepts nothing new, but one
# connection that was accepted before may still look for its place.
proc socketserver::HandOff {port} {
    variable batch
    namespace upvar server $port state
    set room [expr {$state(closing) ? 0 : $batch}]
    if {$state(maxqueue) > 0 && !$state(closing)} {
        set room [expr {min($batch, $state(maxqueue) - [unix_sockets::depth $state(sender)])}]
        if {$room <= 0} {
            return full
        }
    }
    incr state(accepted) [unix_sockets::handoff -max $room $state(listener) $state(sender) reason]
    return $reason
}

# Accepting rests until the queue has room, which is an event, or until the
# system may have what it lacked, which is none. Clients wait in the backlog.
proc socketserver::Pause {port reason} {
    variable retryMs
    variable lookMs
    namespace upvar server $port state
    set wasFull [expr {$state(paused) eq "full"}]
    set state(paused) $reason
    chan event $state(listener) readable {}
    if {$reason eq "full" && !$wasFull} {
        chan event $state(sender) writable [list ::socketserver::Resume $port]
    } elseif {$reason eq "full"} {
        # The kernel counts differently: it has room, -maxqueue has not.
        set state(resumeId) [after $lookMs [list ::socketserver::Resume $port]]
    } else {
        set state(resumeId) [after $retryMs [list ::socketserver::Resume $port]]
    }
}

proc socketserver::Resume {port} {
    namespace upvar server $port state
    chan event $state(sender) writable {}
    set state(resumeId) ""
    if {!$state(closing)} {
        Listen $port
    }
    Accept $port
}

proc socketserver::CloseListener {port} {
    namespace upvar server $port state
    if {$state(listener) eq ""} {
        return
    }
    after cancel $state(resumeId)
    catch {chan event $state(sender) writable {}}
    close $state(listener)
    array set state {listener {} paused {} resumeId {} closing 0}
}

# The parent lets go of a closed port once its queue is empty.
proc socketserver::ReleaseWhenEmpty {port} {
    variable ports
    variable retryMs
    namespace upvar server $port state
    if {![info exists state(listener)] || $state(listener) ne "" || $state(owner) != [pid]} {
        return
    }
    if {[unix_sockets::depth $state(sender)] > 0} {
        after $retryMs [list ::socketserver::ReleaseWhenEmpty $port]
        return
    }
    foreach channel [list $state(sender) $state(receiver) $state(life) $state(keeper)] {
        catch {close $channel}
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
            CloseListener $port
            set state(handlers) {}
            chan event $state(receiver) readable {}
            if {$state(keeper) ni {{} closed}} {
                close $state(keeper)
                set state(keeper) closed
            }
        }
    }
}

# Before a worker asks for a connection.
proc socketserver::EnterWorker {port} {
    namespace upvar server $port state
    BecomeWorker
    if {![info exists state(watcher)] || $state(watcher) != [pid]} {
        set state(watcher) [pid]
        WatchParent $port
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
    chan event $state(receiver) readable [expr {$wanted ? [list ::socketserver::Take $port] : ""}]
}

proc socketserver::Take {port} {
    variable retryMs
    namespace upvar server $port state
    try {
        set connection [unix_sockets::take $state(receiver)]
    } on error {message failure} {
        # No descriptor to take it with (it stays queued), or a broken record.
        if {!$state(troubled)} {
            Report $message $failure
        }
        set state(troubled) 1
        chan event $state(receiver) readable {}
        after $retryMs [list ::socketserver::Watch $port]
        return
    }
    if {[llength $connection] == 0} {
        return ;# another worker was faster
    }
    set state(troubled) 0
    set state(handlers) [lassign $state(handlers) handlerCmd]
    Watch $port
    Serve $port $handlerCmd $connection
}

# A failed handler loses its connection, not its worker.
proc socketserver::Serve {port handlerCmd connection} {
    variable serving
    lassign $connection channel
    set number [unix_sockets::Track $channel]
    set words [expr {[TakesOnlyChannel $handlerCmd] ? [list $channel] : $connection}]
    lappend serving 0
    set code [catch {uplevel #0 [list {*}$handlerCmd {*}$words]} message failure]
    # Empty in a child that was forked by the handler.
    set armedAgain [expr {[lindex $serving end] eq "1"}]
    set serving [lrange $serving 0 end-1]
    if {$code in {0 2}} {
        return
    }
    if {$code != 1} {
        set message "handler \"[lindex $handlerCmd 0]\" ended with code $code"
    }
    Report $message $failure
    if {[unix_sockets::Tracked $number]} {
        catch {close $channel}
    }
    if {!$armedAgain} {
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

# To the background error handler, from the event loop.
proc socketserver::Report {message failure} {
    after 0 [list ::socketserver::Rethrow $message $failure]
}

proc socketserver::Rethrow {message failure} {
    return -options [dict merge $failure {-code error -level 0}] $message
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
