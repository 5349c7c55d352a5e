# socketserver/pool/statistics.tcl --
#
#   What a pool tells of itself.

oo::define socketserver::pool {
    # ---- questions -----------------------------------------------------------

    method state {} {
        return $state
    }

    method IsUp {} {
        return [expr {$state ni {new stopped failed}}]
    }

    method PerConnection {} {
        return [expr {[dict get $options -mode] eq "perconnection"}]
    }

    method CheckOwner {} {
        if {$owner != [pid]} {
            throw [list SOCKETSERVER OWNER $owner] "this pool belongs to process $owner"
        }
    }

    method CheckUp {verb} {
        my CheckOwner
        if {![my IsUp] || $state in {starting stopping}} {
            throw [list SOCKETSERVER STATE $state] "couldn't $verb: the pool is $state"
        }
    }

    method Sender {} {
        return $sender
    }

    method listeners {} {
        if {$acceptor eq ""} {
            return {}
        }
        return [lmap each [$acceptor listeners] {
            lassign $each endpoint channel
            dict create endpoint $endpoint address [chan configure $channel -sockname]
        }]
    }

    method workers {} {
        if {$table eq ""} {
            return {}
        }
        set now [::socketserver::Now]
        return [lmap number [$table numbers] {my Worker $number $now}]
    }

    method Worker {number now} {
        lassign [::socketserver::BoardSlot $board $number] taken done waitMicros
        set pid [$table get $number pid]
        set shown [$table get $number state]
        if {$shown eq "ready"} {
            set shown [expr {$taken > $done ? "busy" : "idle"}]
        }
        return [dict create id $number pid $pid \
            generation [[$table get $number generation] number] state $shown \
            active [expr {$taken - $done}] served $done \
            uptime [expr {$now - [$table get $number started]}] rss [my MemoryOf $pid] \
            waitmean [expr {$taken ? double($waitMicros) / $taken : 0.0}]]
    }

    # Resident bytes; 0 where the system does not tell.
    method MemoryOf {pid} {
        set kilobytes 0
        catch {
            set file [open /proc/$pid/status]
            regexp {\nVmRSS:\s+(\d+)} [read $file] -> kilobytes ;# fails when it ends now
        }
        if {[info exists file]} {
            close $file
        }
        return [expr {$kilobytes * 1024}]
    }

    method stats {} {
        set workers [my workers]
        set states [lmap worker $workers {dict get $worker state}]
        set stats [dict create name [dict get $options -name] state $state pid [pid] \
            uptime [expr {[::socketserver::Now] - $began}] mode [dict get $options -mode] \
            generation [expr {$generation eq "" ? 0 : [$generation number]}] \
            reloads [dict get $counters reloads] listeners [my listeners] \
            wanted [my Wanted] spawned [dict get $counters spawned] alive [llength $workers]]
        foreach name {booting idle busy retiring} {
            dict set stats $name [llength [lsearch -all -exact $states $name]]
        }
        dict set stats ready [expr {[dict get $stats idle] + [dict get $stats busy]}]
        set stats [dict merge $stats [my Traffic]]
        dict set stats exits [dict get $counters exits]
        dict set stats lasterror $lastError
        dict set stats rss [my MemoryOf [pid]]
        dict set stats workers $workers
        return $stats
    }

    # A worker that is killed just when it takes a connection may have lost it
    # uncounted. It is one that was put into the queue, is not in there any more, and
    # has never been taken; which shows while no worker is taking one. The queue of an
    # upgrade is another program's, too: nobody can tell there.
    method Settle {} {
        if {[dict get $counters doubts] == 0 || $shared} {
            return
        }
        set counts [::socketserver::BoardCounts $board]
        lassign $counts taken done taking
        set missing [expr {[my Put] - [my Queued] - $taken - [dict get $counters lost]}]
        if {$taking == 0 && $counts eq [::socketserver::BoardCounts $board]} {
            dict incr counters lost $missing
            dict set counters doubts 0
        }
    }

    # Connections that were put into the queue.
    method Put {} {
        return [expr {[$acceptor accepted] + [dict get $counters redelivered] -
            [llength $waiting]}]
    }

    # Those that are there still. Where the system does not tell: that nobody has taken.
    method Queued {} {
        if {[catch {$acceptor depth} count]} {
            lassign [::socketserver::BoardCounts $board] taken
            set count [expr {max(0, [my Put] - $taken - [dict get $counters lost])}]
        }
        return $count
    }

    # Connections that wait or are being served. The depth of the queue would not do
    # for one that is just being taken; but other programs' connections are in it only.
    method InPool {} {
        lassign [::socketserver::BoardCounts $board] taken done
        if {$shared} {
            return [expr {[my Queued] + $taken - $done}]
        }
        return [expr {[$acceptor accepted] + [dict get $counters redelivered] - $done -
            [dict get $counters lost]}]
    }

    method Traffic {} {
        if {$acceptor eq ""} {
            return $lastTraffic
        }
        my Settle
        set accepting [$acceptor statistics]
        lassign [::socketserver::BoardCounts $board] taken done
        lassign [::socketserver::BoardWaits $board] mean median most
        set refusals [dict get $accepting refusals]
        dict for {reason count} [dict get $counters refused] {
            dict incr refusals $reason $count
        }
        set refused [tcl::mathop::+ {*}[dict values $refusals]]
        set byWorkers [tcl::mathop::+ {*}[dict values [dict get $counters refused]]]
        set cut [dict get $counters cut]
        set lost [dict get $counters lost]
        return [dict create accepted [dict get $accepting accepted] queued [my Queued] \
            active [expr {$taken - $done}] \
            served [expr {$done - $cut - $byWorkers - [dict get $counters redelivered]}] \
            refused $refused refusals $refusals redelivered [dict get $counters redelivered] \
            cut [expr {$cut + $lost}] accepterrors [dict get $accepting accepterrors] \
            paused [dict get $accepting paused] waitmean $mean waitp50 $median waitp99 $most]
    }
}
