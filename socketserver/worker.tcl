# socketserver/worker.tcl --
#
#   The worker: takes connections from the queue, calls the handler, and ends when
#   it is told to, when it has served enough, or when its parent has ended.
#
# Messages, in frames of forkserver::Link:
#   worker to parent
#       ready                    it can serve
#       failed message           it cannot, and ends
#       retiring reason          it takes no more connections, and ends by itself
#       claimed N | released N   it serves a connection, or has ended that (-maxpersource)
#       refused reason           it has closed a connection without serving it
#       cut N                    it ends at once, and so many connections with it
#       redeliver                with a connection: for another worker
#       log level message
#   parent to worker
#       retire                   end when nothing is served any more
#       quit                     end now
#       reopen file              standard output and error are another file now

namespace eval socketserver::worker {
    # What Main was told, see socketserver::pool's method Config, and the options by
    # their names; its pid. Empty elsewhere.
    variable setting
    array set setting {}
    variable link ""
    # booting; ready; last: it takes no more, and ends after what it serves;
    # stopping: the same, because it was told to
    variable state booting
    # Whether it waits for connections: not while one more would go beyond
    # -concurrency, or once taking is over.
    variable watching 0
    # It takes none for a moment: others have their turn, or it lacks a descriptor.
    variable resting 0
    # The last attempt to take one failed.
    variable troubled 0
    # Connections that a worker may have more than another one before it waits.
    variable mostAhead 4
    # How long connections are taken and served before other events get their turn.
    variable turnMs 20
    # Connections that are open: number -> {channel claim}
    variable open [dict create]
    # Handler calls that are running.
    variable calls 0
    variable taken 0
    # After so many no more are taken; 0: no limit.
    variable limit 0
    variable started 0
    variable onStopCmd ""
    # The parent has ended;
    variable orphan 0
    # and the queue is to be emptied first.
    variable draining 0

    namespace ensemble create -command ::socketserver::worker -map {
        id        ::socketserver::worker::Id
        stats     ::socketserver::worker::Stats
        busy      ::socketserver::worker::Busy
        ready     ::socketserver::worker::IsReady
        stopping  ::socketserver::worker::IsStopping
        onstop    ::socketserver::worker::OnStop
        log       ::socketserver::worker::Log
        hangup    ::socketserver::worker::HangUp
        redeliver ::socketserver::worker::Redeliver
    }
}

# ---- for the application ---------------------------------------------------------

# The worker's number, from 1.
proc socketserver::worker::Id {} {
    variable setting
    CheckWorker
    return $setting(number)
}

proc socketserver::worker::Stats {} {
    variable setting
    variable taken
    variable open
    variable state
    variable started
    CheckWorker
    return [dict create id $setting(number) pid [pid] generation $setting(generation) \
        state $state taken $taken active [dict size $open] \
        served [expr {$taken - [dict size $open]}] \
        uptime [expr {[::socketserver::Now] - $started}]]
}

# How many connections it is serving.
proc socketserver::worker::Busy {} {
    variable open
    CheckWorker
    return [dict size $open]
}

proc socketserver::worker::IsReady {} {
    variable state
    CheckWorker
    return [expr {$state in {ready last}}]
}

# Whether it takes no more connections: a handler that keeps its connection for
# many requests should end it after this one.
proc socketserver::worker::IsStopping {} {
    variable state
    CheckWorker
    return [expr {$state eq "stopping"}]
}

# onstop ?cmd?: called once when the worker is told to end.
proc socketserver::worker::OnStop {args} {
    variable onStopCmd
    CheckWorker
    if {[llength $args] > 1} {
        unix_process::WrongArguments "socketserver::worker onstop ?cmd?"
    }
    if {[llength $args] == 1} {
        set onStopCmd [lindex $args 0]
    }
    return $onStopCmd
}

# log level message: to the pool's log.
proc socketserver::worker::Log {level message} {
    CheckWorker
    Tell log [::socketserver::options::Check -loglevel $level] $message
    return
}

# Ends a connection without waiting for its client: what it has not read is lost.
# The handler sees an end of file, or an error, and closes the channel.
proc socketserver::worker::HangUp {channel} {
    CheckWorker
    ::socketserver::Hangup $channel
}

# Gives a connection, of which nothing has been read, to another worker.
proc socketserver::worker::Redeliver {channel} {
    variable setting
    variable link
    CheckWorker
    if {$setting(-proxyprotocol) ne "off"} {
        throw {SOCKETSERVER REDELIVER} "couldn't redeliver \"$channel\": the header of the\
            PROXY protocol has been read from it"
    }
    $link send redeliver 1 [list $channel]
    close $channel
}

proc socketserver::worker::CheckWorker {} {
    variable setting
    if {![info exists setting(pid)] || $setting(pid) != [pid]} {
        throw {SOCKETSERVER NOWORKER} "this process is not a worker of a pool"
    }
}

# ---- from birth to death ---------------------------------------------------------

# The script of the fork server's child. An error before it is ready ends it.
proc socketserver::worker::Main {} {
    variable setting
    array set setting [forkserver::child args]
    array set setting $setting(options)
    set setting(pid) [pid]
    lassign $::socketserver::appArguments ::argv0 ::argv ::argc
    variable link [forkserver::Link new [forkserver::child socket]]
    variable started [::socketserver::Now]
    chan event [$link channel] readable ::socketserver::worker::Listen
    if {[interp bgerror {}] in {::tcl::Bgerror tcl::Bgerror}} {
        interp bgerror {} ::socketserver::worker::BackgroundError
    }
    foreach {signal cmd} {
        SIGINT ::socketserver::worker::Ignore SIGTERM ::socketserver::worker::Terminated
    } {
        unix_process::onsignal $signal $cmd
    }
    try {
        Begin
    } on error {message failure} {
        Tell failed $message
        Tell log error "worker $setting(number) couldn't start: [dict get $failure -errorinfo]"
        unix_process::exit 1
    }
    vwait forever
}

proc socketserver::worker::Begin {} {
    variable setting
    variable state
    variable limit $setting(-maxrequests)
    if {$limit > 0} {
        incr limit [expr {int(rand() * ($setting(-jitter) + 1))}]
    }
    if {$setting(-mode) eq "perconnection"} {
        set limit 1
    }
    if {$setting(-workerinit) ne ""} {
        uplevel #0 [list {*}$setting(-workerinit) $setting(number)]
    }
    if {$state eq "stopping"} {
        return ;# told to while it got ready
    }
    set state ready
    Beat
    if {$setting(-idletimeout) > 0} {
        EndSilentOnes
    }
    Tell ready
    ::socketserver::WakeOne $setting(receiver)
    Watch
}

proc socketserver::worker::Ignore {args} {}

# Somebody's kill PID.
proc socketserver::worker::Terminated {signal} {
    Retire terminated
}

proc socketserver::worker::Tell {args} {
    variable link
    catch {$link send $args 0}
}

# Tells the parent that the event loop turns.
proc socketserver::worker::Beat {} {
    variable setting
    ::socketserver::BoardBeat $setting(board) $setting(number)
    if {$setting(-timeout) > 0} {
        after [expr {min(1000, max(10, $setting(-timeout) / 4))}] ::socketserver::worker::Beat
    }
}

# From the parent.
proc socketserver::worker::Listen {} {
    variable link
    try {
        $link fill
        while {[$link next message descriptors]} {
            forkserver::CloseAll $descriptors
            Obey {*}$message
        }
        set ended [$link ended]
    } on error {} {
        set ended 1
    }
    if {$ended} {
        chan event [$link channel] readable {}
        ParentEnded
    }
}

proc socketserver::worker::Obey {verb args} {
    variable setting
    variable open
    switch -- $verb {
        retire {
            Retire ""
        }
        quit {
            Tell cut [dict size $open]
            Leave
        }
        reopen {
            if {[catch {unix_process::Redirect [lindex $args 0]} message]} {
                Tell log error "worker $setting(number): $message"
            }
        }
    }
}

proc socketserver::worker::ParentEnded {} {
    variable setting
    variable orphan 1
    variable draining
    if {$setting(-onparentexit) eq "drain"} {
        set draining 1
        Watch
    } else {
        Retire ""
    }
}

# Takes nothing more. The parent hears of a reason of the worker's own.
proc socketserver::worker::Retire {reason} {
    variable setting
    variable state
    variable orphan
    variable onStopCmd
    # The parent would end it.
    if {$orphan && $setting(-gracetimeout) > 0} {
        after $setting(-gracetimeout) ::socketserver::worker::Leave
    }
    if {$state ne "stopping"} {
        set state stopping
        if {$reason ne ""} {
            Tell retiring $reason
        }
        Watch
        if {$onStopCmd ne "" && [catch {uplevel #0 $onStopCmd} message failure]} {
            Tell log error "onstop: [dict get $failure -errorinfo]"
        }
    }
    LeaveIfDone
}

proc socketserver::worker::LeaveIfDone {} {
    variable state
    variable open
    variable calls
    if {$state in {last stopping} && [dict size $open] == 0 && $calls == 0} {
        Leave
    }
}

proc socketserver::worker::Leave {} {
    variable setting
    set code 0
    if {$setting(-workerexit) ne ""} {
        if {[catch {uplevel #0 [list {*}$setting(-workerexit) $setting(number)]} message failure]} {
            Tell log error "-workerexit: [dict get $failure -errorinfo]"
            set code 1
        }
    }
    unix_process::exit $code
}

proc socketserver::worker::BackgroundError {message failure} {
    variable setting
    Tell log error "worker $setting(number) (pid [pid]): [dict get $failure -errorinfo]"
}

# ---- taking ----------------------------------------------------------------------

# Wakes only for connections that it may take.
proc socketserver::worker::Watch {} {
    variable setting
    variable state
    variable watching
    variable resting
    variable open
    set wanted [expr {$state eq "ready" && !$resting &&
        [dict size $open] < $setting(-concurrency)}]
    if {$wanted != $watching} {
        set watching $wanted
        chan event $setting(receiver) readable \
            [expr {$wanted ? "::socketserver::worker::Take" : ""}]
    }
}

# A worker that serves one after the other takes the next at once; others leave
# it to whoever wakes first.
proc socketserver::worker::Take {} {
    variable setting
    variable state
    variable open
    variable turnMs
    set until [expr {[::socketserver::Now] + $turnMs}]
    while {$state eq "ready" && [dict size $open] < $setting(-concurrency) && [TakeOne]} {
        if {$setting(-concurrency) > 1} {
            GiveWay
            break
        }
        if {[::socketserver::Now] >= $until} {
            # What the parent has said goes first.
            Rest 1
            after 0 [list ::socketserver::worker::Rest 0]
            break
        }
    }
    Watch
}

# Connections that stay are to be spread over the workers: who has taken one goes to
# the end of the row, and who has many more than another lets that one wake up.
proc socketserver::worker::GiveWay {} {
    variable setting
    variable mostAhead
    ::socketserver::WakeOne $setting(receiver)
    if {[::socketserver::BoardLead $setting(board) $setting(number)] > $mostAhead} {
        Rest 1
        after 1 ::socketserver::worker::Rest 0
    }
}

proc socketserver::worker::TakeOne {} {
    variable setting
    variable draining
    variable troubled
    try {
        set connection [::socketserver::TakeServed $setting(board) $setting(number) \
            $setting(receiver) ::socketserver::worker::Closed]
    } trap {UNIX_SOCKETS CLOSED} {} {
        Retire "" ;# the parent has ended, and with it the queue
        return 0
    } on error {message failure} {
        # No descriptor to take it with: it stays queued.
        if {!$troubled} {
            ::socketserver::Report $message $failure
        }
        set troubled 1
        Rest 1
        after $::socketserver::retryMs ::socketserver::worker::Rest 0
        return 0
    }
    if {[llength $connection] == 0} {
        if {$draining} {
            Retire ""
        }
        return 0
    }
    set troubled 0
    Began {*}$connection
    return 1
}

proc socketserver::worker::Rest {isResting} {
    variable resting $isResting
    Watch
}

proc socketserver::worker::Began {channel address port number claim} {
    variable setting
    variable open
    variable taken
    variable limit
    dict set open $number [list $channel $claim]
    incr taken
    if {$claim > 0} {
        Tell claimed $claim
    }
    if {$limit > 0 && $taken == $limit} {
        NoteLast
    }
    if {$setting(-idletimeout) > 0} {
        ::socketserver::LimitSilence $channel $setting(-idletimeout)
    }
    if {$setting(-proxyprotocol) eq "off"} {
        Serve $channel $address $port $number
    } else {
        ::socketserver::proxy::Read $channel $setting(-proxyprotocol) $setting(-proxytimeout) \
            [list ::socketserver::worker::Introduced $channel $address $port $number]
    }
}

proc socketserver::worker::NoteLast {} {
    variable setting
    variable state
    if {$setting(-mode) ne "perconnection"} {
        Retire recycled
    } elseif {$state eq "ready"} {
        set state last
        Tell retiring done
    }
}

# The PROXY protocol's header has come, or not.
proc socketserver::worker::Introduced {channel address port number outcome args} {
    if {$outcome eq "ok"} {
        lassign $args clientAddress clientPort
        if {$clientAddress ne ""} {
            lassign $args address port
        }
        Serve $channel $address $port $number
        return
    }
    Tell refused proxy
    Tell log info "connection from $address refused: [lindex $args 0]"
    if {[unix_sockets::Tracked $number]} {
        close $channel
    }
}

proc socketserver::worker::Serve {channel address port number} {
    variable setting
    variable calls
    variable watching
    variable open
    # A handler may wait with events, and must not wake then for a connection that it
    # cannot take. Most do not: for those, this timer costs less than the event.
    set timer ""
    if {$watching && [dict size $open] >= $setting(-concurrency)} {
        set timer [after 0 ::socketserver::worker::Watch]
    }
    incr calls
    ::socketserver::CallHandler $setting(-handler) [list $channel $address $port] $number
    incr calls -1
    after cancel $timer
    # The event comes a moment later; who serves one after the other need not wait.
    if {![unix_sockets::Tracked $number]} {
        Closed $number
    }
}

proc socketserver::worker::Closed {number} {
    variable open
    if {![dict exists $open $number]} {
        return
    }
    set claim [lindex [dict get $open $number] 1]
    dict unset open $number
    if {$claim > 0} {
        Tell released $claim
    }
    Watch
    LeaveIfDone
}

# For handlers that wait with events; those that block have a limit in the socket.
proc socketserver::worker::EndSilentOnes {} {
    variable setting
    variable open
    set limit $setting(-idletimeout)
    dict for {number entry} $open {
        # A closed one, of which the rest is being sent, has no name any more.
        catch {
            if {[::socketserver::SilentMs [lindex $entry 0]] >= $limit} {
                ::socketserver::Hangup [lindex $entry 0]
            }
        }
    }
    after [expr {min(1000, max(20, $limit / 4))}] ::socketserver::worker::EndSilentOnes
}
