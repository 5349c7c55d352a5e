# socketserver/pool/start.tcl --
#
#   A pool starts: queue and listeners, then the application, then the workers.

oo::define socketserver::pool {
    # ---- starting ------------------------------------------------------------

    method start {} {
        my CheckStart
        # What is not given may come from the application.
        if {[dict exists $given -handler] && [dict exists $given -listen]} {
            ::socketserver::options::CheckAll $options
        }
        my Reset
        set state starting
        try {
            my Open
            my Tick
            my Load 0
            my AwaitWhile starting
        } on error {message failed} {
            my TellPredecessor $message
            my End
            set state failed
            return -options $failed $message
        }
        if {$state eq "failed"} {
            lassign $failure message failed
            return -options [dict merge $failed {-code error -level 1}] $message
        }
        if {$state in {stopping stopped}} {
            throw [list SOCKETSERVER STATE $state] "couldn't start: the pool was stopped meanwhile"
        }
        return
    }

    method CheckStart {} {
        my CheckOwner
        if {[my IsUp]} {
            throw [list SOCKETSERVER STATE $state] "couldn't start: the pool is $state"
        }
    }

    method Reset {} {
        set failure {}
        set lastError ""
        set renewalCode NONE
        set lastTraffic [dict create accepted 0 queued 0 active 0 served 0 refused 0 refusals {} \
            redelivered 0 cut 0 accepterrors 0 paused {} waitmean 0.0 waitp50 0 waitp99 0]
        set generation ""
        set generations {}
        set next {}
        set waiting {}
        set calmSince 0
        set hasty 0
        set began [::socketserver::Now]
        set counters [dict create generation 0 reloads 0 spawned 0 redelivered 0 cut 0 lost 0 \
            doubts 0 exits {} refused {}]
        set shared 0
        set tickDue $began
        set isLate 0
        foreach name {acceptor sender receiver board wake table backoff} {
            set $name ""
        }
    }

    method Open {} {
        my OpenQueue
        lassign [::socketserver::BoardOpen $::socketserver::maxSlots] board wake
        lappend ::socketserver::boards $board
        chan configure $wake -blocking 0 -translation binary
        chan event $wake readable [namespace code {my Woken}]
        set table [::socketserver::Table new]
        set backoff [::socketserver::Backoff new]
        set acceptor [::socketserver::Acceptor new $sender $board $options \
            [namespace code {my InPool}] [namespace code {my Accepted}] \
            [namespace code {my LimitReached}] [namespace code {my AcceptFailed}]]
        $acceptor hold start
        my OpenListeners
        my OpenOperation
        my Hook -onstart
    }

    method OpenQueue {} {
        if {[::socketserver::IsTakeover]} {
            set predecessor [::socketserver::Predecessor new]
            lassign [$predecessor queue] sender receiver
            set shared 1
            my Log notice "taking over from process [$predecessor pid]"
            return
        }
        set size [dict get $options -maxqueue]
        lassign [unix_sockets::queue {*}[expr {$size > 0 ? [list -size $size] : ""}]] \
            sender receiver
    }

    # Once: when the options are known, which may be after the application's load.
    method OpenListeners {} {
        if {[llength [$acceptor listeners]] == 0} {
            foreach endpoint [dict get $options -listen] {
                foreach channel [my ListenersOf $endpoint] {
                    $acceptor add $endpoint $channel
                    my Log info "listening on [::socketserver::report::Address \
                        [chan configure $channel -sockname]]"
                }
            }
        }
    }

    # Those that the old program had are taken as they are.
    method ListenersOf {endpoint} {
        if {$predecessor ne ""} {
            set channels [$predecessor listeners $endpoint]
            if {[llength $channels] > 0} {
                return $channels
            }
        }
        return [::socketserver::listeners::Open $endpoint $options]
    }

    # While an old program has them, these places are not free.
    method OpenOperation {} {
        if {$predecessor ne ""} {
            return
        }
        foreach {name class} {-control Control -health Health -status Status} {
            if {[dict get $options $name] ne "" && ![dict exists $servers $name]} {
                dict set servers $name [::socketserver::$class new [self] \
                    [dict get $options $name] [namespace code {my Log}]]
            }
        }
    }

    # Starts a fork server; the rest follows when it has loaded the application.
    method Load {isReload {commands {}}} {
        dict incr counters generation
        set number [dict get $counters generation]
        set next [dict create reload $isReload commands $commands generation "" readied 0]
        try {
            dict set next generation [::socketserver::Generation new $number $options \
                [list $receiver] $board [namespace code {my Loaded}] \
                [namespace code [list my ForkServerLost $number]]]
        } on error {message failed} {
            my LoadFailed $message $failed
        }
    }

    method Loaded {args} {
        if {[llength $args] > 0} {
            my LoadFailed {*}$args
            return
        }
        set fresh [dict get $next generation]
        try {
            my TakeAppOptions [$fresh appOptions]
        } on error {message failed} {
            my LoadFailed $message $failed
            return
        }
        if {[dict get $next reload]} {
            my SpawnReload
            return
        }
        set generation $fresh
        lappend generations $fresh
        set next {}
        my Adjust
        my StartedIfReady
    }

    # The operator's options go before the application's.
    method TakeAppOptions {appOptions} {
        set merged [dict merge [::socketserver::options::Defaults] $appOptions $given]
        ::socketserver::options::CheckAll $merged
        if {$state ne "starting"} {
            dict for {name value} $merged {
                if {$name in {-listen -mode -control -health -status} &&
                    $value ne [dict get $options $name]} {
                    my Log warn "$name changes with the next start only"
                    dict set merged $name [dict get $options $name]
                }
            }
        }
        if {$state eq "starting"} {
            set options $merged
            set wanted [my Bounded [dict get $options -workers]]
            $acceptor configure $options
            my OpenListeners
            my OpenOperation
        } elseif {[dict get $next reload]} {
            dict set next options $merged ;# in force once its workers are ready
        } else {
            my Adopt $merged
        }
        [dict get $next generation] configure $merged
    }

    method LoadFailed {message failed} {
        set fresh [dict get $next generation]
        set failed [dict merge {-errorcode NONE -errorinfo {}} $failed]
        set code [dict get $failed -errorcode]
        if {[lrange $code 0 1] ne {SOCKETSERVER VALUE} && [lindex $code 0] ne "POSIX"} {
            dict set failed -errorcode [list SOCKETSERVER LOAD {*}$code]
        }
        set lastError $message
        if {[dict get $next reload]} {
            my ReloadFailed $message $failed
            return
        }
        set next {}
        if {$fresh ne ""} {
            $fresh destroy
        }
        if {$state eq "starting"} {
            my Fail $message $failed
            return
        }
        # The fork server was to be replaced.
        my Log error "couldn't start another fork server: $message"
        my SpawnFailed $message
        my ReplaceForkServer
    }

    method StartedIfReady {} {
        if {$state eq "starting" && $generation ne "" &&
            [$table count ready] >= [my Initial]} {
            if {$predecessor ne ""} {
                $predecessor ready [namespace code {my TakenOver}]
            } else {
                my Serve
            }
        }
    }

    method Serve {} {
        set state running
        my Log notice "ready: [$table count ready] workers"
        if {[dict get $options -notify]} {
            ::socketserver::systemd::StartWatchdog
        }
        my Announce READY 1 MAINPID [pid] STATUS "serving with [$table count ready] workers"
        my Hook -onready
        $acceptor release
    }

    # The old program accepts no more. What it cannot give is no reason to stop.
    method TakenOver {} {
        $predecessor destroy
        set predecessor ""
        try {
            my OpenOperation
        } on error {message} {
            my Log error $message
        }
        my Serve
    }

    # Workers that there must be before the first connection is accepted.
    method Initial {} {
        return [expr {[my PerConnection] ? 1 : $wanted}]
    }

    method InitialOf {fresh} {
        if {[my PerConnection] || [dict get $fresh -workers] == [dict get $options -workers]} {
            return [my Initial]
        }
        return [dict get $fresh -workers]
    }

    method run {} {
        my CheckStart
        # The process is the pool's: it may wait in the way that costs least. Where
        # that cannot be changed any more it waits as before.
        catch {unix_process::notifier epoll}
        set before [dict create]
        dict for {name script} {
            SIGTERM {my stop -wait 0}
            SIGINT {my stop -graceful 0 -wait 0}
            SIGHUP {my reload -wait 0}
            SIGTTIN {my scale +1}
            SIGTTOU {my scale -1}
            SIGUSR2 {my upgrade -wait 0}
            SIGWINCH {my drain}
        } {
            dict set before $name [unix_process::onsignal $name]
            unix_process::onsignal $name [namespace code [list my Signalled $script]]
        }
        try {
            my RunToEnd
        } finally {
            dict for {name cmd} $before {
                unix_process::onsignal $name $cmd
            }
        }
        return
    }

    # It may be destroyed meanwhile.
    method RunToEnd {} {
        try {
            my start
        } trap {SOCKETSERVER STATE} {} {
            # A signal has stopped it before it was ready.
        }
        while {$state ni {stopped failed}} {
            vwait [my varname state]
        }
        if {$state eq "failed"} {
            lassign $failure message failed
            return -options [dict merge $failed {-code error -level 1}] $message
        }
        return
    }

    method Signalled {script signal} {
        my Log notice "got $signal"
        if {[catch $script message failed]} {
            my Log error $message
        }
    }
}
