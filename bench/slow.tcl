#!/usr/bin/env tclsh
# slow.tcl --
#
#   How long clients wait when some requests take long: workers that take connections
#   from one queue when they are free, beside those that get them in turn or by a hash.
#   Clients arrive at a fixed rate, whether or not others were answered. README.md says
#   more.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set usage {usage: tclsh bench/slow.tcl ?option value ...?
    -workers N    worker processes of each server (8)
    -load L       how much of their time is taken, from 0 to 1 ({0.5 0.7})
    -mix L        what a request takes in milliseconds, and how often that is asked
                  for, as MS:WEIGHT ({1:95 50:5})
    -rounds N     how often each server has its turn (3)
    -seconds S    how long a turn takes (5)
    -quick B      a short run (0)}
set defaults {-workers 8 -load {0.5 0.7} -mix {1:95 50:5} -rounds 3 -seconds 5 -quick 0}

proc ways {} {
    set raw [bench::program slow]
    set workers $::option(-workers)
    set ways [dict create "raw pull" [list $raw pull $workers] \
        "pool" [list [info nameofexecutable] [bench::server slow.tcl] $workers] \
        "raw shared" [list $raw shared $workers] \
        "raw reuseport" [list $raw reuseport $workers] \
        "raw round robin" [list $raw roundrobin $workers]]
    bench::addIfHas ways "Node cluster" node [list node [bench::server slow.js] $workers]
    return $ways
}

# Milliseconds that a request takes.
proc meanTime {} {
    set sum 0.0
    set weights 0
    foreach kind $::option(-mix) {
        lassign [split $kind :] ms weight
        set sum [expr {$sum + $ms * $weight}]
        incr weights $weight
    }
    return [expr {$sum / $weights}]
}

# Figures of one turn. The same seed has clients arrive at the same times.
proc turn {command load seed} {
    set rate [expr {$load * $::option(-workers) * 1000 / [meanTime]}]
    set pids [lassign [bench::start $command] channel port]
    try {
        set before [bench::cpuOf $pids]
        catch {exec [bench::program arrivals] 127.0.0.1 $port $rate $::option(-seconds) $seed "" \
            {*}$::option(-mix) 2>@stderr} output
        set seen [json::json2dict [lindex [split $output \n] 0]]
        set cpu [expr {[bench::cpuOf $pids] - $before}]
    } finally {
        bench::stop $channel
    }
    dict set seen microseconds [expr {double($cpu) / max(1, [dict get $seen answered])}]
    return [dict merge {pmax 0 waited50 0 waited99 0 waited999 0 waitedmax 0 late99 0} $seen]
}

proc measure {ways load} {
    set round 0
    set turns [bench::turns [dict keys $ways] $::option(-rounds) {
        turn [dict get $ways $way] $load [expr {[incr round] / [dict size $ways] + 1}]
    }]
    return [dict map {name ofWay} $turns {summary $name $load $ofWay}]
}

# A row: medians in milliseconds, and of what clients waited the extremes, too.
proc summary {name load turns} {
    set row [dict create server $name load $load \
        failed [tcl::mathop::+ {*}[concat {*}[lmap turn $turns {
            dict values [dict get $turn errors]
        }]]] \
        kinds [lsort -unique [concat {*}[lmap turn $turns {dict keys [dict get $turn errors]}]]] \
        microseconds [bench::median [lmap turn $turns {dict get $turn microseconds}]]]
    foreach key {p50 p99 p999 pmax waited50 waited99 waited999 late99} {
        set values [lmap turn $turns {expr {[dict get $turn $key] / 1000.0}}]
        dict set row $key [bench::median $values]
        dict set row least-$key [tcl::mathfunc::min {*}$values]
        dict set row most-$key [tcl::mathfunc::max {*}$values]
    }
    return $row
}

proc compare {load rows} {
    set pool [dict get $rows pool waited99]
    foreach {name what} {
        "raw reuseport" "SO_REUSEPORT in C++" "raw round robin" "round robin in C++"
        "Node cluster" "Node's round robin"
    } {
        if {[dict exists $rows $name]} {
            bench::goal "99th percentile of waiting at load $load, $what / pool" \
                [expr {[dict get $rows $name waited99] / $pool}] >= 2
        }
    }
    bench::goal "99th percentile of waiting at load $load, pool / a queue in C++" \
        [expr {$pool / [dict get $rows "raw pull" waited99]}] <= 1.3
    foreach {name row} $rows {
        if {[dict get $row failed] > 0} {
            error "$name: [dict get $row failed] clients failed: [dict get $row kinds]"
        }
    }
}

bench::run $usage $defaults {
    if {$option(-quick)} {
        array set option {-rounds 1 -seconds 1}
    }
    set ways [ways]
    foreach load $option(-load) {
        set rows [measure $ways $load]
        bench::show slow "$option(-workers) workers, load $load, requests of\
            [join $option(-mix) {, }] (milliseconds:weight); milliseconds, medians of\
            $option(-rounds) turns of $option(-seconds) s" {
            {server %s server} {p50 %.2f p50} {p99 %.2f p99} {p99.9 %.2f p999} {max %.2f pmax}
            {"waited p50" %.2f waited50} {p99 %.2f waited99} {min %.2f least-waited99}
            {max %.2f most-waited99} {p99.9 %.2f waited999} {"load late p99" %.2f late99}
            {us/request %.1f microseconds} {failed %d failed}
        } [dict values $rows]
        compare $load $rows
    }
}
