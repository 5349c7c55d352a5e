# The pool as its supervisor sees it: starts it, knows its processes, ends it. All that is
# done to them is noted in the log (see app.tcl), before it is done:
#
#   k ROLE PROCESS SIGNAL MS   a signal; PROCESS is PID:START
#   life NUMBER MS             a pool is started
#   window FROM UNTIL HOW      what this time may be the reason of, see account.tcl

namespace eval chaos {
    # listener    channel, or empty: the supervisor listens, and gives it to the pool
    # channel     what the pool and its successors say
    # main        pid of the parent; several, one after the other, with upgrades
    # mains       how many of them have become ready in this life
    # life        number of this start
    # workers     process -> 1 of the workers that were seen
    # downSince   nobody listens; empty while somebody does
    # drains      workers whose parent has died serve all that waits; a process for each
    #             connection cannot
    # shares      another program was started that shares the queue
    # riskSince   a program was killed then that may have taken over, in this life
    variable pool
    array set pool {
        listener "" channel "" main 0 mains 0 life 0 workers {} downSince 0 drains 0 shares 0
        riskSince 0
    }
    variable port 0
    variable directory ""
    variable log ""
    # Signals and orders by target and kind: what is told at the end.
    variable deeds [dict create]
}

proc chaos::Note {args} {
    variable log
    puts $log $args
}

proc chaos::Deed {name} {
    variable deeds
    dict incr deeds $name
}

# ---- starting --------------------------------------------------------------------------

# Returns when the pool is ready. isPassed: it is given its listener.
proc chaos::Start {options isPassed} {
    variable pool
    variable patienceMs
    variable here
    variable directory
    variable port
    Listen $isPassed
    incr pool(life)
    Note life $pool(life) [::socketserver::Now]
    set pool(mains) 0
    set pool(shares) 0
    set pool(drains) [expr {"drain" in $options && "perconnection" ni $options}]
    set pool(riskSince) 0
    set pool(workers) {}
    set command [list setsid prlimit --core=0 {*}[Activation] [info nameofexecutable] \
        [file join $here server.tcl] [file join $directory log] \
        -listen [expr {$isPassed ? "fd:chaos" : "127.0.0.1:$port"}] \
        -control [file join $directory control] {*}$options]
    set input [expr {$isPassed ? "@$pool(listener)" : "/dev/null"}]
    set pool(channel) [open |[list {*}$command <$input 2>>[file join $directory pool.log]] r]
    chan configure $pool(channel) -blocking 0
    chan event $pool(channel) readable ::chaos::Hear
    waitFor $patienceMs {$pool(mains) > 0}
    Listening
}

# Opens the supervisor's listener, or closes it.
proc chaos::Listen {isPassed} {
    variable pool
    variable port
    if {$isPassed && $pool(listener) eq ""} {
        set pool(listener) [unix_sockets::listener 127.0.0.1:$port]
        Listening
    } elseif {!$isPassed && $pool(listener) ne ""} {
        set pool(downSince) [::socketserver::Now]
        close $pool(listener)
        set pool(listener) ""
        Note window $pool(downSince) [::socketserver::Now] closed
    }
}

proc chaos::Listening {} {
    variable pool
    if {$pool(downSince) ne ""} {
        Note window $pool(downSince) [::socketserver::Now] down
        set pool(downSince) ""
    }
}

# As systemd gives a socket that it listens on.
proc chaos::Activation {} {
    variable pool
    if {$pool(listener) eq ""} {
        return {}
    }
    return [list sh -c {
        exec 3<&0 </dev/null
        LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=chaos exec "$@"
    } sh]
}

proc chaos::Hear {} {
    variable pool
    while {[gets $pool(channel) line] >= 0} {
        if {[lindex $line 0] eq "ready"} {
            set pool(main) [lindex $line 1]
            incr pool(mains)
            if {$pool(mains) > 1} {
                Deed "upgrades done"
            }
        }
    }
    if {[eof $pool(channel)]} {
        chan event $pool(channel) readable {}
    }
}

# ---- who is who ------------------------------------------------------------------------

# PID:START; empty when it has ended.
proc chaos::Identity {pid} {
    if {$pid eq "" || [catch {procFile /proc/$pid/stat} stat]} {
        return ""
    }
    set fields [regsub {^.*\) } $stat {}]
    return [expr {[lindex $fields 0] in {Z X} ? "" : "$pid:[lindex $fields 19]"}]
}

proc chaos::ChildrenOf {pid} {
    return [expr {[catch {procFile /proc/$pid/task/$pid/children} pids] ? {} : $pids}]
}

# A program that an upgrade of the parent has started.
proc chaos::IsSuccessor {pid parent} {
    return [expr {![catch {procFile /proc/$pid/environ} environment] &&
        "SOCKETSERVER_TAKEOVER=$parent" in [split $environment \0]}]
}

# The pids of those who play this role.
proc chaos::Cast {role} {
    variable pool
    switch -- $role {
        parent {
            return $pool(main)
        }
        successor {
            return [lmap pid [ChildrenOf $pool(main)] {
                expr {[IsSuccessor $pid $pool(main)] ? $pid : [continue]}
            }]
        }
        server {
            return [lmap pid [ChildrenOf $pool(main)] {
                expr {[IsSuccessor $pid $pool(main)] ? [continue] : $pid}
            }]
        }
        worker {
            return [Workers]
        }
    }
}

# Also those whose fork server has died.
proc chaos::Workers {} {
    variable pool
    foreach server [Cast server] {
        foreach pid [ChildrenOf $server] {
            dict set pool(workers) [Identity $pid] 1
        }
    }
    set pids {}
    foreach worker [dict keys $pool(workers)] {
        set pid [lindex [split $worker :] 0]
        if {$worker ne "" && [Identity $pid] eq $worker} {
            lappend pids $pid
        } else {
            dict unset pool(workers) $worker
        }
    }
    return $pids
}

proc chaos::Signal {role pid signal} {
    set process [Identity $pid]
    if {$process ne ""} {
        Note k $role $process $signal [::socketserver::Now]
        catch {unix_process::kill $pid $signal}
        Deed "$signal $role"
    }
}

# ---- asking ----------------------------------------------------------------------------

# Through the control socket, as socketserverctl does: the answer.
proc chaos::Ask {line} {
    variable directory
    variable patienceMs
    set channel [unix_sockets::connect [file join $directory control]]
    try {
        chan configure $channel -buffering line -blocking 0
        puts $channel $line
        set answer {}
        while {[set line [lineFrom $channel $patienceMs]] ne ""} {
            lappend answer $line
        }
    } finally {
        close $channel
    }
    if {[llength $answer] == 0} {
        error "no answer"
    }
    if {[string match "error: *" [lindex $answer 0]]} {
        error [lindex $answer 0]
    }
    return [join $answer \n]
}

# ---- ending ----------------------------------------------------------------------------

# Ends the pool in one of these ways: SIGKILL of the parent, SIGTERM, SIGINT. A program that
# was about to take over may go on, and is ended, too. Returns when nothing is left.
proc chaos::End {signal} {
    variable pool
    variable patienceMs
    variable limited [dict create]
    set from [::socketserver::Now]
    set ended 0
    while {$ended < $pool(mains)} {
        set ended $pool(mains)
        set successors [Cast successor]
        set main $pool(main)
        Signal parent $main $signal
        waitFor $patienceMs {[IsGone $main]}
        set until [::socketserver::Now]
        waitFor $patienceMs {$pool(mains) > $ended || [IsGone]}
        # The listener of the pool's own was also that of a program that was about to take
        # over, and of any process that was just being forked.
        if {[llength $successors] > 0 || $pool(listener) eq ""} {
            set until [::socketserver::Now]
        }
        NoteEnd $signal $from $until
    }
    Forget $from
}

proc chaos::Forget {since} {
    variable pool
    chan event $pool(channel) readable {}
    reap $pool(channel)
    set pool(channel) ""
    set pool(main) 0
    if {$pool(listener) eq ""} {
        set pool(downSince) $since
    }
}

# Whether the pool has ended by itself: as the program has done that was taking over from it.
proc chaos::HasEnded {} {
    variable pool
    variable patienceMs
    if {![isGone $pool(main)]} {
        return 0
    }
    set mains $pool(mains)
    waitFor $patienceMs {$pool(mains) > $mains || [IsGone]}
    if {$pool(mains) > $mains} {
        return 0
    }
    set now [::socketserver::Now]
    if {$pool(riskSince) == 0} {
        error "the parent has ended by itself"
    }
    Deed "parents that died with their successor"
    NoteEnd SIGKILL $pool(riskSince) $now
    Forget $pool(riskSince)
    return 1
}

# Whether this process has ended; or all. Limits do not last meanwhile.
proc chaos::IsGone {{pid ""}} {
    variable pool
    Unlimit
    return [expr {$pid eq "" ? [llength [livingOf $pool(channel)]] == 0 : [isGone $pid]}]
}

# What may be lost with a pool that ends. A listener that it was given stays open; who is told
# to stop serves what has come, and so do the workers of who is killed, with
# -onparentexit drain.
proc chaos::NoteEnd {signal from until} {
    variable pool
    set hows [dict create SIGKILL dead SIGINT hasty SIGTERM closed]
    if {$pool(listener) eq "" || $signal eq "SIGINT" || $signal eq "SIGKILL" && !$pool(drains)} {
        Note window $from $until [dict get $hows $signal]
    }
}

# After an error.
proc chaos::KillAll {} {
    variable pool
    if {$pool(channel) ne ""} {
        endDemo $pool(channel)
        set pool(channel) ""
    }
}
