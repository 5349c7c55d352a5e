#!/usr/bin/env tclsh
# reload.tcl --
#
#   How long it takes until a server with worker processes runs new code, and what its
#   clients notice of it. README.md says more.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set usage {usage: tclsh bench/reload.tcl ?option value ...?
    -workers N    worker processes of each server (4)
    -packages L   what the application of the pool loads ({json http snit struct})
    -rate N       clients a second (500)
    -rounds N     how often each server has its turn (3)
    -seconds S    how long a turn takes, with and without reloads (4)
    -quick B      a short run (0)}
set defaults {-workers 4 -packages {json http snit struct} -rate 500 -rounds 3 -seconds 4
    -quick 0}

# The old workers end meanwhile.
set pauseMs 100

# name -> {command prefix}; the prefix is what makes a line a request of that server.
proc ways {} {
    set tclsh [info nameofexecutable]
    set ways [dict create pool [list \
        [list $tclsh [bench::server reload.tcl] $::option(-workers) {*}$::option(-packages)] ""]]
    bench::addIfHas ways "Node cluster" node \
        [list [list node [bench::server reload.js] $::option(-workers)] ""]
    bench::addIfHas ways nginx nginx \
        [list [list $tclsh [bench::server nginx.tcl] $::option(-workers)] "GET "]
    return $ways
}

# Returns the milliseconds that it took.
proc reload {server} {
    set began [clock microseconds]
    puts $server reload
    flush $server
    if {[gets $server] ne "reloaded"} {
        error "the server couldn't reload"
    }
    return [expr {([clock microseconds] - $began) / 1000.0}]
}

# Waits, with events.
proc pause {ms} {
    after $ms {set ::paused 1}
    vwait ::paused
}

# What clients see in a turn. During it, script is called again and again.
proc withClients {port prefix script} {
    set clients [open |[list [bench::program arrivals] 127.0.0.1 $port $::option(-rate) \
        $::option(-seconds) 1 $prefix 0:1 2>@stderr] r]
    set ::seen ""
    chan event $clients readable [list receive $clients]
    while {$::seen eq ""} {
        pause $::pauseMs
        uplevel 1 $script
    }
    return [json::json2dict $::seen]
}

proc receive {clients} {
    set ::seen [gets $clients]
    catch {close $clients} ;# a client that failed is counted in what it said
}

proc turn {command prefix} {
    lassign [bench::start $command] server port
    try {
        set alone {}
        for {set i 0} {$i < 5} {incr i} {
            lappend alone [reload $server]
            pause $::pauseMs
        }
        set calm [withClients $port $prefix {}]
        set busy {}
        set seen [withClients $port $prefix {lappend busy [reload $server]}]
    } finally {
        bench::stop $server
    }
    return [dict create alone $alone busy $busy calm $calm seen $seen]
}

# ---- figures -----------------------------------------------------------------------------

proc all {turns key} {
    return [concat {*}[lmap turn $turns {dict get $turn $key}]]
}

# Of what clients saw, in milliseconds.
proc medianMs {turns key what} {
    return [bench::median [lmap turn $turns {expr {[dict get $turn $key $what] / 1000.0}}]]
}

# How many clients failed, of all turns, and why.
proc failures {turns} {
    set kinds [dict create]
    foreach turn $turns {
        dict for {kind count} [dict get $turn seen errors] {
            dict incr kinds $kind $count
        }
        dict for {kind count} [dict get $turn calm errors] {
            dict incr kinds "$kind, without a reload" $count
        }
    }
    return $kinds
}

proc summary {name turns} {
    set row [dict create server $name failed 0 kinds [failures $turns]]
    foreach count [dict values [dict get $row kinds]] {
        dict incr row failed $count
    }
    foreach key {alone busy} {
        set times [all $turns $key]
        dict set row $key [bench::median $times]
        dict set row least-$key [tcl::mathfunc::min {*}$times]
        dict set row most-$key [tcl::mathfunc::max {*}$times]
        dict set row count-$key [llength $times]
    }
    foreach {key of} {calm calm busy seen} {
        dict set row p50-$key [medianMs $turns $of p50]
        dict set row p999-$key [medianMs $turns $of p999]
        dict set row longest-$key [medianMs $turns $of pmax]
    }
    return [dict merge $row [dict create \
        answered [tcl::mathop::+ {*}[lmap turn $turns {dict get $turn seen answered}]]]]
}

proc goals {row} {
    bench::goal "clients of [dict get $row answered] that failed during\
        [dict get $row count-busy] reloads" [dict get $row failed] <= 0
}

bench::run $usage $defaults {
    if {$option(-quick)} {
        array set option {-rounds 1 -seconds 1.5}
    }
    set ways [ways]
    set turns [bench::turns [dict keys $ways] $option(-rounds) {
        turn {*}[dict get $ways $way]
    }]
    set rows [lmap {name ofWay} $turns {summary $name $ofWay}]
    bench::show reload "until $option(-workers) new workers serve, the pool's with\
        [join $option(-packages)] loaded; milliseconds, without clients and with\
        $option(-rate) a second" {
        {server %s server} {alone %.1f alone} {min %.1f least-alone} {max %.1f most-alone}
        {"with clients" %.1f busy} {min %.1f least-busy} {max %.1f most-busy}
        {reloads %d count-busy}
    } $rows
    bench::show clients "what clients see of that; milliseconds, medians of $option(-rounds)\
        turns of $option(-seconds) s" {
        {server %s server} {"no reload p50" %.2f p50-calm} {p99.9 %.2f p999-calm}
        {longest %.2f longest-calm} {"reloads p50" %.2f p50-busy} {p99.9 %.2f p999-busy}
        {longest %.2f longest-busy} {answered %d answered} {failed %d failed} {"" %s kinds}
    } $rows
    goals [lindex $rows 0]
}
