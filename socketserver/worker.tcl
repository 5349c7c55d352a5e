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
    # Handler calls that are running, of connections whose header was awaited; the
    # others are counted where they are made, see `socketserver::Serving`.
    variable calls 0
    variable started 0
    variable onStopCmd ""
    # The parent has ended.
    variable orphan 0
    # Nothing is left to do but to tell errors.
    variable leaving 0

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
    variable state
    variable started
    CheckWorker
    lassign [::socketserver::Serving] taken open
    return [dict create id $setting(number) pid [pid] generation $setting(generation) \
        state $state taken $taken active $open served [expr {$taken - $open}] \
        uptime [expr {[::socketserver::Now] - $started}]]
}

# How many connections it is serving.
proc socketserver::worker::Busy {} {
    CheckWorker
    return [lindex [::socketserver::Serving] 1]
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
    ::socketserver::ServeQueue -concurrency $setting(-concurrency) -limit [Limit] \
        -silence $setting(-idletimeout) -life $setting(-totaltimeout) \
        -retry $::socketserver::retryMs \
        $setting(board) $setting(number) $setting(receiver) \
        [expr {$setting(-proxyprotocol) eq "off" ? $setting(-handler) :
            "::socketserver::worker::Introduce"}] ::socketserver::worker::Told
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
    ::socketserver::ServeMore 1
}

# So many connections, and then no more; 0 for no limit.
proc socketserver::worker::Limit {} {
    variable setting
    if {$setting(-mode) eq "perconnection"} {
        return 1
    }
    set limit $setting(-maxrequests)
    return [expr {$limit == 0 ? 0 : $limit + int(rand() * ($setting(-jitter) + 1))}]
}

proc socketserver::worker::Ignore {args} {}

# Somebody's kill PID.
proc socketserver::worker::Terminated {signal} {
    Retire terminated
}

# 1 if it cannot be told.
proc socketserver::worker::Tell {args} {
    variable link
    return [catch {$link send $args 0}]
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
    switch -- $verb {
        retire {
            Retire ""
        }
        quit {
            Tell cut [lindex [::socketserver::Serving] 1]
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
    if {$setting(-onparentexit) eq "drain"} {
        ::socketserver::ServeUntilEmpty
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
        ::socketserver::ServeMore 0
        if {$onStopCmd ne "" && [catch {uplevel #0 $onStopCmd} message failure]} {
            Tell log error "onstop: [dict get $failure -errorinfo]"
        }
    }
    LeaveIfDone
}

proc socketserver::worker::LeaveIfDone {} {
    variable state
    variable calls
    variable leaving
    lassign [::socketserver::Serving] - open others
    if {!$leaving && $state in {last stopping} && $open == 0 && $others == 0 && $calls == 0} {
        set leaving 1
        # The last handler's errors are on their way to the background error handler: it is
        # called by a timer and when the event loop is idle, which it may never be.
        after 0 {after idle ::socketserver::worker::Leave}
        after 1000 ::socketserver::worker::Leave
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
    set text "worker $setting(number) (pid [pid]): [dict get $failure -errorinfo]"
    if {[Tell log error $text]} {
        catch {puts stderr $text} ;# nobody else would hear of it
    }
}

# ---- serving ---------------------------------------------------------------------

# What happens at the queue, see cpp/tcl_serving.h.
proc socketserver::worker::Told {what args} {
    switch -- $what {
        claimed - released {
            Tell $what {*}$args
        }
        last {
            NoteLast
        }
        empty - closed {
            Retire "" ;# the parent has ended
        }
        idle {
            LeaveIfDone
        }
        failed {
            Failed {*}$args
        }
    }
}

proc socketserver::worker::NoteLast {} {
    variable setting
    variable state
    if {$setting(-mode) ne "perconnection"} {
        Retire recycled
    } elseif {$state eq "ready"} {
        set state last
        ::socketserver::ServeMore 0
        Tell retiring done
    }
}

# The handler has, which costs it its connection; or a connection could not be taken,
# and there is no channel.
proc socketserver::worker::Failed {message failure code channel} {
    variable setting
    ::socketserver::HandlerFailed $setting(-handler) $code $message $failure
    if {$channel ne ""} {
        catch {close $channel}
    }
}

# The connection's proxy is to say whose it is, before the handler sees it.
proc socketserver::worker::Introduce {channel address port} {
    variable setting
    ::socketserver::proxy::Read $channel $setting(-proxyprotocol) $setting(-proxytimeout) \
        [list ::socketserver::worker::Introduced $channel $address $port \
            [unix_sockets::Track $channel]]
}

# The PROXY protocol's header has come, or not.
proc socketserver::worker::Introduced {channel address port number outcome args} {
    variable setting
    variable calls
    if {$outcome eq "ok"} {
        lassign $args clientAddress clientPort
        if {$clientAddress ne ""} {
            lassign $args address port
        }
        incr calls
        ::socketserver::CallHandler $setting(-handler) [list $channel $address $port] $number
        incr calls -1
        LeaveIfDone
        return
    }
    Tell refused proxy
    Tell log info "connection from $address refused: [lindex $args 0]"
    if {[unix_sockets::Tracked $number]} {
        close $channel
    }
}

# For handlers that wait with events; those that block have a limit in the socket.
proc socketserver::worker::EndSilentOnes {} {
    variable setting
    set limit $setting(-idletimeout)
    foreach channel [::socketserver::ServedChannels] {
        # A closed one, of which the rest is being sent, has no name any more.
        catch {
            if {[::socketserver::SilentMs $channel] >= $limit} {
                ::socketserver::Hangup $channel
            }
        }
    }
    after [expr {max(20, $limit / 8)}] ::socketserver::worker::EndSilentOnes
}
