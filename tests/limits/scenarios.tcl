# scenarios.tcl --
#
#   What becomes of a pool, and of clients that behave, when there are too many clients or
#   hostile ones. Each scenario is a procedure limits::NAME, with a size: it adds rows to a
#   table of what such a client has seen, and promises, which bench/common.tcl shows.
#
#   The pool runs in server.tcl, clients that behave are those of bench/programs/arrivals.cpp,
#   which come at a fixed rate, the others those of crowd.cpp.

source [file join [file dirname [file dirname [file dirname [file normalize [info script]]]]] \
    bench common.tcl]

namespace eval limits {
    variable directory [file dirname [file normalize [info script]]]
    # Each process may open as many files as it is allowed to, which may be more than usual.
    variable unlimited [list sh -c {ulimit -n $(ulimit -Hn); exec "$@"} sh]
    # How long what is to happen soon may take.
    variable patience 60000
    # For the tables: what clients that behave have seen, and what became of the others.
    variable seen {}
    variable fates {}
    # Of these, a second, and for so long.
    variable rate 100
    variable seconds 3
    # Whether to promise what depends on how fast the machine is, and what else it does.
    variable measures 1
}

# ---- a pool and its clients ------------------------------------------------------------

# Runs script with a pool of these options: $pool is a dict, its channel, port and parent.
proc limits::withPool {options script} {
    variable directory
    variable unlimited
    upvar 1 pool pool
    lassign [bench::start [list {*}$unlimited [info nameofexecutable] \
        [file join $directory server.tcl] {*}$options]] channel port parent
    set pool [dict create channel $channel port $port parent $parent]
    try {
        uplevel 1 $script
    } finally {
        bench::stop $channel
    }
}

proc limits::stats {pool args} {
    set channel [dict get $pool channel]
    puts $channel ""
    flush $channel
    if {[gets $channel stats] < 0} {
        error "the pool has ended"
    }
    return [expr {[llength $args] == 0 ? $stats : [lmap key $args {dict get $stats $key}]}]
}

# Until the condition is true; in it are variables with the statistics.
proc limits::until {pool condition} {
    variable patience
    set deadline [expr {[clock milliseconds] + $patience}]
    while {![Holds [set stats [stats $pool]] $condition]} {
        if {[clock milliseconds] > $deadline} {
            error "not true within $patience ms: $condition; [dict remove $stats listeners]"
        }
        after 20
    }
}

proc limits::Holds {stats condition} {
    dict with stats {
        return [expr $condition]
    }
}

# The parent's.
proc limits::files {pool} {
    return [llength [glob -nocomplain /proc/[dict get $pool parent]/fd/*]]
}

proc limits::memory {pool} {
    return [expr {[lindex [stats $pool rss] 0] / 1024}]
}

proc limits::workers {pool} {
    return [lmap worker [lindex [stats $pool workers] 0] {dict get $worker pid}]
}

# Starts clients of crowd.cpp: its channel.
proc limits::crowd {pool source sources clients rest args} {
    variable directory
    return [Start [bench::compiled [file join $directory crowd.cpp]] [dict get $pool port] \
        $source $sources $clients $rest {*}$args]
}

proc limits::Start {program port args} {
    variable unlimited
    set channel [open |[list {*}$unlimited $program 127.0.0.1 $port {*}$args 2>@stderr] r+]
    chan configure $channel -buffering line
    return $channel
}

# What has become of a crowd, which goes home if it has not: see crowd.cpp.
proc limits::dismiss {crowd} {
    catch {chan close $crowd write}
    gets $crowd line
    catch {close $crowd}
    return [json::json2dict $line]
}

# How many connections of it have ended, or are, like this.
proc limits::fate {outcome args} {
    return [tcl::mathop::+ {*}[lmap how $args {
        if {![dict exists $outcome errors $how]} continue
        dict get $outcome errors $how
    }]]
}

proc limits::Sum {outcomes} {
    set sum [dict create answered 0 errors {}]
    foreach outcome $outcomes {
        dict incr sum answered [dict get $outcome answered]
        dict for {how count} [dict get $outcome errors] {
            dict set sum errors $how [expr {[fate $sum $how] + $count}]
        }
    }
    return $sum
}

# ---- clients that behave -----------------------------------------------------------------

# Starts such clients, from some addresses: their channel.
proc limits::Come {pool duration} {
    variable rate
    return [open |[list [bench::program arrivals] 127.0.0.1 [dict get $pool port] $rate \
        $duration 1 "" from 127.0.0.1 50 0:1 2>@stderr] r]
}

# What they have seen; a row of the table.
proc limits::Saw {arrivals scenario situation} {
    variable seen
    gets $arrivals line
    catch {close $arrivals}
    set outcome [dict merge {p50 0 p99 0 pmax 0} [json::json2dict $line]]
    set failed [tcl::mathop::+ {*}[dict values [dict get $outcome errors]]]
    set row [dict create scenario $scenario situation $situation failed $failed \
        answered [dict get $outcome answered]]
    foreach key {p50 p99 pmax} {
        dict set row $key [expr {[dict get $outcome $key] / 1000.0}]
    }
    lappend seen $row
    return $row
}

# The row of some that come now.
proc limits::legit {pool scenario situation} {
    variable seconds
    return [Saw [Come $pool $seconds] $scenario $situation]
}

proc limits::showSeen {} {
    variable seen
    variable rate
    bench::show seen "what clients that behave have seen; they come at a rate of $rate a second" {
        {scenario %s scenario} {situation %s situation} {answered %d answered} {failed %d failed}
        {p50/ms %.2f p50} {p99/ms %.2f p99} {max/ms %.1f pmax}
    } $seen
}

proc limits::showFates {} {
    variable fates
    bench::show fates "what has become of connections that were offered at once" {
        {scenario %s scenario} {offered %d offered} {answered %d answered} {refused %d refused}
        {"silent too long" %d ended} {"given up by the system" %d system}
        {"still waiting" %d waiting}
    } $fates
}

# ---- promises ------------------------------------------------------------------------------

proc limits::promise {scenario text value comparison wanted} {
    bench::goal "$scenario: $text" $value $comparison $wanted
}

proc limits::promiseFigure {args} {
    variable measures
    if {$measures} {
        promise {*}$args
    }
}

# Nothing goes round in circles, and nothing is left.
proc limits::promiseRest {pool scenario} {
    variable measures
    until $pool {$active == 0 && $queued == 0}
    if {$measures} {
        after 500
        set parent [dict get $pool parent]
        set before [bench::cpuOf $parent]
        after 1000
        promise $scenario "share of a processor that the parent takes afterwards" \
            [expr {([bench::cpuOf $parent] - $before) / 1e6}] <= 0.2
    }
    promise $scenario "files that the parent has open" [files $pool] <= 100
    lassign [stats $pool logged accepterrors] logged errors
    promise $scenario "errors" [expr {$errors +
        ([dict exists $logged error] ? [dict get $logged error] : 0)}] <= 0
}

# ---- held ----------------------------------------------------------------------------------

# So many connections that stay, of four processes; then nothing for so many milliseconds.
proc limits::held {{count 20000} {quietMs 20000}} {
    withPool [list -workers 4 -concurrency $count -handler await -idletimeout 3600000] {
        legit $pool held without
        set before [bench::memoryOf [list [dict get $pool parent] {*}[workers $pool]]]
        set crowds [lmap number {1 2 3 4} {
            Start [bench::program idle] [dict get $pool port] 127.0.$number.1
        }]
        set held [Answered $crowds "open [expr {$count / 4}]"]
        set pids [list [dict get $pool parent] {*}[workers $pool]]
        set kilobytes [expr {double([bench::memoryOf $pids] - $before) / $count}]
        set cpu [bench::cpuOf $pids]
        after $quietMs
        set cpu [expr {([bench::cpuOf $pids] - $cpu) / 1000.0 * 60000 / max(1, $quietMs)}]
        legit $pool held "$count held"
        promise held "connections that are served at a time" \
            [lindex [stats $pool active] 0] >= $count
        promise held "connections of $count that were made" $held >= $count
        promise held "that are answered in the end" [Answered $crowds echo] >= $count
        promise held "files that the parent has open" [files $pool] <= 100
        promiseFigure held "kilobytes for each, of parent and workers" $kilobytes <= 16
        promiseFigure held "milliseconds of processors for a minute without traffic" $cpu <= 1000
        foreach crowd $crowds {
            catch {close $crowd}
        }
        promiseRest $pool held
    }
}

# Has programs of idle.cpp do something: how many lines were answered.
proc limits::Answered {crowds command} {
    foreach crowd $crowds {
        puts $crowd $command
    }
    return [dict get [Sum [lmap crowd $crowds {json::json2dict [gets $crowd]}]] answered]
}

# ---- offered -------------------------------------------------------------------------------

# So many connections at once, of which each worker serves so many at a time, and takes so
# long for one: those that find no room wait, or are refused. Where the listener's backlog is
# full the system has clients try again, later and later, and drops what they send. So some
# that the pool gets have nothing to say for long, and some are never heard of again.
proc limits::offered {{count 50000} {queue 1000} {concurrency 250} {ms 100}} {
    set options [list -workers 8 -concurrency $concurrency -handler await -maxqueue $queue \
        -backlog 4096 -idletimeout 5000]
    OfferedTo "offered, queue" $count $ms $options
    OfferedTo "offered, refuse" $count $ms [list {*}$options -overload {refuse busy\n}]
}

proc limits::OfferedTo {name count ms options} {
    withPool $options {
        set before [legit $pool $name without]
        set memory [memory $pool]
        set crowds [lmap number {1 2 3 4} {
            crowd $pool 127.0.$number.1 4 [expr {$count / 4}] 0 offer $ms
        }]
        set arrivals [Come $pool $::limits::seconds]
        set most [MostWhile $pool $crowds]
        set during [Saw $arrivals $name "$count at once"]
        set outcome [Sum [lmap crowd $crowds {dismiss $crowd}]]
        set after [legit $pool $name afterwards]
        PromiseFates $pool $name $count $outcome [list $before $during $after]
        promiseFigure $name "kilobytes by which the parent has grown" \
            [expr {[dict get $most memory] - $memory}] <= 8192
        promise $name "files that the parent has had open" [dict get $most files] <= 100
        promiseFigure $name "p50 afterwards, milliseconds" [dict get $after p50] <= \
            [expr {10 + 3 * [dict get $before p50]}]
        promiseRest $pool $name
    }
}

# The most memory and files of the parent until all of some crowds have ended.
proc limits::MostWhile {pool crowds} {
    variable patience
    set most [dict create memory 0 files 0]
    set deadline [expr {[clock milliseconds] + $patience}]
    while {[clock milliseconds] < $deadline && [lsearch -exact [lmap crowd $crowds {
        Ended [pid $crowd]
    }] 0] >= 0} {
        dict for {what value} $most {
            dict set most $what [expr {max($value, [$what $pool])}]
        }
        after 50
    }
    return $most
}

# Its output waits in the pipe.
proc limits::Ended {pid} {
    return [expr {[lindex [bench::contents /proc/$pid/stat] 2] in {Z {}}}]
}

# What the pool has accepted is served, ended in time or refused, and both sides have counted
# alike. Who has given up before is served without having noticed.
proc limits::PromiseFates {pool name count outcome rows} {
    variable fates
    until $pool {$active == 0 && $queued == 0}
    lassign [stats $pool served refused cut] served refused cut
    set fate [dict create scenario $name offered $count answered [dict get $outcome answered] \
        refused [fate $outcome refused] ended [fate $outcome ended] \
        system [fate $outcome "Connection reset by peer" "Connection timed out"] \
        waiting [fate $outcome waiting open]]
    lappend fates $fate
    set answered [tcl::mathop::+ {*}[lmap row [list $outcome {*}$rows] {dict get $row answered}]]
    set failed [tcl::mathop::+ {*}[lmap row $rows {dict get $row failed}]]
    set gaveUp [fate $outcome ended open "Connection reset by peer"]
    promise $name "connections of $count that were served" [dict get $outcome answered] >= 1
    promise $name "clients that were answered and not counted, or counted and not answered" \
        [Outside $served $answered [expr {$answered + $gaveUp + $failed}]] <= 0
    promise $name "refused ones that parent and clients count differently" \
        [Outside $refused [fate $outcome refused] \
            [expr {[fate $outcome refused] + ($refused > 0 ? $failed : 0)}]] <= 0
    promise $name "connections that were cut, or got something else" \
        [expr {$cut + [fate $outcome "wrong answer" "ended afterwards"]}] <= 0
    promise $name "connections whose fate is not known" [expr {
        $count - [tcl::mathop::+ {*}[dict values [dict remove $fate scenario offered]]]}] <= 0
}

# By how much a value is not between two others.
proc limits::Outside {value least most} {
    return [expr {max(0, $least - $value, $value - $most)}]
}

# ---- slow clients ----------------------------------------------------------------------------

# Clients that say nothing, or a byte now and then, until the pool ends them, which it is to
# do in time. They go on for so many milliseconds at least. Against those of many addresses
# handlers that block are helpless: others wait until the silent ones before them are ended.
proc limits::slowloris {{clients 2000} {ms 8000} {limit 2000}} {
    set many [list -workers 2 -concurrency [expr {2 * $clients}] -handler await \
        -idletimeout $limit]
    set few {-workers 8 -handler block -maxpersource 4}
    set half [expr {$limit / 2}]
    set double [expr {2 * $limit}]
    set quarter [expr {$clients / 4}]
    SlowOnes "slowloris, events, silent" $many $limit $clients 16 0 $ms
    SlowOnes "slowloris, events, a byte at times" [list {*}$many -totaltimeout $double] $double \
        $clients 16 $half $ms
    SlowOnes "slowloris, blocking, silent" [list {*}$few -idletimeout $limit] $limit \
        $quarter 1 0 $ms
    SlowOnes "slowloris, blocking, a byte at times" [list {*}$few -timeout $double] $double \
        $quarter 1 $half $ms
    SlowOnes "slowloris, blocking, many addresses" \
        [list {*}$few -idletimeout [expr {$limit / 4}]] 0 $quarter 16 0 $ms
}

# Others are spared with a limit of so many milliseconds; with 0 that is not promised.
proc limits::SlowOnes {name options limitMs clients sources byteMs ms} {
    withPool [list {*}$options -overload {refuse busy\n} -loglevel error] {
        set behaved [dict get [legit $pool $name without] answered]
        set crowd [crowd $pool 127.0.8.1 $sources $clients 500 drip $byteMs]
        until $pool {$active > 0}
        set arrivals [Come $pool [expr {$ms / 1000.0}]]
        after $ms
        set during [Saw $arrivals $name "$clients slow ones"]
        incr behaved [dict get $during answered]
        until $pool "\$served + \$cut > $behaved"
        set outcome [dict merge {lastedmax 0 openmax 0} [dismiss $crowd]]
        promise $name "slow ones that were ended" \
            [fate $outcome ended "Connection reset by peer"] >= 1
        if {$limitMs > 0} {
            promiseFigure $name "milliseconds that one has lasted, limit $limitMs" \
                [expr {max([dict get $outcome lastedmax], [dict get $outcome openmax]) / 1000}] \
                <= [expr {$limitMs * 9 / 8 + 2000}]
            promiseFigure $name "others that failed" [dict get $during failed] <= 0
        }
        promiseRest $pool $name
    }
}

# ---- addresses -------------------------------------------------------------------------------

# Of so many addresses each tries to hold twice as many connections as it may, and tries again
# and again; then connections of many more addresses come once.
proc limits::persource {{sources 256} {each 10} {others 16000} {ms 6000}} {
    set name persource
    withPool [list -workers 2 -concurrency 100000 -handler await -maxpersource $each \
        -overload {refuse busy\n} -backlog 4096] {
        legit $pool $name without
        set crowd [crowd $pool 127.0.16.0 $sources [expr {2 * $sources * $each}] 500 hold]
        until $pool "\$active >= $sources * $each && \$refused > 0"
        set arrivals [Come $pool [expr {$ms / 1000.0}]]
        after $ms
        set during [Saw $arrivals $name "$sources addresses attack"]
        set outcome [dismiss $crowd]
        promise $name "connections that an address has held, limit $each" \
            [dict get $outcome mostmax] <= $each
        promise $name "connections that attackers hold" [fate $outcome held] >= \
            [expr {$sources * $each}]
        promise $name "refused attempts a second" [expr {
            [fate $outcome refused] / [dict get $outcome seconds]}] >= $each
        promise $name "others that failed" [dict get $during failed] <= 0
        until $pool {$active == 0}
        PassBy $pool $name 127.1.0.0 $others
        set memory [memory $pool]
        PassBy $pool $name 127.2.0.0 $others
        promiseFigure $name "kilobytes by which the parent grows for $others addresses more" \
            [expr {[memory $pool] - $memory}] <= 1024
        promiseRest $pool $name
    }
}

# A client of each of so many addresses.
proc limits::PassBy {pool name first count} {
    set crowd [crowd $pool $first $count $count 0 offer 0]
    MostWhile $pool [list $crowd]
    promise $name "connections of $count addresses that were served" \
        [dict get [dismiss $crowd] answered] >= $count
    catch {until $pool {$sources == 0}}
    promise $name "addresses of $count that are still in the parent's table" \
        [lindex [stats $pool sources] 0] <= 0
}

# ---- floods ----------------------------------------------------------------------------------

# Connections that are reset as soon as they are made, and some that never are.
proc limits::flood {{clients 200} {halves 5000} {ms 6000}} {
    foreach {way many rest} [list reset $clients 50 halfopen $halves 0] {
        set name "flood, $way"
        withPool {-workers 2 -concurrency 1000 -handler await} {
            legit $pool $name without
            set crowd [crowd $pool 127.0.8.1 16 $many $rest $way]
            after 500
            set arrivals [Come $pool [expr {$ms / 1000.0}]]
            after $ms
            set during [Saw $arrivals $name "$many at a time"]
            set outcome [dismiss $crowd]
            if {$way eq "reset"} {
                promise $name "resets a second" [expr {[fate $outcome "reset by the client"] /
                    [dict get $outcome seconds]}] >= 1
            } else {
                promise $name "handshakes that were half done" [fate $outcome waiting] >= $many
            }
            promise $name "others that failed" [dict get $during failed] <= 0
            promiseRest $pool $name
        }
    }
}
