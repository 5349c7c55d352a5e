# forkserver/spare.tcl --
#
#   Children that are forked ahead of their request, and wait for it. A request
#   that finds one costs a message, not a fork and its page faults.
#
#   A spare is what a child would be that is forked now, or it is thrown away: when
#   a script was evaluated in the server since, or when somebody has changed the
#   server from outside. While loaded code has timers or events there is none.

namespace eval forkserver::server {
    # How many there are to be.
    variable wantedSpares 0
    # pid -> the server's end of a socket pair. An order goes through it; its end is
    # the end of the spare.
    variable spares [dict create]
    # What others could have changed in the server, when they were forked.
    variable sparesAre ""
    # A timer: spares are made when nothing else is to do.
    variable spareTimer ""
    # How long it waits, in milliseconds, and that after a spare has died: one that
    # cannot live here must not keep the machine busy.
    variable spareDelayMs 1
    variable spareRetryMs 1000
    # Bytes of the longest order. Children with more to read are forked as ever.
    variable maxOrder 30000
}

# ---- making and dropping

proc forkserver::server::KeepSpares {count} {
    variable wantedSpares $count
    MakeSparesLater 0
}

proc forkserver::server::MakeSparesLater {ms} {
    variable wantedSpares
    variable spareTimer
    if {$wantedSpares > 0} {
        after cancel $spareTimer
        set spareTimer [after $ms ::forkserver::server::MakeSpares]
    }
}

# A spare that cannot be made is no loss. The next request has it tried again.
proc forkserver::server::MakeSpares {} {
    variable wantedSpares
    variable spares
    variable sparesAre
    variable stopping
    DropStaleSpares
    catch {
        if {[dict size $spares] < $wantedSpares && !$stopping && ![OthersMayRun]} {
            set sparesAre [::forkserver::Changeable]
            while {[dict size $spares] < $wantedSpares} {
                MakeSpare
            }
            RehearseServing
        }
    }
}

proc forkserver::server::MakeSpare {} {
    variable spares
    lassign [unix_sockets::pair -type seqpacket] mine theirs
    try {
        FlushAll
        set pid [::forkserver::ForkSpare]
        if {$pid == 0} {
            RunSpare $mine $theirs
        }
        WatchChild $pid SpareEnded
        dict set spares $pid $mine
    } on error {message failure} {
        close $mine
        return -options $failure $message
    } finally {
        close $theirs
    }
}

# A fork makes pages that are written to expensive once more, see Rehearse, on this
# side as well: so the server serves a request of its own, and not the next one, first.
# The order goes to nobody, and the spare stays one.
proc forkserver::server::RehearseServing {} {
    variable callers
    variable children
    variable spares
    set real $spares
    set pid [lindex [dict keys $spares] end]
    lassign [unix_sockets::pair] near far
    lassign [unix_sockets::pair -type seqpacket] mine theirs
    set asking [::forkserver::Link new $near]
    set serving [::forkserver::Link new $far]
    dict set callers $serving {starter 0 child 0 mayAsk 1}
    try {
        set spares [dict create $pid $mine]
        $asking send {0 fork {} {} {}} 0 [list $near]
        ServeSome $serving -1
    } finally {
        set spares $real
        dict unset children $pid
        dict unset callers $serving
        unix_process::onexit $pid ::forkserver::server::SpareEnded
        $asking destroy
        $serving destroy
        close $theirs
    }
}

# Others can change a process from outside.
proc forkserver::server::DropStaleSpares {} {
    variable spares
    variable sparesAre
    if {[dict size $spares] > 0 && [::forkserver::Changeable] ne $sparesAre} {
        DropSpares
    }
}

# Whether a callback is due later that is not the server's: a timer or a channel event
# of any interpreter, a signal, an exit. Fails if an interpreter does not tell.
proc forkserver::server::OthersMayRun {} {
    set due [::forkserver::Watches]
    foreach path [list {} {*}[Interps {}]] {
        lappend due {*}[DueIn $path]
    }
    return [expr {[lsearch -not -glob $due ::forkserver::*] >= 0}]
}

proc forkserver::server::DueIn {path} {
    set scripts [lmap id [interp eval $path {after info}] {
        lindex [interp eval $path [list after info $id]] 0
    }]
    foreach channel [interp eval $path {chan names}] {
        foreach direction {readable writable} {
            # It may be open for one of them only.
            if {![catch {interp eval $path [list chan event $channel $direction]} script] &&
                $script ne ""} {
                lappend scripts $script
            }
        }
    }
    return $scripts
}

# The paths of all interpreters below this one.
proc forkserver::server::Interps {path} {
    set paths {}
    foreach name [interp slaves $path] {
        set below [list {*}$path $name]
        lappend paths $below {*}[Interps $below]
    }
    return $paths
}

proc forkserver::server::DropSpares {} {
    variable spares
    dict for {pid channel} $spares {
        DropSpare $pid $channel
    }
    set spares [dict create]
}

proc forkserver::server::DropSpare {pid channel} {
    unix_process::onexit $pid ::forkserver::Ignore
    catch {unix_process::kill $pid SIGKILL}
    close $channel
}

# Somebody else has killed it.
proc forkserver::server::SpareEnded {pid status} {
    variable spares
    variable spareRetryMs
    close [dict get $spares $pid]
    dict unset spares $pid
    MakeSparesLater $spareRetryMs
}

# Before the server ends: nobody else would wait for them.
proc forkserver::server::EndSpares {} {
    variable spares
    set pids [dict keys $spares]
    DropSpares
    foreach pid $pids {
        catch {unix_process::wait $pid}
    }
}

# ---- using

# Gives an order to a spare. Returns its pid, or empty when there is none that can
# take it.
proc forkserver::server::UseSpare {descriptors script arguments title} {
    variable spares
    variable maxOrder
    DropStaleSpares
    if {[dict size $spares] == 0} {
        return ""
    }
    set order [encoding convertto {*}$::forkserver::encoding [list $script $arguments $title]]
    if {[string length $order] > $maxOrder} {
        return ""
    }
    dict for {pid channel} $spares {
        dict unset spares $pid
        try {
            unix_sockets::sendfd $channel $descriptors $order
        } on error {} {
            DropSpare $pid $channel
            continue
        }
        unix_process::onexit $pid ::forkserver::server::ChildEnded
        close $channel
        return $pid
    }
    return ""
}

# ---- in the spare

# Never returns, as RunChild.
proc forkserver::server::RunSpare {serversEnd channel} {
    catch {
        set beginCmd list
        if {[catch {
            close $serversEnd
            LeaveServer
            unix_process::NoteInherited
            unix_process::SeedRandom {} ::tcl::mathfunc::srand
            if {[HasHooks]} {
                set beginCmd ::forkserver::CallHooks
            }
            catch {Rehearse}
        } message failure]} {
            # Told to whoever asks for a child, as if it was forked only then.
            set beginCmd [list return -level 0 -options $failure $message]
        }
        lassign [TakeOrder $channel] descriptors script arguments title
        close $channel
        if {$descriptors eq {}} {
            unix_process::Exit 0 ;# the server does not need it any more, or has died
        }
        RunChild $beginCmd $descriptors $script $arguments $title
    }
    unix_process::Exit 1
}

# Those of unix_process for children: in any interpreter that has it loaded.
proc forkserver::server::HasHooks {} {
    foreach path [list {} {*}[Interps {}]] {
        if {![catch {interp eval $path {set ::unix_process::childHooks}} hooks] && $hooks ne {}} {
            return 1
        }
    }
    return 0
}

# Empty when there will be none.
proc forkserver::server::TakeOrder {channel} {
    set descriptors [unix_sockets::recvfd -raw $channel order]
    return [list $descriptors {*}[encoding convertfrom {*}$::forkserver::encoding $order]]
}

# The first time that a forked process does something takes many times as long as the
# second: it gets its own copies of the pages that it changes, each by a fault. So a
# spare does once, for nothing, what a child begins with. It calls nothing that an
# application may have made its own, such as puts.
proc forkserver::server::Rehearse {} {
    lassign [unix_sockets::pair -type seqpacket] mine theirs
    lassign [unix_sockets::pair] near far
    try {
        unix_sockets::sendfd $mine $far [encoding convertto {*}$::forkserver::encoding [list {
            ::tcl::chan::puts [::forkserver::child socket] ready
            ::tcl::chan::flush [::forkserver::child socket]
        } {} {}]]
        lassign [TakeOrder $theirs] descriptors script arguments
        TakeOver $descriptors $arguments
        uplevel #0 $script
        close [::forkserver::child socket]
    } finally {
        set ::forkserver::childState {}
        foreach channel [list $mine $theirs $near $far] {
            close $channel
        }
    }
}
