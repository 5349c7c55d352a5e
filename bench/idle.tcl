#!/usr/bin/env tclsh
# idle.tcl --
#
#   What connections cost that are open and say nothing: memory, and processor time for
#   the traffic of the few others. In the end each of them has a line echoed. README.md
#   says more.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set usage {usage: tclsh bench/idle.tcl ?option value ...?
    -idle L       numbers of idle connections, the first one 0 ({0 1000 5000 20000});
                  the pool has all of these, others the first and the last
    -active N     how many more connections have traffic (200)
    -rate N       lines a second on these together (2000)
    -workers N    worker processes of each server (2)
    -rounds N     how often each server has its turn (5)
    -seconds S    how long a turn takes (2)
    -quick B      a short run, with 2000 idle connections (0)}
set defaults {-idle {0 1000 5000 20000} -active 200 -rate 2000 -workers 2 -rounds 5 -seconds 2
    -quick 0}

# Connections of one process that makes load.
set most 10000
# Each process may open as many files as it is allowed to, which may be more than usual.
set unlimited [list sh -c {ulimit -n $(ulimit -Hn); exec "$@"} sh]

proc commands {} {
    set workers $::option(-workers)
    set commands [dict create \
        "pool" [list [info nameofexecutable] [bench::server idle.tcl] $workers] \
        "raw epoll" [list [bench::program keep] $workers]]
    bench::addIfHas commands "Node cluster" node [list node [bench::server idle.js] $workers]
    return $commands
}

# name -> {server idle command}
proc ways {} {
    set ways [dict create]
    dict for {server command} [commands] {
        foreach idle $::option(-idle) {
            if {$server eq "pool" || $idle in "0 [lindex $::option(-idle) end]"} {
                dict set ways "$server, $idle idle" [list $server $idle $command]
            }
        }
    }
    return $ways
}

# ---- a server and its clients ----------------------------------------------------------

# A dict: channel and pids of the server, loads (channels of the load programs, the first
# with the connections that are active), held, kilobytes for each idle connection.
proc open-way {server idle command} {
    set pids [lassign [bench::start [list {*}$::unlimited {*}$command]] channel port]
    set loads [list [startLoad $port 0]]
    set held [ask [lindex $loads 0] "open $::option(-active)"]
    set before [bench::memoryOf [lrange $pids 1 end]]
    for {set left $idle} {$left > 0} {incr left -$::most} {
        lappend loads [startLoad $port [llength $loads]]
        incr held [ask [lindex $loads end] "open [expr {min($left, $::most)}]"]
    }
    set after [bench::memoryOf [lrange $pids 1 end]]
    return [dict create channel $channel pids $pids loads $loads held $held \
        memory [expr {$idle ? double($after - $before) / $idle : "-"}] \
        parent [openFiles [lindex $pids 0]] \
        workers [lmap pid [lrange $pids 1 end] {openFiles $pid}]]
}

proc startLoad {port number} {
    set command [list {*}$::unlimited [bench::program idle] 127.0.0.1 $port 127.0.1.[incr number]]
    return [open |[list {*}$command 2>@stderr] r+]
}

proc openFiles {pid} {
    return [llength [glob -nocomplain /proc/$pid/fd/*]]
}

# Has the load programs do something, all at once. Returns how many lines were answered;
# an error of any ends the run.
proc ask {loads command} {
    foreach load $loads {
        puts $load $command
        flush $load
    }
    set answered 0
    foreach load $loads {
        set seen [json::json2dict [gets $load]]
        if {[dict size [dict get $seen errors]] > 0} {
            error "\"$command\" went wrong: [dict get $seen errors]"
        }
        incr answered [dict get $seen answered]
        set ::seen $seen
    }
    return $answered
}

proc traffic {way} {
    set pids [dict get $way pids]
    set before [bench::cpuOf $pids]
    set answered [ask [lrange [dict get $way loads] 0 0] \
        "traffic $::option(-active) $::option(-rate) $::option(-seconds)"]
    set cpu [expr {[bench::cpuOf $pids] - $before}]
    return [dict create cpu [expr {double($cpu) / $answered}] p50 [dict get $::seen p50] \
        p99 [dict get $::seen p99]]
}

proc close-way {way} {
    bench::stop [dict get $way channel]
    foreach load [dict get $way loads] {
        catch {close $load}
    }
}

# ---- figures -----------------------------------------------------------------------------

proc summary {server idle opened turns base} {
    set cpus [lmap turn $turns {dict get $turn cpu}]
    return [dict merge $opened [dict create server $server idle $idle \
        cpu [bench::median $cpus] least [tcl::mathfunc::min {*}$cpus] \
        most [tcl::mathfunc::max {*}$cpus] \
        ratio [bench::median [lmap cpu $cpus without $base {expr {$cpu / $without}}]] \
        p50 [bench::median [lmap turn $turns {dict get $turn p50}]] \
        p99 [bench::median [lmap turn $turns {dict get $turn p99}]]]]
}

proc measure {} {
    set ways [ways]
    set opened [dict create]
    try {
        dict for {name way} $ways {
            bench::progress "$name: connecting"
            dict set opened $name [open-way {*}$way]
        }
        set turns [bench::turns [dict keys $ways] $::option(-rounds) {
            traffic [dict get $opened $way]
        }]
        set rows {}
        dict for {name way} $ways {
            lassign $way server idle
            bench::progress "$name: every connection has a line echoed"
            dict set opened $name answered \
                [ask [dict get $opened $name loads] echo]
            # The same server without idle ones, in the same rounds.
            set base [lmap turn [dict get $turns "$server, 0 idle"] {dict get $turn cpu}]
            lappend rows [summary $server $idle [dict get $opened $name] \
                [dict get $turns $name] $base]
        }
        return $rows
    } finally {
        dict for {- way} $opened {
            close-way $way
        }
    }
}

proc goals {rows} {
    foreach row $rows {
        if {[dict get $row server] ne "pool" || [dict get $row idle] == 0} {
            continue
        }
        set idle [dict get $row idle]
        set connections [expr {$idle + $::option(-active)}]
        bench::goal "$idle idle: connections of $connections that were held and answered" \
            [dict get $row answered] >= $connections
        bench::goal "$idle idle: processor time for the traffic of others, ratio to none idle" \
            [dict get $row ratio] <= 1.3
        bench::goal "$idle idle: files that the parent has open" [dict get $row parent] <= 100
    }
}

bench::run $usage $defaults {
    if {$option(-quick)} {
        array set option {-idle {0 500 2000} -rounds 2 -seconds 0.7}
    }
    set rows [measure]
    bench::show idle "$option(-workers) workers, $option(-active) active connections with\
        $option(-rate) lines a second; medians of $option(-rounds) turns of\
        $option(-seconds) s" {
        {server %s server} {idle %d idle} {held %d held} {answered %d answered}
        {kB/connection %.2f memory} {us/line %.1f cpu} {min %.1f least} {max %.1f most}
        {ratio %.2f ratio} {p50/us %.0f p50} {p99/us %.0f p99} {"files: parent" %d parent}
        {workers %s workers}
    } $rows
    goals $rows
}
