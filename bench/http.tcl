#!/usr/bin/env tclsh
# http.tcl --
#
#   HTTP requests a second of examples/httpd.tcl beside Node's http and nginx, measured
#   with wrk: with connections that are kept, and with one for each request. README.md
#   says more.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set usage {usage: tclsh bench/http.tcl ?option value ...?
    -workers N    worker processes of each server (2)
    -clients N    connections at a time (32)
    -rounds N     how often each server has its turn (5)
    -seconds S    how long a turn takes, in whole seconds (3)
    -quick B      a short run (0)}
set defaults {-workers 2 -clients 32 -rounds 5 -seconds 3 -quick 0}

proc servers {} {
    set tclsh [info nameofexecutable]
    set servers [dict create httpd.tcl [list $tclsh [bench::server http.tcl] $::option(-workers)]]
    bench::addIfHas servers "Node http" node [list node [bench::server http.js] $::option(-workers)]
    bench::addIfHas servers nginx nginx [list $tclsh [bench::server nginx.tcl] $::option(-workers)]
    return $servers
}

proc turn {command mode} {
    set pids [lassign [bench::start $command] channel port]
    try {
        set before [bench::cpuOf $pids]
        set seen [json::json2dict [lindex [split [exec wrk -t1 -c$::option(-clients) \
            -d$::option(-seconds)s -s [bench::server http.lua] http://127.0.0.1:$port/ -- $mode] \
            \n] end]]
        set cpu [expr {[bench::cpuOf $pids] - $before}]
    } finally {
        bench::stop $channel
    }
    set answered [dict get $seen answered]
    if {$answered == 0 || [dict get $seen errors] ne ""} {
        error "$command: $answered answered, errors: [dict get $seen errors]"
    }
    return [dict merge $seen [dict create rate [expr {$answered / [dict get $seen seconds]}] \
        microseconds [expr {double($cpu) / $answered}]]]
}

# A row; allTurns: server -> turns.
proc summary {name mode allTurns} {
    set turns [dict get $allTurns $name]
    set rates [lmap turn $turns {dict get $turn rate}]
    set row [dict create server $name connections $mode \
        least [tcl::mathfunc::min {*}$rates] most [tcl::mathfunc::max {*}$rates]]
    foreach key {rate microseconds p50 p99 p999 cpu} {
        dict set row $key [bench::median [lmap turn $turns {dict get $turn $key}]]
    }
    foreach {key other} {ofNginx nginx ofNode "Node http"} {
        if {[dict exists $allTurns $other]} {
            dict set row $key [bench::median [lmap turn $turns theirs [dict get $allTurns $other] {
                expr {[dict get $turn rate] / [dict get $theirs rate]}
            }]]
        }
    }
    return $row
}

proc measure {servers mode} {
    set turns [bench::turns [dict keys $servers] $::option(-rounds) {
        turn [dict get $servers $way] $mode
    }]
    return [dict map {name -} $turns {summary $name $mode $turns}]
}

bench::run $usage $defaults {
    if {$option(-quick)} {
        array set option {-rounds 1 -seconds 1}
    }
    bench::need wrk
    set servers [servers]
    set rows {}
    foreach mode {keep-alive close} {
        set found [measure $servers $mode]
        lappend rows {*}[dict values $found]
    }
    # With connections that are kept it is the interpreter that is measured.
    if {[dict exists $found "Node http"]} {
        bench::goal "requests a second, close, httpd.tcl / Node" \
            [dict get $found httpd.tcl ofNode] >= 1
    }
    bench::show http "$option(-workers) workers, wrk with $option(-clients) connections; medians\
        of $option(-rounds) turns of $option(-seconds) s" {
        {server %s server} {connections %s connections} {requests/s %.0f rate} {min %.0f least}
        {max %.0f most} {"of nginx" %.2f ofNginx} {"of Node" %.2f ofNode}
        {us/request %.1f microseconds} {p50/us %.0f p50} {p99/us %.0f p99} {p99.9/us %.0f p999}
        {"load cpu" %.2f cpu}
    } $rows
}
