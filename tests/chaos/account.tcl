# What became of each connection, by what its client says and what the log of the pool's
# processes says (see clients.cpp, app.tcl, server.tcl, and Note in supervisor.tcl for what
# was done to them). Nothing here looks at anything else.
#
#   chaos::account::judge FATES LOG
#       two texts, of a time at whose ends no connection was open. Returns a dict:
#       connections  how many there were
#       fates        fate -> count, see `kinds`
#       violations   list of {what detail}
#       lives        life -> {FATE N ... unsaid N by {PARENT N ...}}, of each pool that was
#                    started: fates, those of the served whose worker was killed before it
#                    said so or just after, and how many each of its programs had
#       stopped      life -> list of the stats of its pools that have stopped

namespace eval chaos::account {
    # How a connection may end, and what is said of it. All of these have a reason.
    variable kinds {
        served   "answered"
        refused  "refused by the pool"
        nobody   "refused by the system while nobody listened"
        cut      "cut with the worker that served it"
        early    "cut with the process that was just handing it on or taking it"
        hurried  "cut by a quick stop"
        orphaned "cut with the parent: in its queue or in its backlog"
    }
    # Signals that no process survives.
    variable deadly {SIGKILL SIGSEGV SIGABRT}

    # Of the log. number -> workers; number -> 1; worker -> number; worker -> when it was
    # killed; pid -> 1 of those that got any signal; worker -> its pool's process; {ms process}
    # of killings
    variable taken
    variable done
    variable lastDone
    variable killed
    variable signalled
    variable parentOf
    variable killings
    # {from until how}: closed, dead (of a parent), hasty (a stop), down (nobody listens)
    variable windows
    # {ms life} of starts; number -> life; life -> stats
    variable starts
    variable lifeOf
    variable stopped

    variable fates
    variable violations
    # {number began ended} of those that were cut, and that no worker is known to have had
    variable unclaimed
    variable lives
}

proc chaos::account::judge {fateText logText} {
    variable fates [dict create]
    variable violations {}
    variable unclaimed {}
    variable lives [dict create]
    variable stopped
    variable taken
    ReadLog $logText
    set connections 0
    foreach line [split $fateText \n] {
        if {$line ne ""} {
            incr connections
            JudgeOne {*}$line
        }
    }
    MatchUnclaimed
    foreach number [array names taken] {
        Violation "taken, but nobody has made it" "$number by $taken($number)"
    }
    return [dict create connections $connections fates $fates violations $violations \
        lives $lives stopped $stopped]
}

# The address and port that are a connection's number, see clients.cpp.
proc chaos::account::NumberOf {address port} {
    lassign [split $address .] - - b c
    return [expr {($b * 256 + $c) * 20000 + $port - 10000}]
}

proc chaos::account::ReadLog {text} {
    variable windows {}
    variable killings {}
    variable starts {}
    variable stopped [dict create]
    foreach name {taken done lastDone killed signalled parentOf lifeOf} {
        variable $name
        array unset $name
        array set $name {}
    }
    set life ""
    foreach line [split $text \n] {
        switch -- [lindex $line 0] {
            t {
                lassign $line - worker address port parent
                set parentOf($worker) $parent
                set number [NumberOf $address $port]
                lappend taken($number) $worker
                set lifeOf($number) $life
            }
            d {
                lassign $line - worker address port
                set number [NumberOf $address $port]
                set done($number) 1
                set lastDone($worker) $number
            }
            k {
                NoteSignal {*}[lrange $line 1 end]
            }
            x {
                CheckExit {*}[lrange $line 1 end]
            }
            s {
                dict lappend stopped $life [lindex $line 1]
            }
            life {
                lassign $line - life ms
                lappend starts [list $ms $life]
            }
            window {
                lappend windows [lrange $line 1 end]
            }
        }
    }
}

proc chaos::account::NoteSignal {role process signal ms} {
    variable deadly
    variable killed
    variable signalled
    variable killings
    set signalled([lindex [split $process :] 0]) 1
    if {$signal in $deadly} {
        set killed($process) $ms
        # No connection goes through a fork server.
        if {$role ne "server"} {
            lappend killings [list $ms $process]
        }
    }
}

# A worker that ends by a signal, and nobody has sent it one, has crashed; one that the
# pool had to kill hung.
proc chaos::account::CheckExit {pid reason status} {
    variable signalled
    if {$reason eq "signal" && ![info exists signalled($pid)] ||
        $reason in {timeout gracetimeout boottimeout closed}} {
        Violation "a worker ended for no reason" "$pid: $reason, $status"
    }
}

proc chaos::account::JudgeOne {number began ended fate worker} {
    variable taken
    switch -- $fate {
        served {
            JudgeServed $number $began $ended $worker
        }
        refused - nobody {
            JudgeRefused $number $began $ended $fate
        }
        cut {
            JudgeCut $number $began $ended
        }
        default {
            Violation $fate "$number from $began to $ended, taken by [Takers $number]"
        }
    }
    unset -nocomplain taken($number)
}

# A worker that is killed just when it has said that one is done has not counted it.
proc chaos::account::JudgeServed {number began ended worker} {
    variable taken
    variable done
    variable lastDone
    variable killed
    if {![info exists taken($number)] || $taken($number) ne $worker} {
        Violation "answered by another one than has taken it" \
            "$number by $worker, taken by [Takers $number]"
    } elseif {[info exists done($number)] &&
        !([info exists killed($worker)] && $lastDone($worker) eq $number)} {
        Count $number $ended served
    } elseif {[info exists killed($worker)] || [Within $began $ended hasty]} {
        Count $number $ended served unsaid
    } else {
        Violation "answered, but the worker never came to the end of it" "$number by $worker"
    }
}

proc chaos::account::JudgeRefused {number began ended fate} {
    variable taken
    if {[info exists taken($number)]} {
        Violation "refused, but taken" "$number by [Takers $number]"
    } elseif {$fate eq "nobody" && ![Within $began $ended down]} {
        Violation "refused by the system while the pool listened" "$number from $began to $ended"
    } else {
        Count $number $ended $fate
    }
}

proc chaos::account::JudgeCut {number began ended} {
    variable taken
    variable done
    variable killed
    variable unclaimed
    if {![info exists taken($number)]} {
        if {[Within $began $ended closed dead hasty]} {
            Count $number $ended orphaned
        } else {
            lappend unclaimed [list $ended $number $began]
        }
        return
    }
    if {[llength $taken($number)] > 1} {
        Violation "taken more than once" "$number by [Takers $number]"
    } elseif {[info exists done($number)]} {
        Violation "lost after it was answered" "$number by [Takers $number]"
    } elseif {[info exists killed($taken($number))] && $ended >= $killed($taken($number))} {
        Count $number $ended cut
    } elseif {[Within $began $ended hasty]} {
        Count $number $ended hurried
    } else {
        Violation "cut, but nobody has killed its worker" \
            "$number by [Takers $number] from $began to $ended"
    }
}

# A parent hands on one after the other, a worker takes one after the other, and notes it at
# once. So when one is killed, one at most is lost of which nobody has noted anything.
proc chaos::account::MatchUnclaimed {} {
    variable unclaimed
    variable killings
    set left [lsort -integer -index 0 $unclaimed]
    foreach killing [lsort -integer -index 0 $killings] {
        set ms [lindex $killing 0]
        foreach each $left {
            lassign $each ended number began
            if {$began <= $ms + 1 && $ended >= $ms} {
                Count $number $ended early
                set left [lsearch -all -inline -exact -not $left $each]
                break
            }
        }
    }
    foreach each $left {
        lassign $each ended number began
        Violation "cut without a reason" "$number from $began to $ended"
    }
}

proc chaos::account::Takers {number} {
    variable taken
    return [expr {[info exists taken($number)] ? [join $taken($number) {, }] : "nobody"}]
}

proc chaos::account::Within {began ended args} {
    variable windows
    foreach window $windows {
        lassign $window from until how
        if {$how in $args && $began <= $until && $ended >= $from} {
            return 1
        }
    }
    return 0
}

proc chaos::account::Violation {what detail} {
    variable violations
    lappend violations [list $what $detail]
}

# fate is one of `kinds`; more: what else its pool is to know of it.
proc chaos::account::Count {number ended fate {more {}}} {
    variable fates
    variable lives
    variable taken
    variable lifeOf
    variable parentOf
    dict incr fates $fate
    set life [expr {[info exists lifeOf($number)] ? $lifeOf($number) : [LifeAt $ended]}]
    dict update lives $life sums {
        foreach key [list $fate {*}$more] {
            dict incr sums $key
        }
        if {[info exists taken($number)]} {
            set parent $parentOf([lindex $taken($number) 0])
            dict set sums by $parent [expr {
                [dict exists $sums by $parent] ? [dict get $sums by $parent] + 1 : 1
            }]
        }
    }
}

# Who was started last before.
proc chaos::account::LifeAt {ms} {
    variable starts
    set found ""
    foreach start $starts {
        if {[lindex $start 0] <= $ms} {
            set found [lindex $start 1]
        }
    }
    return $found
}
