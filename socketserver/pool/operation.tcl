# socketserver/pool/operation.tcl --
#
#   What an operator does with a running pool, up to its stop.

oo::define socketserver::pool {
    # ---- operation -----------------------------------------------------------

    # scale N | +N | -N
    method scale {count} {
        my CheckUp scale
        set target $count
        if {[regexp {^[+-]\d+$} $count]} {
            set target [expr {max(0, [my Wanted] + $count)}]
        }
        set name [expr {[my PerConnection] ? "-maxchildren" : "-workers"}]
        set target [::socketserver::options::Check $name $target]
        if {[my PerConnection]} {
            my configure -maxchildren $target
            return $target
        }
        if {[my Bounded $target] != $target} {
            throw [list SOCKETSERVER VALUE $count] "couldn't scale to $target: must be from\
                [dict get $options -minworkers] to [dict get $options -maxworkers]"
        }
        set wanted $target
        my Log notice "scaling to $target workers"
        my Adjust
        return $target
    }

    method pause {} {
        my CheckUp pause
        if {$state eq "running"} {
            set state paused
            $acceptor hold user
            my Log notice "paused"
        }
        return
    }

    # After pause or drain.
    method resume {} {
        my CheckUp resume
        if {$state in {paused draining drained}} {
            my Cancel drain
            my Cancel drained
            set state running
            $acceptor release
            my Adjust
            my Log notice "resumed"
        }
        return
    }

    # Tells balancers, then accepts no more; the workers end once they are done.
    method drain {} {
        my CheckUp drain
        if {$state ni {draining drained}} {
            if {[my Reloading]} {
                my ReloadFailed "the pool is draining" {-errorcode {SOCKETSERVER STATE draining}}
            }
            set state draining
            my Log notice "draining"
            my After drain [dict get $options -draindelay] {my DrainNow}
        }
        return
    }

    method DrainNow {} {
        $acceptor hold drain
        my DrainedIfDone
    }

    method DrainedIfDone {} {
        if {$state ne "draining" || [dict exists $timers drain]} {
            return
        }
        if {[my HasWork]} {
            my Adjust
            my After drained 50 {my DrainedIfDone}
            return
        }
        if {[$table count] > 0} {
            my RetireAll drained
            return
        }
        set state drained
        my Log notice "drained"
    }

    # Makes a file the standard output and error of fork servers and workers, after
    # a log was renamed. The workers that a fork server was making meanwhile are known
    # a moment later.
    method reopen {file} {
        my CheckUp reopen
        set file [file normalize $file]
        foreach each $generations {
            $each reopen $file
        }
        after 0 [namespace code [list my ReopenInWorkers $file]]
        return
    }

    method ReopenInWorkers {file} {
        if {$table ne ""} {
            foreach number [$table numbers] {
                my TellWorker $number reopen $file
            }
        }
    }

    # ---- stopping ------------------------------------------------------------

    # stop ?-graceful bool? ?-wait bool?
    method stop {args} {
        lassign [unix_process::ParseOptions "stop ?-graceful bool? ?-wait bool?" \
            {-graceful 1 -wait 1} 0 $args] asked
        foreach name {-graceful -wait} {
            ::socketserver::options::CheckAs $name bool [dict get $asked $name]
        }
        my CheckOwner
        if {![my IsUp]} {
            return
        }
        if {$state ne "stopping" || ![dict get $asked -graceful]} {
            my BeginStop [dict get $asked -graceful]
        }
        if {[dict get $asked -wait]} {
            my AwaitWhile stopping
        }
        return
    }

    method BeginStop {graceful} {
        set state stopping
        if {[my Reloading]} {
            my ReloadFailed "the pool is stopping" {-errorcode {SOCKETSERVER STATE stopping}}
        }
        if {[llength $successor] > 0} {
            my UpgradeFailed "the pool is stopping"
        }
        my Log notice [expr {$graceful ? "stopping" : "stopping at once"}]
        my Announce STOPPING 1
        set limit [expr {$graceful ? [dict get $options -gracetimeout] : $::socketserver::quitMs}]
        if {$limit > 0} {
            my After stop $limit {my StopNow}
        }
        if {$graceful} {
            $acceptor finish [namespace code {my FinishQueue}]
            return
        }
        set hasty 1
        $acceptor hold stop
        foreach number [$table numbers] {
            $table set $number state retiring reason stop deadline 0
            my TellWorker $number quit
        }
        my StoppedIfDone
    }

    # The listeners are closed: what waits is served, then the workers go.
    method FinishQueue {} {
        if {[my HasWork]} {
            my Adjust
            my After finish 20 {my FinishQueue}
            return
        }
        my RetireAll stop
        my StoppedIfDone
    }

    method StopNow {} {
        foreach number [$table numbers] {
            my Kill $number [expr {$hasty ? "stop" : "gracetimeout"}]
        }
        set hasty 1
        my After stop $::socketserver::quitMs {my Stopped}
        my StoppedIfDone
    }

    method StoppedIfDone {} {
        if {[$table count] == 0 && ![my HasWork]} {
            my Stopped
        }
    }

    method Stopped {} {
        if {$state eq "stopping"} {
            my End
            set state stopped
            my Log notice "stopped"
            my Hook -onstop
        }
    }

    method TellPredecessor {message} {
        if {$predecessor ne ""} {
            $predecessor failed $message
        }
    }

    # The pool cannot go on.
    method Fail {message failed} {
        my Log critical $message
        my TellPredecessor $message
        set failure [list $message $failed]
        my End
        set state failed
        my Hook -onstop
    }

    # Lets go of everything, at once.
    method End {} {
        foreach name [dict keys [dict remove $timers destroy]] {
            my Cancel $name
        }
        if {[dict get $options -notify]} {
            ::socketserver::systemd::StopWatchdog
        }
        if {$table ne ""} {
            foreach number [$table numbers] {
                my Kill $number stop
                my ForgetWorker $number
            }
        }
        set all $generations
        set asked [my RenewalCommands]
        if {[dict size $next] > 0 && [dict get $next generation] ni $all} {
            lappend all [dict get $next generation]
        }
        ::forkserver::CloseAll $waiting
        set lastTraffic [my Traffic]
        foreach object [list {*}$all {*}[dict values $servers] $acceptor $table $backoff \
            $predecessor {*}[lindex $successor 0]] {
            if {$object ne ""} {
                $object destroy
            }
        }
        foreach channel [list $sender $receiver $wake] {
            if {$channel ne ""} {
                close $channel
            }
        }
        if {$board ne ""} {
            ::socketserver::BoardClose $board
            set ::socketserver::boards [lsearch -all -inline -not -exact \
                $::socketserver::boards $board]
        }
        set servers [dict create]
        set predecessor ""
        set successor {}
        set generations {}
        set generation ""
        set next {}
        set waiting {}
        foreach name {acceptor sender receiver board wake table backoff} {
            set $name ""
        }
        set renewalCode {SOCKETSERVER STATE stopped}
        my Answer $asked 0 "the pool has stopped"
    }

    # Of those who wait for a reload or an upgrade.
    method RenewalCommands {} {
        if {[my Reloading]} {
            return [dict get $next commands]
        }
        return [lindex $successor 1]
    }
}
