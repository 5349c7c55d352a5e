# socketserver/pool/crew.tcl --
#
#   How many workers there should be: forked and retired accordingly.

oo::define socketserver::pool {
    # ---- workers: how many ---------------------------------------------------

    method Elastic {} {
        return [expr {![my PerConnection] && [dict get $options -maxworkers] > 0}]
    }

    method Bounded {count} {
        if {![my Elastic]} {
            return $count
        }
        return [expr {max([dict get $options -minworkers],
            min($count, [dict get $options -maxworkers]))}]
    }

    method Wanted {} {
        if {[my PerConnection]} {
            return [dict get $options -maxchildren]
        }
        return [expr {[info exists wanted] ? $wanted : [dict get $options -workers]}]
    }

    # Forks or ends workers until there are as many as there should be.
    method Adjust {} {
        if {$generation eq "" || [$generation state] ne "ready" || ![my NeedsWorkers]} {
            return
        }
        set missing [my Missing]
        if {$missing < 0} {
            my RetireSome [expr {-$missing}]
        } elseif {$missing > 0} {
            my SpawnSome $missing
        }
    }

    method NeedsWorkers {} {
        return [expr {$state in {starting running paused} ||
            $state in {draining stopping} && [my HasWork]}]
    }

    # Connections that no worker has taken.
    method HasWork {} {
        return [expr {!$hasty && ([llength [$acceptor listeners]] > 0 && $state eq "stopping" ||
            [my Queued] > 0 || [llength $waiting] > 0)}]
    }

    # More are needed, or (negative) there are too many.
    method Missing {} {
        if {![my PerConnection]} {
            return [expr {$wanted - [llength [my Current booting ready]]}]
        }
        set free [expr {[$table count booting] + [my Idle]}]
        set needed [expr {max($::socketserver::spares, [my Queued]) - $free}]
        return [expr {max(0, min($needed, [dict get $options -maxchildren] - [$table count]))}]
    }

    # Workers in these states, but those of a reload that is under way.
    method Current {args} {
        set pending [my Pending]
        return [lmap number [$table numbers {*}$args] {
            if {[$table get $number generation] eq $pending} continue
            set number
        }]
    }

    # The generation that a reload is making.
    method Pending {} {
        return [expr {[my Reloading] ? [dict get $next generation] : ""}]
    }

    method Reloading {} {
        return [expr {[dict size $next] > 0 && [dict get $next reload]}]
    }

    # Workers that serve nobody.
    method Idle {} {
        set idle 0
        foreach number [$table numbers ready] {
            lassign [::socketserver::BoardSlot $board $number] taken done
            if {$taken == $done} {
                incr idle
            }
        }
        return $idle
    }

    # After a failure one by one, and not before the delay is over.
    method SpawnSome {count} {
        set wait [$backoff wait [::socketserver::Now]]
        if {$wait > 0} {
            my After adjust $wait {my Adjust}
            return
        }
        if {[$backoff failures] > 0} {
            if {[$table count booting] > 0} {
                return
            }
            set count 1
        }
        for {set i 0} {$i < $count} {incr i} {
            if {![my Spawn $generation]} break
        }
    }

    # Whether it could be asked for.
    method Spawn {from} {
        set now [::socketserver::Now]
        set limit [dict get $options -boottimeout]
        set number [$table add $from $now [expr {$limit > 0 ? $now + $limit : 0}] \
            [$from option -timeout]]
        try {
            $from spawn "[dict get $options -name]: worker $number" [my Config $number $from] \
                [list ::socketserver::CallIfAlive [self namespace] WorkerExited $number] \
                [list ::socketserver::CallIfAlive [self namespace] Spawned $number]
        } on error {message failed} {
            $table remove $number
            my ForkFailed $from $message $failed
            return 0
        }
        return 1
    }

    # What a worker is told at its birth: the handler is that of its generation.
    method Config {number from} {
        set told {}
        foreach name {
            -mode -handler -workerinit -workerexit -concurrency -maxrequests -jitter -timeout
            -idletimeout -totaltimeout -gracetimeout -onparentexit -proxyprotocol
            -proxytimeout
        } {
            dict set told $name [$from option $name]
        }
        return [dict create number $number generation [$from number] board $board \
            receiver $receiver options $told]
    }

    method Spawned {number born {message {}} {failed {}}} {
        if {![$table exists $number]} {
            if {$born ne ""} {
                close [dict get $born socket]
            }
            return
        }
        set from [$table get $number generation]
        if {$born ne "" && ![$from mayHave [dict get $born pid]]} {
            set message "process [dict get $born pid] is none of the fork server's"
            set failed {-errorcode NONE}
            close [dict get $born socket]
            set born ""
        }
        if {$born eq ""} {
            $table remove $number
            my ForkFailed $from $message $failed
            if {[my IsUp]} {
                my CleanGenerations
            }
            return
        }
        set link [::forkserver::Link new [dict get $born socket]]
        $table set $number pid [dict get $born pid] link $link
        chan event [$link channel] readable [namespace code [list my Hear $number]]
        dict incr counters spawned
        my Log info "worker $number (pid [dict get $born pid]) started"
        my Hook -onspawn $number [dict get $born pid]
        if {[$table get $number killed]} {
            my Kill $number [$table get $number reason]
        } elseif {[$table get $number state] eq "retiring"} {
            my TellWorker $number retire
        }
    }

    # ---- events --------------------------------------------------------------

    # A worker did what the parent asked to hear of.
    method Woken {} {
        read $wake
        $acceptor changed
    }

    method Received {} {
        $acceptor received
    }

    method Accepted {} {
        if {[my PerConnection]} {
            my Adjust
        } elseif {[my Elastic]} {
            my ScaleUp
        }
    }

    # Connections wait and nobody is free: as many workers more as they need.
    method ScaleUp {} {
        set waitingCount [my Queued]
        if {$waitingCount == 0 || [$table count booting] + [my Idle] > 0} {
            return
        }
        set calmSince 0
        set more [expr {($waitingCount + [dict get $options -concurrency] - 1) /
            [dict get $options -concurrency]}]
        set target [my Bounded [expr {$wanted + $more}]]
        if {$target > $wanted} {
            my Log info "scaling up from $wanted to $target workers: $waitingCount wait"
            set wanted $target
            my Adjust
        }
    }

    # One worker fewer for each -scaledown in which one was always free.
    method ScaleDown {now} {
        if {[my Idle] == 0 || $wanted <= [dict get $options -minworkers]} {
            set calmSince 0
        } elseif {$calmSince == 0} {
            set calmSince $now
        } elseif {$now - $calmSince >= [dict get $options -scaledown]} {
            set calmSince $now
            incr wanted -1
            my Log info "scaling down to $wanted workers"
            my Adjust
        }
    }

    # Looks after what causes no event.
    method Tick {} {
        set now [::socketserver::Now]
        # A process that was stopped for a while has not heard yet what its workers
        # did in time: it looks at them once more before it kills.
        set wasLate $isLate
        set isLate [expr {$now - $tickDue > 200}]
        set tickDue [expr {$now + [my TickMs]}]
        my After tick [my TickMs] {my Tick}
        if {!$isLate || $wasLate} {
            my KillOverdue $now
        }
        my CheckMemory
        my NoteSteadiness $now
        $acceptor sweep $now
        my Settle
        if {[my Elastic] && $state eq "running"} {
            my ScaleUp
            my ScaleDown $now
        }
        if {[my PerConnection]} {
            my Adjust
        }
    }

    # A failure of long ago is not one in a row with the next. While somebody is
    # missing it is not long ago.
    method NoteSteadiness {now} {
        if {[$backoff failures] > 0 && [$table count ready] > 0 &&
            [$table count booting] == 0 && [my Missing] <= 0 &&
            $generation ne "" && [$generation state] eq "ready"} {
            foreach number [$table numbers ready] {
                if {$now - [$table get $number readyAt] <= $::socketserver::steadyMs} {
                    return
                }
            }
            $backoff succeeded
        }
    }

    method TickMs {} {
        set ms 1000
        foreach name {-timeout -boottimeout -gracetimeout -scaledown} {
            set limit [dict get $options $name]
            if {$limit > 0} {
                set ms [expr {min($ms, $limit / 4)}]
            }
        }
        return [expr {max(20, $ms)}]
    }

    method KillOverdue {now} {
        foreach number [$table numbers] {
            if {[$table get $number endedAt] > 0} {
                my HurryEnd $number [expr {$now - [$table get $number endedAt]}]
            }
        }
        foreach number [$table overdue $now] {
            if {[$table get $number pid] == 0} {
                my KillForkServer $number "did not fork worker $number"
                continue
            }
            my Kill $number [expr {
                [$table get $number state] eq "booting" ? "boottimeout" : "gracetimeout"}]
        }
        foreach number [$table numbers ready retiring] {
            set limit [$table get $number timeout]
            if {$limit > 0 && ![$table get $number killed] &&
                [lindex [::socketserver::BoardSlot $board $number] 3] > $limit} {
                my Kill $number timeout
            }
        }
    }

    # Its link has ended: in a moment the worker has, too, and its fork server tells.
    method HurryEnd {number ms} {
        set limit [dict get $options -boottimeout]
        if {$limit == 0 || $ms < $limit} {
            return
        }
        if {[$table get $number killed]} {
            my KillForkServer $number "did not tell of the end of worker $number"
        } else {
            my Kill $number closed
            $table set $number endedAt [::socketserver::Now]
        }
    }

    # It hangs; its end is told to ForkServerLost.
    method KillForkServer {number what} {
        my Log error "the fork server $what in time (-boottimeout): killed"
        [$table get $number generation] kill
    }

    method CheckMemory {} {
        set limit [dict get $options -maxrss]
        if {$limit == 0} {
            return
        }
        foreach number [$table numbers ready] {
            if {[my MemoryOf [$table get $number pid]] > $limit} {
                my Retire $number memory
                my Adjust
            }
        }
    }
}
