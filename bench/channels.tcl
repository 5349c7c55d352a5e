#!/usr/bin/env tclsh
# channels.tcl --
#
#   How fast bytes go over unix-domain sockets as Tcl channels, with the settings that
#   they have when nobody changes any: blocks in one direction, and few bytes there and
#   back. README.md says more.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set usage {usage: tclsh bench/channels.tcl ?option value ...?
    -sizes L      sizes of blocks in one direction, in bytes ({4096 65536 1048576})
    -bytes N      how many bytes go there and back (64)
    -clients N    clients at a time of a server that waits with events (32)
    -rounds N     how often each way has its turn (5)
    -seconds S    how long a turn takes (1)
    -quick B      a short run (0)}
set defaults {-sizes {4096 65536 1048576} -bytes 64 -clients 32 -rounds 5 -seconds 1 -quick 0}

# Both ends are of the same kind, but for the clients of a server, which are C++.
set titles [dict create raw "raw C" unix "unix channel" epoll "unix channel, epoll" \
    tcp "Tcl's TCP channel" ceiling "raw C + Tcl alone"]

proc command {kind args} {
    if {$kind eq "raw"} {
        return [list [bench::program channels] {*}$args]
    }
    return [list [info nameofexecutable] [bench::server channels.tcl] $kind {*}$args]
}

# ---- turns -----------------------------------------------------------------------------

# What a program says: a dictionary. `pinned`: all its processes on one processor.
proc run {kind pinned args} {
    set prefix [expr {$pinned ? {taskset -c 0} : {}}]
    return [exec {*}$prefix {*}[command $kind {*}$args] 2>@stderr]
}

proc bulk {kind size} {
    set said [run $kind 0 bulk $size $::option(-seconds)]
    dict with said {
        return [dict create rate [expr {$bytes / $seconds / 1e6}] \
            cpu [expr {$cpu * 1e6 / ($bytes / 65536.0)}]]
    }
}

proc trips {kind pinned} {
    set said [run $kind $pinned trips $::option(-bytes) $::option(-seconds)]
    dict with said {
        return [dict create rate [expr {$trips / $seconds}] cpu [expr {$cpu * 1e6 / $trips}]]
    }
}

# Processor time: the server's.
proc clients {kind} {
    set path [file join $bench::built channels.[pid].sock]
    lassign [bench::start [command $kind serve $path $::option(-bytes)]] channel where pid
    try {
        set before [bench::cpuOf $pid]
        set said [run raw 0 load $where $::option(-clients) $::option(-bytes) $::option(-seconds)]
        set used [expr {[bench::cpuOf $pid] - $before}]
    } finally {
        bench::stop $channel
        file delete $path
    }
    dict with said {
        return [dict create rate [expr {$trips / $seconds}] cpu [expr {double($used) / $trips}]]
    }
}

# ---- figures -----------------------------------------------------------------------------

# job: what stands in the first column.
proc rows {job turns} {
    return [lmap {kind results} $turns {
        dict merge [dict create job $job way [dict get $::titles $kind] kind $kind] \
            [bench::summary $results [dict get $turns raw]]
    }]
}

proc ratio {rows kind} {
    foreach row $rows {
        if {[dict get $row kind] eq $kind} {
            return [dict get $row ratio]
        }
    }
}

# Adds the row of a channel whose driver takes no more than raw C does: what Tcl's own
# code takes, `layer` microseconds for a trip, comes on top of `raw` microseconds.
proc withCeiling {rows raw layer} {
    set base [lindex $rows 0]
    set ratio [expr {$raw / ($raw + $layer)}]
    lappend rows [dict create job [dict get $base job] way [dict get $::titles ceiling] \
        kind ceiling rate [expr {[dict get $base rate] * $ratio}] ratio $ratio]
    return $rows
}

proc columns {unit cpu} {
    return [list {"" %s job} {"" %s way} [list $unit %.0f rate] {min %.0f min} {max %.0f max} \
        {"/ raw C" %.2f ratio} [list $cpu %.2f cpu]]
}

# ---- the three jobs ------------------------------------------------------------------------

proc measureBulk {} {
    set rows {}
    foreach size $::option(-sizes) {
        set turns [bench::turns {raw unix tcp} $::option(-rounds) {
            bulk $way $size
        }]
        set some [rows "$size bytes" $turns]
        lappend rows {*}$some
        if {$size == 65536} {
            bench::goal "bulk, blocks of 64 KiB, unix channel / raw C" [ratio $some unix] >= 0.85
        }
    }
    bench::show bulk "blocks in one direction; both processes' processor time for 64 KiB" \
        [columns MB/s "µs"] $rows
}

# Microseconds of Tcl's own code for one end of a trip.
proc measureLayer {} {
    set turns [bench::turns {null} $::option(-rounds) {
        run $way 0 layer $::option(-bytes) [expr {$::option(-seconds) / 2.0}]
    }]
    return [bench::median [lmap said [dict get $turns null] {
        expr {[dict get $said put] + [dict get $said read]}
    }]]
}

proc measureTrips {layer} {
    set rows {}
    set places [list 0 "two processors"]
    if {[bench::has taskset]} {
        lappend places 1 "one processor"
    } else {
        puts "no rows for one processor: there is no taskset here"
    }
    foreach {pinned job} $places {
        set turns [bench::turns {raw unix tcp} $::option(-rounds) {
            trips $way $pinned
        }]
        set some [rows $job $turns]
        set raw [expr {1e6 / [dict get [lindex $some 0] rate]}]
        lappend rows {*}[withCeiling $some $raw [expr {2 * $layer}]]
        if {!$pinned} {
            bench::goal "round trips, unix channel / raw C" [ratio $some unix] >= 0.9
        }
    }
    bench::show trips "$::option(-bytes) bytes there and back, blocking, one at a time; both\
        processes' processor time for a trip" [columns trips/s "µs"] $rows
}

proc measureClients {layer} {
    set turns [bench::turns {raw unix epoll tcp} $::option(-rounds) {
        clients $way
    }]
    set rows [rows "$::option(-clients) clients" $turns]
    set rows [withCeiling $rows [dict get [lindex $rows 0] cpu] $layer]
    bench::show clients "$::option(-bytes) bytes there and back, many clients of a server that\
        waits with events; the server's processor time for a trip" [columns trips/s "µs"] $rows
}

bench::run $usage $defaults {
    if {$option(-quick)} {
        array set option {-rounds 2 -seconds 0.2}
    }
    measureBulk
    set layer [measureLayer]
    measureTrips $layer
    measureClients $layer
    puts [format "\nTcl alone: writing %s bytes to /dev/null and reading them from /dev/zero\
        takes %.2f µs." $option(-bytes) $layer]
}
