# socketserver/acceptor.tcl --
#
#   The parent's way from the listeners to the queue. Nothing is accepted beyond
#   what the limits allow; at a limit, and while the system lacks something,
#   accepting rests and clients wait in the listeners' backlogs.

namespace eval socketserver {
    # Connections accepted in one go, before other events get their turn.
    variable batch 64
    # Milliseconds between looks at a queue whose room causes no event.
    variable lookMs 10
}

oo::class create socketserver::Acceptor {
    # listeners   {endpoint channel} of each
    # sender      the queue's sending end
    # board       the pool's scoreboard: who is being served
    # options     those of the pool
    # limits      those that are set: maxqueue, connections, rate
    # judges      each connection is looked at
    # relays      nothing is limited and nobody asks: no script sees a connection
    # owner       process that may accept: a forked copy must not
    # paused      why accepting rests; empty while it does not
    # held        set while nobody wants connections: start, user, drain or stop
    # watching    connections cause events
    # resumeId    timer that ends the pause
    # overloaded  the limit that onLimit was told of last, until there is room again
    # bucket      of -maxrate, or empty
    # accepting   set meanwhile: a command that is asked may run the event loop
    # left        listeners at which somebody waits since the last attempt
    # claims      number of a connection -> its address, with -maxpersource
    # unclaimed   number -> when it was put into the queue; no worker has said that it
    #             serves it
    # holders     worker -> numbers that it serves, as keys
    # sources     address -> connections in the pool
    # crowded     addresses, as keys, that have been refused one and not got room since
    # accepted, errors; refusals: reason -> count
    # inPoolCmd   tells how many connections wait or are being served
    # onAccept    called after connections went into the queue
    # onLimit     called with the limit when one is reached
    # onError     called with message and options of an error
    # finishCmd   called once every listener is closed
    variable listeners sender board options limits judges relays owner paused held watching \
        resumeId overloaded bucket accepting left claims unclaimed holders sources crowded \
        lastClaim accepted errors refusals inPoolCmd onAccept onLimit onError finishCmd

    constructor {senderChannel scoreboard poolOptions countCmd acceptCmd limitCmd errorCmd} {
        set listeners {}
        set owner [pid]
        set paused ""
        set held ""
        set resumeId ""
        set overloaded ""
        set claims [dict create]
        set unclaimed [dict create]
        set holders [dict create]
        set sources [dict create]
        set crowded [dict create]
        set lastClaim 0
        set accepted 0
        set errors 0
        set refusals [dict create]
        set finishCmd ""
        set bucket ""
        set accepting 0
        set watching 0
        set left {}
        set sender $senderChannel
        set board $scoreboard
        set inPoolCmd $countCmd
        set onAccept $acceptCmd
        set onLimit $limitCmd
        set onError $errorCmd
        my configure $poolOptions
    }

    destructor {
        my letgo
        if {$bucket ne ""} {
            $bucket destroy
        }
    }

    # Also in a forked copy, where nothing of this goes on: the sockets are the
    # owner's, and free when that lets go of them.
    method letgo {} {
        after cancel $resumeId
        catch {chan event $sender writable {}} ;# the copy may be closed
        foreach listener [my Channels] {
            catch {close $listener}
        }
        set listeners {}
        set left {}
        set paused ""
    }

    # Options may change while connections come.
    method configure {poolOptions} {
        set before [expr {[info exists options] ? [dict get $options -maxrate] : ""}]
        set options $poolOptions
        if {[dict get $options -maxrate] ne $before} {
            my FillBucket [dict get $options -maxrate]
        }
        set limits [lmap {name isSet} [list maxqueue [expr {[my Limit -maxqueue] > 0}] \
            connections [expr {[my MostConnections] > 0}] rate [expr {$bucket ne ""}]] {
            if {!$isSet} continue
            set name
        }]
        set judges [expr {[my Limit -acceptfilter] ne "" || [my Limit -maxpersource] > 0}]
        set relays [expr {$limits eq "" && !$judges && [my Limit -mode] eq "prefork" &&
            [my Limit -maxworkers] == 0}]
        my Watch
        my Resume
    }

    method FillBucket {rate} {
        if {$bucket ne ""} {
            $bucket destroy
        }
        set bucket [expr {$rate eq "" ? "" :
            [::socketserver::Bucket new $rate [::socketserver::Now]]}]
    }

    method add {endpoint channel} {
        lappend listeners [list $endpoint $channel]
        my Watch
    }

    method listeners {} {
        return $listeners
    }

    # Asked for each batch where there are limits, and nothing is relayed.
    method accepted {} {
        if {$relays} {
            my Watch ;# which counts those that were
        }
        return $accepted
    }

    method statistics {} {
        return [dict create accepted [my accepted] accepterrors $errors refusals $refusals \
            refused [tcl::mathop::+ {*}[dict values $refusals]] \
            paused [expr {$held ne "" ? $held : $paused}]]
    }

    method depth {} {
        return [unix_sockets::depth $sender]
    }

    # ---- starting and stopping -----------------------------------------------

    method hold {reason} {
        set held $reason
        my Watch
    }

    # Connections are wanted (again).
    method release {} {
        set held ""
        set finishCmd ""
        my Resume
    }

    # There may be room again.
    method changed {} {
        if {$paused in {connections maxqueue full}} {
            my Resume
        }
    }

    # Takes in what has reached the listeners already, then closes them.
    method finish {cmd} {
        my End 65535 $cmd
    }

    # Closes the listeners, at once if it can be: only what was accepted goes into
    # the queue.
    method stop {cmd} {
        my End 0 $cmd
        my EndNext 0
    }

    # The same, a moment later, where another process listens on the same sockets.
    method abandon {cmd} {
        my End 0 $cmd
    }

    # The files of unix sockets are for another process to own: {endpoint file ...}.
    method disown {} {
        return [concat {*}[lmap each $listeners {
            lassign $each endpoint listener
            list $endpoint [unix_sockets::DisownFile $listener]
        }]]
    }

    # What disown returned: they are ours again.
    method own {files} {
        foreach each $listeners {- file} $files {
            if {$file ne ""} {
                unix_sockets::OwnFile [lindex $each 1] $file
            }
        }
    }

    method End {most cmd} {
        set finishCmd $cmd
        set held stop
        chan event $sender writable {}
        my Watch
        my After 0 EndNext $most
    }

    method EndNext {most} {
        my After 20 EndNext $most
        if {$accepting} {
            return
        }
        set accepting 1
        while {[llength $listeners] > 0 && [my Emptied [lindex $listeners 0 1] $most]} {
            close [lindex $listeners 0 1]
            set listeners [lreplace $listeners 0 0]
        }
        set accepting 0
        if {[llength $listeners] == 0} {
            set paused ""
            after cancel $resumeId
            uplevel #0 $finishCmd
        }
    }

    # From a broken one there is nothing to be had.
    method Emptied {listener most} {
        return [expr {[catch {my TakeIn $listener $most} reason] || $reason in {empty max}}]
    }

    # ---- accepting -----------------------------------------------------------

    method Channels {} {
        return [lmap each $listeners {lindex $each 1}]
    }

    method Watch {} {
        set watching [expr {$held eq "" && $paused eq "" && !$accepting}]
        foreach listener [my Channels] {
            incr accepted [::socketserver::Relayed $listener]
            set cmd [my Callback Readable $listener]
            if {$watching && $relays} {
                chan event $listener readable {}
                ::socketserver::Relay $listener $sender $::socketserver::batch $cmd
            } else {
                chan event $listener readable [expr {$watching ? $cmd : ""}]
            }
        }
    }

    method Callback {args} {
        return [list [namespace which my] {*}$args]
    }

    # Its only timer.
    method After {ms args} {
        after cancel $resumeId
        set resumeId [after $ms [my Callback {*}$args]]
    }

    method Readable {listener} {
        if {$owner != [pid]} {
            my letgo ;# somebody else's fork has made this copy
        } elseif {$accepting} {
            my Watch
        } else {
            my Accept $listener
        }
    }

    # A batch from each. Never throws: Tcl would take the event away.
    method Accept {args} {
        set accepting 1
        set left $args
        set reason empty
        if {[catch {
            while {$left ne "" && $held eq ""} {
                set reason [my AcceptSome [lindex $left 0]]
                if {$reason ni {max empty}} break
                set left [lrange $left 1 end]
            }
        } message failure]} {
            my NoteError $message $failure
            set reason error
        }
        set accepting 0
        if {$reason ni {max empty}} {
            my Pause $reason
        } elseif {!$watching} {
            set paused ""
            my Watch
        }
    }

    # Told once for each time.
    method NoteError {message failure} {
        incr errors
        if {$paused ne "error"} {
            {*}$onError $message $failure
        }
    }

    # Accepts one batch; why it stopped.
    method AcceptSome {listener} {
        set room $::socketserver::batch
        if {$limits ne ""} {
            lassign [my Room] room limit
            if {$room <= 0} {
                my NoteLimit $limit
                return [my AtLimit $listener $limit]
            }
        }
        set reason [my TakeIn $listener $room]
        if {$reason eq "full"} {
            my NoteLimit full
            return [my AtLimit $listener full]
        }
        if {$overloaded ne "" && $overloaded ne "persource"} {
            set overloaded ""
        }
        return $reason
    }

    method TakeIn {listener most} {
        if {$judges} {
            return [my LookAtEach $listener [expr {max(1, $most)}]]
        }
        set count [unix_sockets::handoff -max $most $listener $sender reason]
        if {$count > 0} {
            my Count $count
        }
        return $reason
    }

    method Count {count} {
        incr accepted $count
        if {$bucket ne ""} {
            $bucket use $count
        }
        {*}$onAccept
    }

    # {count limit}: how many may come now, and which limit says so.
    method Room {} {
        set room $::socketserver::batch
        set limit ""
        foreach name $limits {
            set free [switch -- $name {
                maxqueue {expr {[my Limit -maxqueue] - [my depth]}}
                connections {my FreeConnections}
                rate {$bucket available [::socketserver::Now]}
            }]
            if {$free < $room} {
                set room $free
                set limit $name
            }
        }
        return [list $room $limit]
    }

    method Limit {name} {
        return [dict get $options $name]
    }

    # A process for each connection: there are no more connections than those.
    # 0 for no limit.
    method MostConnections {} {
        set limit [my Limit -maxconnections]
        if {[my Limit -mode] eq "perconnection"} {
            set children [my Limit -maxchildren]
            set limit [expr {$limit == 0 ? $children : min($limit, $children)}]
        }
        return $limit
    }

    method FreeConnections {} {
        return [expr {[my MostConnections] - [{*}$inPoolCmd]}]
    }

    # ---- limits --------------------------------------------------------------

    method NoteLimit {limit} {
        if {$overloaded ne $limit} {
            set overloaded $limit
            {*}$onLimit $limit
        }
    }

    # What becomes of connections beyond a limit. Returns why to pause, or max.
    method AtLimit {listener limit} {
        set policy [dict get $options -overload]
        switch -- [lindex $policy 0] {
            queue {
                return $limit
            }
            refuse {
                return [my Refuse $listener $::socketserver::batch $limit [lindex $policy 1]]
            }
        }
        set peer [::socketserver::Look $listener reason]
        if {$peer eq ""} {
            return $reason
        }
        set verdict [my Ask [list {*}$policy $limit] $peer]
        if {[lindex $verdict 0] eq "accept"} {
            return [my Judge $listener $peer]
        }
        return [my Obey $listener $limit $verdict 0]
    }

    # Returns why to stop, or max.
    method Refuse {listener most reason banner} {
        set count [::socketserver::Refuse $listener $most [encoding convertto utf-8 $banner] stop]
        if {$count > 0} {
            dict incr refusals $reason $count
        }
        return [expr {$stop eq "empty" ? "max" : $stop}]
    }

    # accept | refuse ?banner? | queue | route target. A command that fails, or
    # says something else, lets nobody in.
    method Ask {cmd peer} {
        try {
            set verdict [uplevel #0 [list {*}$cmd {*}$peer]]
            my CheckVerdict $verdict
            return $verdict
        } on error {message failure} {
            {*}$onError $message $failure
            return refuse
        }
    }

    method CheckVerdict {verdict} {
        if {[catch {lindex $verdict 0} word] || $word ni {accept refuse queue route}} {
            throw [list SOCKETSERVER VERDICT $verdict] "bad answer \"$verdict\" of a\
                connection's command: must be accept, refuse ?banner?, queue or route target"
        }
        if {$word eq "route"} {
            try {
                unix_sockets::depth [my Target [lindex $verdict 1]]
            } on error {message} {
                throw [list SOCKETSERVER VERDICT $verdict] "couldn't route a connection to\
                    \"[lindex $verdict 1]\": it is no running pool and no queue"
            }
        }
    }

    # Returns why to stop, or max.
    method Obey {listener reason verdict claim} {
        switch -- [lindex $verdict 0] {
            accept {
                return [my HandOffOne $listener $sender $claim]
            }
            refuse {
                return [my Refuse $listener 1 $reason [lindex $verdict 1]]
            }
            queue {
                return $reason
            }
            route {
                return [my Route $listener [lindex $verdict 1]]
            }
        }
    }

    method HandOffOne {listener queue claim} {
        set reason [::socketserver::HandOffOne $listener $queue $claim]
        if {$reason eq "max"} {
            my Count 1
        }
        return $reason
    }

    # The target counts it. Nothing tells when a full one has room again.
    method Route {listener target} {
        set reason [::socketserver::HandOffOne $listener [my Target $target] 0]
        if {$reason eq "max" && [my IsPool $target]} {
            [info object namespace $target]::my Received
        }
        return [expr {$reason eq "full" ? "route" : $reason}]
    }

    # A pool of this process, or the sending end of a queue.
    method Target {name} {
        return [expr {[my IsPool $name] ? [[info object namespace $name]::my Sender] : $name}]
    }

    method IsPool {name} {
        return [expr {[info object isa object $name] &&
            [info object isa typeof $name ::socketserver::pool]}]
    }

    # Another pool has put a connection into the queue.
    method received {} {
        my Count 1
    }

    # ---- one by one: with a filter, or a limit for each address -----------------

    method LookAtEach {listener most} {
        for {set i 0} {$i < $most} {incr i} {
            set peer [::socketserver::Look $listener reason]
            if {$reason ne "max"} {
                return $reason
            }
            set reason [my Judge $listener $peer]
            if {$reason ne "max"} {
                return $reason
            }
        }
        return max
    }

    method Judge {listener peer} {
        set verdict accept
        set reason filter
        if {[dict get $options -acceptfilter] ne ""} {
            set verdict [my Ask [dict get $options -acceptfilter] $peer]
        }
        if {[lindex $verdict 0] eq "accept" && [my SourceIsFull [lindex $peer 0]]} {
            set reason persource
            dict set crowded [lindex $peer 0] 1
            set verdict [my SourceVerdict $peer]
        }
        set claim [my Claim $verdict [lindex $peer 0]]
        set outcome [my Obey $listener $reason $verdict $claim]
        if {$outcome ne "max" || [lindex $verdict 0] ne "accept"} {
            my released $claim
        }
        return [expr {$outcome eq "filter" ? "error" : $outcome}]
    }

    method SourceIsFull {address} {
        set limit [my Limit -maxpersource]
        return [expr {$limit > 0 && [dict exists $sources $address] &&
            [dict get $sources $address] >= $limit}]
    }

    # Nobody else is to wait because of one address: without a command of the
    # user's, such a connection is refused.
    method SourceVerdict {peer} {
        set policy [dict get $options -overload]
        my NoteLimit persource
        switch -- [lindex $policy 0] {
            queue - refuse {
                return [list refuse [lindex $policy 1]]
            }
        }
        set verdict [my Ask [list {*}$policy persource] $peer]
        return [expr {[lindex $verdict 0] eq "queue" ? "refuse" : $verdict}]
    }

    # A number for a connection that is counted by its address; 0 without.
    method Claim {verdict address} {
        if {[my Limit -maxpersource] == 0 || [lindex $verdict 0] ne "accept"} {
            return 0
        }
        dict set claims [incr lastClaim] $address
        dict set unclaimed $lastClaim [::socketserver::Now]
        dict incr sources $address
        return $lastClaim
    }

    # This worker serves it now.
    method claimed {claim worker} {
        if {[dict exists $unclaimed $claim]} {
            dict unset unclaimed $claim
            dict set holders $worker $claim 1
        }
    }

    # It is closed. Nobody says so of what another worker serves.
    method released {claim {worker {}}} {
        if {![dict exists $claims $claim] ||
            ($worker ne "" && ![dict exists $holders $worker $claim])} {
            return
        }
        set address [dict get $claims $claim]
        dict unset claims $claim
        dict unset unclaimed $claim
        if {[dict exists $holders $worker]} {
            dict unset holders $worker $claim
        }
        dict incr sources $address -1
        if {[dict get $sources $address] <= 0} {
            dict unset sources $address
        }
        dict unset crowded $address
        if {$overloaded eq "persource" && [dict size $crowded] == 0} {
            set overloaded ""
        }
    }

    # So are all of a worker that has ended.
    method ended {worker} {
        if {[dict exists $holders $worker]} {
            foreach claim [dict keys [dict get $holders $worker]] {
                my released $claim $worker
            }
            dict unset holders $worker
        }
    }

    # Connections that were taken by a worker that died before it could say so:
    # the queue is empty, and nobody has claimed them.
    method sweep {now} {
        if {[dict size $unclaimed] == 0 || [my depth] > 0} {
            return
        }
        dict for {claim time} $unclaimed {
            if {$now - $time > 5000} {
                my released $claim
            }
        }
    }

    # ---- pausing -------------------------------------------------------------

    # Until there is room, which is an event, or until the system may have what it
    # lacked, which is none. Clients wait in the listeners' backlogs.
    method Pause {reason} {
        set isNew [expr {$paused ne $reason}]
        set paused $reason
        my Watch
        set ms $::socketserver::retryMs
        switch -- $reason {
            rate {
                set ms [$bucket wait [::socketserver::Now]]
            }
            connections {
                # Asked first, looked at then: a connection that ends in between is seen.
                ::socketserver::BoardAsk $board 0 1
                if {[my FreeConnections] > 0} {
                    set ms 0
                }
            }
            full - maxqueue {
                if {$isNew} {
                    chan event $sender writable [my Callback Retry]
                    return
                }
                # The kernel counts differently: it has room, we have not.
                set ms $::socketserver::lookMs
            }
        }
        my After $ms Retry
    }

    # Once it finishes, the timer is that of EndNext.
    method Resume {} {
        if {$finishCmd eq "" && [llength $listeners] > 0} {
            my After 0 Retry
        }
    }

    # A connection that was accepted before, and waits, is no event of its listener.
    method Retry {} {
        after cancel $resumeId
        if {$owner != [pid]} {
            my letgo
            return
        }
        chan event $sender writable {}
        if {$accepting} {
            my After $::socketserver::lookMs Retry
        } elseif {$held eq ""} {
            my Accept {*}$left
        }
    }
}
