# socketserver/pool.tcl --
#
#   The class socketserver::pool: opens the listeners and the queue, keeps the
#   wanted number of workers, and ends, replaces and renews them. What it decides
#   from is in table.tcl and backoff.tcl; what it commands, in acceptor.tcl and
#   generation.tcl. It never waits for another process but where a method is told to.

namespace eval socketserver {
    # Slots of the scoreboard: two times the most workers, for a reload, and one.
    variable maxSlots 8193
    # Workers of -mode perconnection that are forked ahead.
    variable spares 2
    # A worker that lives for so many milliseconds has not failed.
    variable steadyMs 1000
    # How long a worker that was told to quit has for it.
    variable quitMs 2000
}

# Exits of workers are told to who asked, who may be gone by then.
proc socketserver::CallIfAlive {namespace method args} {
    if {[namespace exists $namespace]} {
        ${namespace}::my $method {*}$args
    }
}

oo::class create socketserver::pool {
    # given       options of the caller
    # options     all: defaults, the application's, the given
    # owner       process that this object works in
    # state       new starting running paused draining drained stopping stopped failed
    # failure     {message options} that ended it
    # generation  object that forks the workers; empty while there is none
    # generations those that have workers still
    # next        while a reload runs, or a fork server is replaced (reload 0):
    #             {reload B commands L generation G readied N count N}: so many of its
    #             first workers have become ready; options: those that it brings
    # renewalCode errorCode of the last reload or upgrade that failed
    # answers     number of a reload or upgrade -> {done message errorCode}, for
    #             who waits for it
    # wanted      workers that there should be
    # calmSince   since when fewer workers would have done (-maxworkers)
    # counters    generation reloads spawned redelivered; exits, refused: reason -> count
    #             cut: connections whose worker ended; lost: those that it had not
    #             even counted; doubts: ends that may have lost one, see Settle
    # shared      another program has the queue, too, or had it
    # tickDue     when Tick should run; isLate: it ran much later
    # waiting     connections that a worker gave back, while the queue is full
    # hasty       stopping at once: what waits is not served any more
    # timers      name -> id
    # calls       commands of the user's that are running
    # lastTraffic what Traffic said at the end
    # servers     option -> object, for -control, -health and -status
    # predecessor, successor   the program that this one takes over from, and the
    #             one that is to take over: {object commands}; empty without
    variable given options owner state failure acceptor sender receiver board wake table \
        backoff generation generations next wanted calmSince counters shared tickDue isLate \
        waiting hasty timers began lastError lastTraffic servers predecessor successor \
        renewalCode answers lastAnswer calls

    constructor {args} {
        set owner "" ;# there is nothing to end yet
        set given [::socketserver::options::Merge [dict create] $args]
        set options [dict merge [::socketserver::options::Defaults] $given]
        set failure {}
        set owner [pid]
        set state new
        set timers [dict create]
        set servers [dict create]
        set predecessor ""
        set successor {}
        set answers [dict create]
        set lastAnswer 0
        set calls 0
        my Reset
    }

    destructor {
        if {$owner == [pid]} {
            my End
            set state stopped ;# wakes a method that waits
        }
    }

    # A command that the pool calls may destroy it: once it has returned.
    method destroy {} {
        if {$calls > 0 && $owner == [pid]} {
            my After destroy 10 {my destroy}
        } else {
            next
        }
    }

    # ---- options -------------------------------------------------------------

    method configure {args} {
        if {[llength $args] == 0} {
            return $options
        }
        if {[llength $args] == 1} {
            return [my cget [lindex $args 0]]
        }
        my CheckOwner
        set changes [::socketserver::options::Merge [dict create] $args]
        set merged [dict merge $options $changes]
        if {[my IsUp]} {
            my CheckLive $changes
        }
        if {[my IsUp] && $state ne "starting"} {
            ::socketserver::options::CheckAll $merged
        }
        set given [dict merge $given $changes]
        if {[dict exists $changes -workers]} {
            set wanted [dict get $changes -workers]
        }
        my Adopt $merged
        return
    }

    method cget {name} {
        return [dict get $options [::socketserver::options::Find $name]]
    }

    method CheckLive {changes} {
        dict for {name value} $changes {
            if {$value ne [dict get $options $name] &&
                ![::socketserver::options::Get $name live]} {
                throw [list SOCKETSERVER FIXED $name] "couldn't change $name: the pool is\
                    $state; it can be set before start"
            }
        }
    }

    # Makes these options those that are in force.
    method Adopt {merged} {
        set workersChanged [expr {[dict get $merged -workers] != [dict get $options -workers]}]
        set options $merged
        if {![my IsUp]} {
            return
        }
        if {$workersChanged} {
            set wanted [dict get $options -workers]
        }
        set wanted [my Bounded $wanted]
        if {$generation ne ""} {
            $generation configure $options
        }
        $acceptor configure $options
        my Adjust
    }

    # ---- log, hooks, timers --------------------------------------------------

    method Log {level message} {
        if {[::socketserver::log::Wanted $level [dict get $options -loglevel]]} {
            ::socketserver::log::Write [dict get $options -log] [dict get $options -name] \
                $level $message
        }
    }

    method Hook {name args} {
        if {[dict get $options $name] ne ""} {
            my CallUser [dict get $options $name] [self] {*}$args
        }
    }

    # Tells systemd, if it is to be told.
    method Announce {args} {
        if {[dict get $options -notify]} {
            ::socketserver::systemd::Tell {*}$args
        }
    }

    # An error of the user's is no reason to stop half way.
    method CallUser {cmd args} {
        incr calls
        if {[catch {uplevel #0 [list {*}$cmd {*}$args]} message failed]} {
            ::socketserver::Report $message $failed
        }
        incr calls -1
    }

    method LimitReached {limit} {
        my Log info "overload: $limit"
        my Hook -onoverload $limit
    }

    method AcceptFailed {message failed} {
        set lastError $message
        my Log error $message
    }

    # One timer of each name.
    method After {name ms script} {
        my Cancel $name
        dict set timers $name [after $ms [namespace code [list my Due $name $script]]]
    }

    method Cancel {name} {
        if {[dict exists $timers $name]} {
            after cancel [dict get $timers $name]
            dict unset timers $name
        }
    }

    method Due {name script} {
        dict unset timers $name
        eval $script
    }

    method AwaitWhile {waitedState} {
        while {$state eq $waitedState} {
            vwait [my varname state]
        }
    }
}
