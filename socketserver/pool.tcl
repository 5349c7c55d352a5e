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

proc socketserver::SetAnswer {name done message} {
    set $name [list $done $message]
}

oo::class create socketserver::pool {
    # given       options of the caller
    # options     all: defaults, the application's, the given
    # owner       process that this object works in
    # state       new starting running paused draining drained stopping stopped failed
    # failure     {message options} that ended it
    # generation  object that forks the workers; empty while there is none
    # generations those that have workers still
    # next        {generation, number, commands} while a reload runs, or a fork
    #             server is replaced (reload 0)
    # wanted      workers that there should be
    # calmSince   since when fewer workers would have done (-maxworkers)
    # counters    generation reloads spawned redelivered cut routed; exits: reason -> count
    # waiting     connections that a worker gave back, while the queue is full
    # timers      name -> id
    # lastTraffic what Traffic said at the end
    # predecessor, successor   the program that this one takes over from, and the
    #             one that is to take over: {object commands}; empty without
    variable given options owner state failure acceptor sender receiver board wake table \
        backoff generation generations next wanted calmSince counters waiting timers began \
        lastError lastTraffic control health predecessor successor

    constructor {args} {
        set given [::socketserver::options::Merge [dict create] $args]
        set options [dict merge [::socketserver::options::Defaults] $given]
        set owner [pid]
        set state new
        set failure {}
        set control ""
        set health ""
        set predecessor ""
        set successor {}
        set timers [dict create]
        my Reset
    }

    destructor {
        if {$owner == [pid]} {
            my End
            foreach id [dict values $timers] {
                after cancel $id
            }
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
        if {[my IsUp]} {
            my CheckLive $changes
        }
        set given [dict merge $given $changes]
        my Adopt [dict merge $options $changes]
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
        $acceptor configure $options
        my Adjust
    }

    # ---- starting ------------------------------------------------------------

    method start {} {
        my CheckOwner
        if {$state ni {new stopped failed}} {
            throw [list SOCKETSERVER STATE $state] "couldn't start: the pool is $state"
        }
        if {[dict exists $given -handler]} {
            ::socketserver::options::CheckAll $options
        }
        my Reset
        set state starting
        try {
            my Open
            my Load 0
            my Tick
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
        return
    }

    method Reset {} {
        set failure {}
        set lastError ""
        set lastTraffic [dict create accepted 0 queued 0 active 0 served 0 refused 0 refusals {} \
            redelivered 0 cut 0 accepterrors 0 paused {} waitmean 0.0 waitp50 0 waitp99 0]
        set generation ""
        set generations {}
        set next {}
        set waiting {}
        set calmSince 0
        set began [clock milliseconds]
        set counters [dict create generation 0 reloads 0 spawned 0 redelivered 0 cut 0 exits {} \
            refused {}]
        foreach name {acceptor sender receiver board wake table backoff} {
            set $name ""
        }
    }

    method Open {} {
        my OpenQueue
        lassign [::socketserver::BoardOpen $::socketserver::maxSlots] board wake
        chan configure $wake -blocking 0 -translation binary
        chan event $wake readable [namespace code {my Woken}]
        set table [::socketserver::Table new]
        set backoff [::socketserver::Backoff new]
        set acceptor [::socketserver::Acceptor new $sender $board $options \
            [namespace code {my Accepted}] [namespace code {my LimitReached}] \
            [namespace code {my AcceptFailed}]]
        $acceptor hold start
        my OpenListeners
        my OpenOperation
        my Hook -onstart
    }

    method OpenQueue {} {
        if {[::socketserver::IsTakeover]} {
            set predecessor [::socketserver::Predecessor new]
            lassign [$predecessor queue] sender receiver
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
                    my Log info "listening on [chan configure $channel -sockname]"
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
        if {[dict get $options -control] ne "" && $control eq ""} {
            set control [::socketserver::Control new [self] [dict get $options -control] \
                [namespace code {my Log}]]
        }
        if {[dict get $options -health] ne "" && $health eq ""} {
            set health [::socketserver::Health new [self] [dict get $options -health] \
                [namespace code {my Log}]]
        }
    }

    # Starts a fork server; the rest follows when it has loaded the application.
    method Load {isReload {commands {}}} {
        set number [dict incr counters generation]
        set number [dict get $counters generation]
        set next [dict create reload $isReload commands $commands generation ""]
        dict set next generation [::socketserver::Generation new $number $options \
            [list $receiver] [namespace code {my Loaded}] \
            [namespace code [list my ForkServerLost $number]]]
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
                if {$name in {-listen -mode -control -health} &&
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
        } else {
            my Adopt $merged
        }
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
        $fresh destroy
        if {$state eq "starting"} {
            my Fail $message $failed
            return
        }
        # The fork server was to be replaced.
        set delay [$backoff failed [dict get $options -backoff] [clock milliseconds]]
        my Log error "couldn't start another fork server: $message; again in $delay ms"
        my After load $delay {my Load 0}
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
        return [expr {[my PerConnection] ? min(1, [dict get $options -maxchildren]) : $wanted}]
    }

    method run {} {
        my start
        set signals {
            SIGTERM {my stop -wait 0}
            SIGINT {my stop -graceful 0 -wait 0}
            SIGHUP {my reload -wait 0}
            SIGTTIN {my scale +1}
            SIGTTOU {my scale -1}
            SIGUSR2 {my upgrade -wait 0}
            SIGWINCH {my drain}
        }
        dict for {name script} $signals {
            unix_process::onsignal $name [namespace code [list my Signalled $script]]
        }
        try {
            while {[my IsUp]} {
                vwait [my varname state]
            }
        } finally {
            foreach name [dict keys $signals] {
                unix_process::onsignal $name {}
            }
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
        set now [clock milliseconds]
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
        set pages 0
        catch {
            set file [open /proc/$pid/statm]
            set pages [lindex [read $file] 1] ;# fails when the process ends now
        }
        if {[info exists file]} {
            close $file
        }
        return [expr {$pages * 4096}]
    }

    method stats {} {
        set workers [my workers]
        set states [lmap worker $workers {dict get $worker state}]
        set stats [dict create name [dict get $options -name] state $state pid [pid] \
            uptime [expr {[clock milliseconds] - $began}] mode [dict get $options -mode] \
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

    method Traffic {} {
        if {$acceptor eq ""} {
            return $lastTraffic
        }
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
        return [dict create accepted [dict get $accepting accepted] queued [$acceptor depth] \
            active [expr {$taken - $done}] \
            served [expr {$done - $cut - $byWorkers - [dict get $counters redelivered]}] \
            refused $refused refusals $refusals redelivered [dict get $counters redelivered] \
            cut $cut accepterrors [dict get $accepting accepterrors] \
            paused [dict get $accepting paused] waitmean $mean waitp50 $median waitp99 $most]
    }

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
        return [expr {[llength [$acceptor listeners]] > 0 && $state eq "stopping" ||
            [$acceptor depth] > 0 || [llength $waiting] > 0}]
    }

    # More are needed, or (negative) there are too many.
    method Missing {} {
        set alive [llength [my Current booting ready]]
        if {![my PerConnection]} {
            return [expr {$wanted - $alive}]
        }
        # So that the next connection is heard of, too.
        ::socketserver::BoardAsk $board 1 1
        set free [expr {[$table count booting] + [my Idle]}]
        set needed [expr {max($::socketserver::spares, [$acceptor depth]) - $free}]
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
        set wait [$backoff wait [clock milliseconds]]
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
        set now [clock milliseconds]
        set limit [dict get $options -boottimeout]
        set number [$table add $from $now [expr {$limit > 0 ? $now + $limit : 0}] \
            [dict get $options -timeout]]
        try {
            $from spawn "[dict get $options -name]: worker $number" [my Config $number $from] \
                [namespace code [list my WorkerExited $number]] \
                [namespace code [list my Spawned $number]]
        } on error {message} {
            $table remove $number
            my ForkFailed $message
            return 0
        }
        return 1
    }

    # What a worker is told at its birth.
    method Config {number from} {
        set told {}
        foreach name {
            -mode -handler -workerinit -workerexit -concurrency -maxrequests -jitter -timeout
            -idletimeout -onparentexit -proxyprotocol -proxytimeout
        } {
            dict set told $name [dict get $options $name]
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
        if {$born eq ""} {
            $table remove $number
            my ForkFailed $message
            return
        }
        set link [::forkserver::Link new [dict get $born socket]]
        $table set $number pid [dict get $born pid] link $link
        chan event [$link channel] readable [namespace code [list my Hear $number]]
        dict incr counters spawned
        my Log info "worker $number (pid [dict get $born pid]) started"
        my Hook -onspawn $number [dict get $born pid]
        if {[$table get $number state] eq "retiring"} {
            my TellWorker $number retire
        }
    }

    # ---- workers: talking to them -------------------------------------------

    method TellWorker {number args} {
        set link [$table get $number link]
        if {$link ne ""} {
            catch {$link send $args 0}
        }
    }

    method Hear {number} {
        set link [$table get $number link]
        set generationState [[$table get $number generation] state]
        try {
            $link fill
            while {[$link next message descriptors]} {
                my Heard $number $message $descriptors
            }
            set ended [$link ended]
        } on error {message failed} {
            set ended 1
        }
        if {$ended && [$table exists $number]} {
            chan event [$link channel] readable {}
            # Only the fork server could tell how it ended.
            if {$generationState eq "lost"} {
                my WorkerExited $number [$table get $number pid] unknown
            }
        }
    }

    method Heard {number message descriptors} {
        set words [lassign $message verb]
        switch -- $verb {
            ready {
                my WorkerReady $number
            }
            retiring {
                my NoteRetiring $number [lindex $words 0]
            }
            claimed {
                $acceptor claimed [lindex $words 0]
                $table set $number claims \
                    [list {*}[$table get $number claims] [lindex $words 0]]
            }
            released {
                $acceptor released [lindex $words 0]
                set claims [$table get $number claims]
                set at [lsearch -exact $claims [lindex $words 0]]
                $table set $number claims [lreplace $claims $at $at]
            }
            refused {
                dict set counters refused [my Increased [dict get $counters refused] \
                    [lindex $words 0] 1]
            }
            redeliver {
                lappend waiting {*}$descriptors
                dict incr counters redelivered [llength $descriptors]
                set descriptors {}
                my PutBack
            }
            log {
                if {[lindex $words 0] eq "error" && [$table get $number state] eq "booting"} {
                    set lastError [lindex $words 1]
                }
                my Log {*}[lrange $words 0 1]
            }
        }
        ::forkserver::CloseAll $descriptors
    }

    method Increased {dict key count} {
        dict incr dict $key $count
        return $dict
    }

    # Into the queue, as soon as there is room.
    method PutBack {} {
        while {[llength $waiting] > 0} {
            if {[catch {::socketserver::Requeue $sender [lindex $waiting 0]}]} {
                my After putback $::socketserver::retryMs {my PutBack}
                return
            }
            ::forkserver::CloseDescriptor [lindex $waiting 0]
            set waiting [lrange $waiting 1 end]
        }
    }

    method WorkerReady {number} {
        if {[$table get $number state] ne "booting"} {
            return
        }
        $table set $number state ready readyAt [clock milliseconds] deadline 0
        if {[my Reloading]} {
            my ReloadedIfReady
        }
        my StartedIfReady
        my Adjust
    }

    # It has decided so by itself, and serves what it has in its own time.
    method NoteRetiring {number reason} {
        if {[$table get $number state] eq "retiring"} {
            return
        }
        $table set $number state retiring reason $reason deadline 0
        if {[$table get $number readyAt] > 0} {
            my Adjust
        }
    }

    # Ends a worker: when it serves nobody any more, or at the time limit.
    method Retire {number reason} {
        if {[$table get $number state] eq "retiring" && [$table get $number deadline] > 0} {
            return
        }
        set limit [dict get $options -gracetimeout]
        set deadline [expr {$limit > 0 ? [clock milliseconds] + $limit : 0}]
        if {[$table get $number state] ne "retiring"} {
            $table set $number reason $reason
        }
        $table set $number state retiring deadline $deadline
        my TellWorker $number retire
    }

    method RetireSome {count} {
        set active [dict create]
        set candidates [my Current booting ready]
        foreach number $candidates {
            lassign [::socketserver::BoardSlot $board $number] taken done
            dict set active $number [expr {$taken - $done}]
        }
        foreach number [$table surplus $count $candidates $active] {
            my Retire $number scaled
        }
    }

    method RetireAll {reason} {
        foreach number [$table numbers] {
            my Retire $number $reason
        }
    }

    method Kill {number reason} {
        $table set $number killed 1 reason $reason
        if {[$table get $number pid] != 0} {
            catch {unix_process::kill [$table get $number pid] SIGKILL}
        }
    }

    # ---- workers: their ends -------------------------------------------------

    method WorkerExited {number pid status} {
        if {![$table exists $number]} {
            return
        }
        # What it said last may still be unread.
        set link [$table get $number link]
        if {$link ne ""} {
            catch {my Hear $number}
            if {![$table exists $number]} {
                return
            }
        }
        set row [my ForgetWorker $number]
        set reason [my ReasonOf $row $status]
        dict set counters exits [my Increased [dict get $counters exits] $reason 1]
        my LogExit $number $pid $row $reason $status
        my Hook -onworkerexit $number $pid $reason $status
        my JudgeExit $row $reason "worker $number (pid $pid) ended: [my Explain $reason $status]"
        my AfterExit $row
    }

    # Returns {state S reason R killed B steady B cut N generation G}.
    method ForgetWorker {number} {
        lassign [::socketserver::BoardFold $board $number] taken done
        dict incr counters cut [expr {$taken - $done}]
        foreach claim [$table get $number claims] {
            $acceptor released $claim
        }
        set readyAt [$table get $number readyAt]
        set row [dict create cut [expr {$taken - $done}] steady [expr {$readyAt > 0 &&
            ($done > 0 || [clock milliseconds] - $readyAt > $::socketserver::steadyMs)}]]
        foreach field {state reason killed generation} {
            dict set row $field [$table get $number $field]
        }
        set link [$table get $number link]
        if {$link ne ""} {
            $link destroy
        }
        $table remove $number
        return $row
    }

    # Why it ended, in one word.
    method ReasonOf {row status} {
        if {[dict get $row killed]} {
            return [dict get $row reason]
        }
        switch -glob -- $status {
            "exit 0" {
                set reason [dict get $row reason]
                return [expr {$reason eq "" ? "exit" : $reason}]
            }
            exit* {
                return error
            }
            signal* {
                return signal
            }
        }
        return lost
    }

    method Explain {reason status} {
        switch -- $reason {
            timeout {
                return "killed, its event loop did not turn for [dict get $options -timeout] ms\
                    (-timeout)"
            }
            boottimeout {
                return "killed, it was not ready after [dict get $options -boottimeout] ms\
                    (-boottimeout)"
            }
            gracetimeout {
                return "killed, it was not done after [dict get $options -gracetimeout] ms\
                    (-gracetimeout)"
            }
            signal {
                set hint [expr {$status eq "signal SIGKILL" ?
                    ", not by this pool: short of memory?" : ""}]
                return "[regsub {^signal} $status {killed by}]$hint"
            }
            lost {
                return "nothing is known of how, its fork server had died"
            }
        }
        return "$reason ($status)"
    }

    method LogExit {number pid row reason status} {
        set level [expr {$reason in {timeout boottimeout gracetimeout signal error lost exit} ?
            "warn" : $reason eq "done" ? "debug" : "info"}]
        set cut [dict get $row cut]
        my Log $level "worker $number (pid $pid) ended: [my Explain $reason $status][expr {
            $cut > 0 ? ", $cut connections were cut" : ""}]"
    }

    # Counts failures in a row: ends that nobody asked for, before the worker was
    # of any use.
    method JudgeExit {row reason message} {
        if {[dict get $row steady] || $reason in {recycled done memory scaled}} {
            $backoff succeeded
            return
        }
        if {$reason in {reload stop drained terminated upgraded}} {
            return
        }
        if {$lastError eq "" || $reason ne "error"} {
            set lastError $message
        }
        if {[dict get $row generation] eq [my Pending]} {
            my ReloadFailed $lastError {-errorcode {SOCKETSERVER BOOT}}
            return
        }
        my SpawnFailed $lastError
    }

    method ForkFailed {message} {
        my Log error "couldn't fork a worker: $message"
        my SpawnFailed "couldn't fork a worker: $message"
    }

    method SpawnFailed {message} {
        set lastError $message
        set delay [$backoff failed [dict get $options -backoff] [clock milliseconds]]
        set most [dict get $options -maxspawnfailures]
        set failures [$backoff failures]
        if {$state eq "starting" && $most > 0 && $failures >= $most ||
            $most > 0 && $failures >= $most && [$table count ready] == 0} {
            my Fail "couldn't start workers: $failures failed in a row, the last error is:\
                $message" {-errorcode {SOCKETSERVER BOOT} -errorinfo {}}
            return
        }
        my Log warn "the next worker is started in $delay ms ($failures failed in a row)"
        my After adjust $delay {my Adjust}
    }

    method AfterExit {row} {
        my CleanGenerations
        switch -- $state {
            stopping {
                my StoppedIfDone
            }
            draining {
                my DrainedIfDone
            }
        }
        my Adjust
    }

    # A generation without workers that is not the current one is of no more use.
    method CleanGenerations {} {
        set kept {}
        foreach each $generations {
            if {$each ni [list $generation [my Pending]] &&
                [llength [$table ofGeneration $each]] == 0} {
                $each destroy
            } else {
                lappend kept $each
            }
        }
        set generations $kept
    }

    # Its workers go on; another one will fork the next.
    method ForkServerLost {number} {
        if {[my Reloading] && [[my Pending] number] == $number} {
            my ReloadFailed "the new fork server died" {-errorcode {SOCKETSERVER LOST}}
            return
        }
        set now [clock milliseconds]
        foreach each [$table numbers] {
            if {[[$table get $each generation] number] == $number} {
                if {[$table get $each pid] == 0} {
                    my ForgetWorker $each
                } elseif {[eof [[$table get $each link] channel]]} {
                    my WorkerExited $each [$table get $each pid] unknown
                }
            }
        }
        if {$generation eq "" || [$generation number] != $number} {
            return
        }
        my Log warn "the fork server (generation $number) died, starting another"
        set lastError "the fork server died"
        my ReplaceForkServer
    }

    method ReplaceForkServer {} {
        if {[my IsUp] && [dict size $next] == 0 && $generation ne "" &&
            [$generation state] eq "lost"} {
            my Load 0
        }
    }

    # ---- reload --------------------------------------------------------------

    # reload ?-wait bool? ?-command cmd?: cmd is called with 1 and {}, or 0 and why.
    method reload {args} {
        set asked [my CheckRenewal reload $args]
        my Log notice "reloading"
        lassign [my Answers $asked] answer commands
        my Load 1 $commands
        my AwaitAnswer $asked $answer
        return
    }

    # One at a time. Returns the options.
    method CheckRenewal {verb words} {
        lassign [unix_process::ParseOptions "$verb ?-wait bool? ?-command cmd?" \
            {-wait 1 -command {}} 0 $words] asked
        my CheckUp $verb
        if {[dict size $next] > 0 || [llength $successor] > 0} {
            throw {SOCKETSERVER BUSY} "couldn't $verb: a reload or an upgrade is under way"
        }
        return $asked
    }

    # {answerName commands}: a variable that is set to the outcome if somebody
    # waits, and the commands to call with it.
    method Answers {asked} {
        set answer [my varname answer[incr ::socketserver::answers]]
        set commands {}
        if {[dict get $asked -wait]} {
            lappend commands [list ::socketserver::SetAnswer $answer]
        }
        if {[dict get $asked -command] ne ""} {
            lappend commands [dict get $asked -command]
        }
        return [list $answer $commands]
    }

    method Answer {commands done message} {
        foreach cmd $commands {
            my CallUser $cmd $done $message
        }
    }

    # The new workers, besides the old ones.
    method SpawnReload {} {
        set fresh [dict get $next generation]
        lappend generations $fresh
        dict set next count [my Initial]
        for {set i 0} {$i < [dict get $next count]} {incr i} {
            if {![my Spawn $fresh]} {
                if {[dict size $next] > 0} {
                    my ReloadFailed $lastError {-errorcode {SOCKETSERVER BOOT}}
                }
                return
            }
        }
        my ReloadedIfReady
    }

    method ReloadedIfReady {} {
        if {![dict exists $next count]} {
            return
        }
        set fresh [dict get $next generation]
        if {[llength [$table ofGeneration $fresh ready]] < [dict get $next count]} {
            return
        }
        set generation $fresh
        foreach number [$table numbers booting ready] {
            if {[$table get $number generation] ne $fresh} {
                my Retire $number reload
            }
        }
        my CleanGenerations
        dict incr counters reloads
        my Log notice "reloaded: generation [$fresh number]"
        my AnswerReload 1 ""
        my Adjust
    }

    # The old workers stay.
    method ReloadFailed {message failed} {
        set fresh [dict get $next generation]
        set lastError $message
        foreach number [$table ofGeneration $fresh] {
            if {[$table get $number pid] != 0} {
                my Kill $number reload
            } else {
                my ForgetWorker $number
            }
        }
        my Log error "couldn't reload, the old workers stay: $message"
        if {$fresh ni $generations} {
            lappend generations $fresh
        }
        my AnswerReload 0 $message
        my CleanGenerations
        my ReplaceForkServer
    }

    method AnswerReload {done message} {
        set commands [dict get $next commands]
        set next {}
        my Hook -onreload $done $message
        my Answer $commands $done $message
    }

    # Waits for the outcome, if asked to.
    method AwaitAnswer {asked answerName} {
        if {![dict get $asked -wait]} {
            return
        }
        while {![info exists $answerName]} {
            vwait $answerName
        }
        lassign [set $answerName] done message
        unset $answerName
        if {!$done} {
            throw {SOCKETSERVER RENEWAL} $message
        }
    }

    # ---- upgrade -------------------------------------------------------------

    # upgrade ?-wait bool? ?-command cmd?: as reload; this pool stops afterwards.
    method upgrade {args} {
        set asked [my CheckRenewal upgrade $args]
        set program [dict get $options -upgradecommand]
        if {$program eq ""} {
            set program [list [info nameofexecutable] $::argv0 {*}$::argv]
        }
        my Log notice "upgrading"
        lassign [my Answers $asked] answer commands
        set successor [list [::socketserver::Successor new $program \
            [namespace code {my HandOver}] [namespace code {my UpgradeFailed}]] $commands]
        my GiveAll
        set limit [dict get $options -boottimeout]
        if {$limit > 0} {
            my After upgrade [expr {2 * $limit}] \
                {my UpgradeFailed "it was not ready in time (twice -boottimeout)"}
        }
        my AwaitAnswer $asked $answer
        return
    }

    # Copies of all that is shared from now on.
    method GiveAll {} {
        set handles [list $sender $receiver]
        set endpoints {}
        foreach each [$acceptor listeners] {
            lassign $each endpoint channel
            set sockets [::socketserver::ListenerSockets $channel]
            lappend endpoints $endpoint [llength $sockets]
            lappend handles {*}$sockets
        }
        [lindex $successor 0] send [list takeover [pid] $endpoints {}] $handles
    }

    # The new program has its workers: it accepts from now on.
    method HandOver {} {
        my Cancel upgrade
        lassign $successor object commands
        my Log notice "process [$object pid] has taken over"
        foreach name {control health} {
            if {[set $name] ne ""} {
                [set $name] destroy
                set $name ""
            }
        }
        set state stopping
        $acceptor abandon [namespace code {my HandedOver}]
    }

    method HandedOver {} {
        lassign $successor object commands
        $object send go
        set limit [dict get $options -gracetimeout]
        if {$limit > 0} {
            my After stop $limit {my StopNow}
        }
        $object destroy
        set successor {}
        my Answer $commands 1 ""
        my RetireAll upgraded
        my StoppedIfDone 1
    }

    method UpgradeFailed {message} {
        my Cancel upgrade
        lassign $successor object commands
        set successor {}
        $object kill
        $object destroy
        set lastError $message
        my Log error "couldn't upgrade, this program stays: $message"
        my Answer $commands 0 $message
    }

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
        if {[dict exists $timers drain]} {
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

    # ---- stopping ------------------------------------------------------------

    # stop ?-graceful bool? ?-wait bool?
    method stop {args} {
        lassign [unix_process::ParseOptions "stop ?-graceful bool? ?-wait bool?" \
            {-graceful 1 -wait 1} 0 $args] asked
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
            my ReloadFailed "the pool is stopping" {}
        }
        if {[llength $successor] > 0} {
            my UpgradeFailed "the pool is stopping"
        }
        my Log notice [expr {$graceful ? "stopping" : "stopping at once"}]
        set limit [expr {$graceful ? [dict get $options -gracetimeout] : $::socketserver::quitMs}]
        if {$limit > 0} {
            my After stop $limit {my StopNow}
        }
        if {$graceful} {
            $acceptor finish [namespace code {my FinishQueue}]
            return
        }
        foreach number [$table numbers] {
            $table set $number state retiring reason stop deadline 0
            my TellWorker $number quit
        }
        my StoppedIfDone 1
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
            my Kill $number gracetimeout
        }
        my After stop $::socketserver::quitMs {my Stopped}
        my StoppedIfDone 1
    }

    method StoppedIfDone {{regardless 0}} {
        if {[$table count] == 0 && ($regardless || ![my HasWork])} {
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
        foreach id [dict values $timers] {
            after cancel $id
        }
        set timers [dict create]
        if {$table ne ""} {
            foreach number [$table numbers] {
                my Kill $number stop
                my ForgetWorker $number
            }
        }
        set all $generations
        if {[dict size $next] > 0 && [dict get $next generation] ni $all} {
            lappend all [dict get $next generation]
        }
        ::forkserver::CloseAll $waiting
        set lastTraffic [my Traffic]
        foreach object [list {*}$all $acceptor $table $backoff $control $health $predecessor \
            {*}[lindex $successor 0]] {
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
        }
        set control ""
        set health ""
        set predecessor ""
        set successor {}
        set generations {}
        set generation ""
        set next {}
        set waiting {}
        foreach name {acceptor sender receiver board wake table backoff} {
            set $name ""
        }
    }

    # ---- events --------------------------------------------------------------

    # A worker did what the parent asked to hear of.
    method Woken {} {
        read $wake
        $acceptor changed
        if {[my PerConnection]} {
            my Adjust
        }
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
        set waitingCount [$acceptor depth]
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
        set now [clock milliseconds]
        my KillOverdue $now
        my CheckMemory
        if {[my Elastic] && $state eq "running"} {
            my ScaleUp
            my ScaleDown $now
        }
        if {[my PerConnection]} {
            my Adjust
        }
        $acceptor sweep $now
        if {[my IsUp]} {
            my After tick [my TickMs] {my Tick}
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
        foreach number [$table overdue $now] {
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

    # An error of the user's is no reason to stop half way.
    method CallUser {cmd args} {
        if {[catch {uplevel #0 [list {*}$cmd {*}$args]} message failed]} {
            ::socketserver::Report $message $failed
        }
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
