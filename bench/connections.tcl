#!/usr/bin/env tclsh
# connections.tcl --
#
#   How many short connections a second a server with worker processes serves, and
#   what one costs: the pool of this project beside others that do the same job, and
#   the same without any script language. README.md says more.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set usage {usage: tclsh bench/connections.tcl ?option value ...?
    -workers L    numbers of worker processes ({1 2 4 16 64 256})
    -clients L    numbers of clients at a time ({32 256})
    -rounds N     how often each server has its turn (5)
    -seconds S    how long a turn takes (0.4)
    -warm S       how long the load runs before that, without being counted (0.15),
                  and as long again for each 64 workers
    -servers L    which ones (all); the first is what the others are compared with
    -add L        further ones: {NAME COMMAND ...}; in a command %W stands for the
                  number of workers. It prints "ready PORT PID ...", with the pids of
                  its processes, the parent's first, and ends at end of file on
                  standard input. It sends back one line and closes
    -loads N      processes that make the load (2). One is the limit for fast servers; and
                  with as many as here, which of the processes share a processor matters
                  less, so all servers have the same
    -syscalls L   numbers of workers for which system calls are counted, with strace, in
                  turns of their own ({4 64})
    -pin L        numbers of workers for which some servers also have turns with the
                  server on one processor and the load on another, so that it makes no
                  difference where the system lets them run, and with all on one (4)
    -quick B      a short run: less of all these, except what is given (0)}

set defaults {-workers {1 2 4 16 64 256} -clients {32 256} -rounds 5 -seconds 0.4 -warm 0.15
    -servers all -add {} -loads 2 -syscalls {4 64}
    -pin 4 -quick 0}
set quick {-workers {4 64} -clients 32 -rounds 1 -seconds 0.3 -warm 0.1 -syscalls {} -pin {}}

# Of a load process; beyond it the load is the limit, not the server.
set fullLoad 0.9

# Those that are also measured with processors chosen for them.
set pinned {"raw pass" "raw pass epoll" "raw pass stream" "pool blocking" "pool events"
    "select workers" "Python pass" "Node cluster"}

# ---- servers -----------------------------------------------------------------------

# Name -> {the most workers, command}. With more, some would need minutes or gigabytes,
# and of some a few are enough to see what they can do.
proc servers {} {
    set tclsh [info nameofexecutable]
    set raw [bench::program raw]
    set prefork [bench::server prefork.py]
    return [dict create \
        "raw pass"        [list 256 [list $raw pass %W]] \
        "raw pass epoll"  [list 256 [list $raw passepoll %W]] \
        "raw pass stream" [list 256 [list $raw passstream %W]] \
        "pool blocking"   [list 256 [list $tclsh [bench::server pool.tcl] blocking %W]] \
        "pool events"     [list 256 [list $tclsh [bench::server pool.tcl] events %W]] \
        "socket"          [list 16 [list $tclsh [bench::server socket.tcl] %W]] \
        "select workers"  [list 64 [list $tclsh [bench::server select.tcl] %W]] \
        "Tcl single"      [list 1 [list $tclsh [bench::server single.tcl]]] \
        "Python pass"     [list 256 [list python3 $prefork pass %W]] \
        "Python shared"   [list 4 [list python3 $prefork shared %W]] \
        "Node cluster"    [list 16 [list node [bench::server cluster.js] %W]] \
        "raw shared"      [list 4 [list $raw shared %W]] \
        "raw reuseport"   [list 4 [list $raw reuseport %W]]]
}

# Those that are wanted, and can be had here.
proc wantedServers {} {
    global option
    set servers [servers]
    dict for {name command} $option(-add) {
        dict set servers $name [list 256 $command]
    }
    if {$option(-servers) ne "all"} {
        set servers [dict create {*}[concat {*}[lmap name $option(-servers) {
            if {![dict exists $servers $name]} {
                error "there is no server \"$name\": it is one of [join [dict keys $servers] ", "]"
            }
            list $name [dict get $servers $name]
        }]]]
    }
    return [dict filter $servers script {name server} {
        set program [lindex $server 1 0]
        if {![bench::has $program]} {
            puts "left out: $name, as there is no $program here"
        }
        bench::has $program
    }]
}

proc limited {servers workers} {
    return [dict filter $servers script {name server} {expr {[lindex $server 0] >= $workers}}]
}

# The numbers of workers that at least one server is measured with.
proc served {servers numbers} {
    return [lmap workers $numbers {
        expr {[dict size [limited $servers $workers]] > 0 ? $workers : [continue]}
    }]
}

# Returns {channel port pids}.
proc start {server workers {prefix {}}} {
    set pids [lassign [bench::start [list {*}$prefix \
        {*}[string map [list %W $workers] [lindex $server 1]]]] channel port]
    return [list $channel $port $pids]
}

# ---- a turn ----------------------------------------------------------------------------

proc load {prefix port clients seconds} {
    set command [list {*}$prefix [bench::program load] 127.0.0.1 $port $clients $seconds 64 \
        [expr {min($::option(-loads), $clients)}]]
    catch {exec {*}$command 2>@1} output
    if {![string match \{* $output]} {
        error "the load failed: $output"
    }
    set load [json::json2dict [lindex [split $output \n] 0]]
    foreach kind {"wrong answer" "short answer"} {
        if {[dict exists $load errors $kind]} {
            error "[dict get $load errors $kind] times a $kind"
        }
    }
    if {[dict get $load answered] == 0} {
        error "no connection was answered: [dict get $load errors]"
    }
    return $load
}

proc switchesOf {pids} {
    set sum 0
    foreach pid $pids {
        foreach task [glob -nocomplain /proc/$pid/task/*] {
            foreach {- count} [regexp -all -inline {ctxt_switches:\s+(\d+)} \
                [bench::contents $task/status]] {
                incr sum $count
            }
        }
    }
    return $sum
}

proc usage {pids} {
    return [list [bench::cpuOf [lindex $pids 0]] [bench::cpuOf [lrange $pids 1 end]] \
        [switchesOf $pids]]
}

# place: which processors server and load run on.
proc turn {server workers clients {place free}} {
    lassign [prefixes $place] serverPrefix loadPrefix
    lassign [start $server $workers $serverPrefix] channel port pids
    try {
        if {$::option(-warm) > 0} {
            load $loadPrefix $port $clients [expr {$::option(-warm) * (1 + $workers / 64)}]
        }
        set before [usage $pids]
        set load [load $loadPrefix $port $clients $::option(-seconds)]
        set after [usage $pids]
        set others [lrange $pids 1 end]
        set memory [expr {[bench::memoryOf $others] / max(1, [llength $others])}]
    } on error message {
        error "$workers workers, $clients clients, [lindex $server 1]: $message"
    } finally {
        bench::stop $channel
    }
    set answered [dict get $load answered]
    lassign [lmap a $after b $before {expr {double($a - $b) / $answered}}] parent worker switches
    return [dict merge $load [dict create rate [expr {$answered / [dict get $load seconds]}] \
        cpu [expr {$parent + $worker}] parent $parent worker $worker switches $switches \
        memory $memory load [dict get $load cpu] \
        failed [tcl::mathop::+ {*}[dict values [dict get $load errors]]]]]
}

# How many turns there are, and which one this is.
proc countTurns {servers} {
    global option
    set count 0
    foreach workers $option(-workers) {
        incr count [expr {[dict size [limited $servers $workers]] * [llength $option(-clients)]}]
    }
    foreach workers $option(-pin) {
        incr count [expr {[dict size [pinnedServers $servers $workers]] * [llength [places]]}]
    }
    return [expr {$count * $option(-rounds)}]
}

proc showTurn {what} {
    bench::progress "turn [incr ::turnsDone] of $::turnsInAll: $what"
}

# ---- figures ---------------------------------------------------------------------------

proc field {turns name} {
    return [lmap turn $turns {dict get $turn $name}]
}

# One row: medians of the turns of one server.
proc summary {server turns base} {
    set row [dict create server $server least [tcl::mathfunc::min {*}[field $turns rate]] \
        most [tcl::mathfunc::max {*}[field $turns rate]]]
    foreach key {rate cpu parent worker switches p50 p99 p999 memory load failed} {
        dict set row $key [bench::median [field $turns $key]]
    }
    dict set row rateRatio [expr {[dict get $row rate] / [bench::median [field $base rate]]}]
    dict set row cpuRatio [expr {[dict get $row cpu] / [bench::median [field $base cpu]]}]
    dict set row ceiling [expr {[dict get $row load] > $::fullLoad ? "load" : "server"}]
    dict set row histogram [sumOf [lmap histogram [field $turns histogram] {concat {*}$histogram}]]
    dict set row errors [sumOf [field $turns errors]]
    return $row
}

# Dictionaries of numbers, added.
proc sumOf {counts} {
    set sum [dict create]
    foreach count $counts {
        dict for {key number} $count {
            dict incr sum $key $number
        }
    }
    return [lsort -stride 2 -dictionary $sum]
}

proc showErrors {rows} {
    foreach row $rows {
        dict for {kind count} [dict get $row errors] {
            puts "[dict get $row server]: $count times \"$kind\""
        }
    }
}

set columns {
    {server %s server} {conn/s %.0f rate} {min %.0f least} {max %.0f most}
    {ratio %.2f rateRatio} {us/conn %.1f cpu} {ratio %.2f cpuRatio} {parent %.1f parent}
    {workers %.1f worker} {switches %.2f switches} {p50/us %.0f p50} {p99/us %.0f p99}
    {p99.9/us %.0f p999} {kB/worker %.0f memory} {load %.2f load}
    {limit %s ceiling} {failed %.0f failed}
}

# ---- the matrix of workers and clients ---------------------------------------------------

proc measure {servers workers clients} {
    set servers [limited $servers $workers]
    set turns [bench::turns [dict keys $servers] $::option(-rounds) {
        showTurn "workers $workers, clients $clients: $way"
        turn [dict get $servers $way] $workers $clients
    }]
    set base [dict get $turns [lindex [dict keys $servers] 0]]
    set rows [lmap name [dict keys $servers] {
        dict merge [dict create workers $workers clients $clients] \
            [summary $name [dict get $turns $name] $base]
    }]
    bench::show connections "workers $workers, clients at a time $clients" $::columns $rows
    showErrors $rows
    return $rows
}

# ---- pinned ------------------------------------------------------------------------------

proc places {} {
    return [expr {[exec getconf _NPROCESSORS_ONLN] > 1 ? {apart one} : "one"}]
}

# Of the commands of the server and of the load.
proc prefixes {place} {
    return [dict get {free {{} {}} apart {{taskset -c 0} {taskset -c 1}}
        one {{taskset -c 0} {taskset -c 0}}} $place]
}

proc pinnedServers {servers workers} {
    return [dict filter [limited $servers $workers] script {name server} {
        expr {$name in $::pinned}
    }]
}

proc measurePinned {servers workers clients place} {
    set servers [pinnedServers $servers $workers]
    if {[dict size $servers] == 0} {
        return
    }
    set turns [bench::turns [dict keys $servers] $::option(-rounds) {
        showTurn "workers $workers, clients $clients, $place: $way"
        turn [dict get $servers $way] $workers $clients $place
    }]
    set base [dict get $turns [lindex [dict keys $servers] 0]]
    set where [dict get {apart "the server on one processor, the load on another"
        one "server and load on one processor"} $place]
    bench::show pinned "workers $workers, clients at a time $clients, $where" $::columns \
        [lmap name [dict keys $servers] {
            dict merge [dict create workers $workers clients $clients place $place] \
                [summary $name [dict get $turns $name] $base]
        }]
}

# ---- system calls ------------------------------------------------------------------------

# Waits until every process is traced.
proc awaitTracer {pids} {
    foreach pid $pids {
        for {set i 0} {$i < 500} {incr i} {
            if {[regexp {TracerPid:\s+[1-9]} [bench::contents /proc/$pid/status]]} {
                break
            }
            after 10
        }
    }
}

# What strace -c counts while the load runs: system call -> calls for each connection.
proc countCalls {server workers clients} {
    lassign [start $server $workers] channel port pids
    set file [file tempfile log]
    close $file
    try {
        set tracer [open |[list strace -c -f -qq -o $log {*}[concat {*}[lmap pid $pids {
            list -p $pid}]] 2>/dev/null]]
        awaitTracer $pids
        set answered [dict get [load {} $port $clients 0.5] answered]
        exec kill -INT [pid $tracer]
        catch {close $tracer}
        set text [bench::contents $log]
    } finally {
        bench::stop $channel
        file delete $log
    }
    set calls [dict create]
    set line {^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$}
    foreach {- count call} [regexp -all -inline -line $line $text] {
        dict set calls $call [expr {double($count) / $answered}]
    }
    if {[dict size $calls] == 0} {
        error "strace counted nothing"
    }
    return $calls
}

proc callsRow {name workers server clients} {
    set row [dict create server $name workers $workers]
    if {[catch {countCalls $server $workers $clients} calls]} {
        return [dict merge $row [dict create calls - kinds $calls]]
    }
    set often [lsort -stride 2 -index 1 -real -decreasing [dict remove $calls total]]
    return [dict merge $row [dict create \
        calls [expr {[dict exists $calls total] ? [dict get $calls total] : "-"}] \
        kinds [join [lmap {call count} $often {
            if {$count < 0.05} {
                continue
            }
            format "%s %.1f" $call $count
        }] ", "]]]
}

proc measureCalls {servers workers clients} {
    if {![bench::has strace]} {
        puts "\nno system calls are counted, as there is no strace here"
        return
    }
    set servers [limited $servers $workers]
    bench::show calls "system calls for each connection, workers $workers, clients $clients" \
        {{server %s server} {workers %.0f workers} {calls %.1f calls} {which %s kinds}} \
        [lmap {name server} $servers {
            bench::progress "workers $workers, system calls: $name"
            callsRow $name $workers $server $clients
        }]
}

# ---- goals -------------------------------------------------------------------------------

# The figure key of a server, empty when it was not measured.
proc figure {rows server workers key} {
    foreach row $rows {
        if {[dict get $row server] eq $server && [dict get $row workers] == $workers} {
            return [dict get $row $key]
        }
    }
}

# What is wanted of the quotient of two servers' figures, with the number of workers of
# these for which it is worst. others: the best of them counts.
proc quotientGoal {text key server others rows numbers comparison wanted} {
    set worst ""
    foreach workers $numbers {
        set own [figure $rows $server $workers $key]
        set theirs [lmap other $others {figure $rows $other $workers $key}]
        set theirs [lsort -real [lsearch -all -inline -not -exact $theirs ""]]
        if {$own eq "" || $theirs eq ""} {
            continue
        }
        set best [lindex $theirs [expr {$comparison eq ">=" ? "end" : "0"}]]
        set quotient [expr {$own / $best}]
        if {$worst eq "" || $comparison eq ">=" && $quotient < $worst ||
            $comparison eq "<=" && $quotient > $worst} {
            set worst $quotient
            set where $workers
            set raw [rawFigure $rows $workers $key $best]
        }
    }
    if {$worst ne ""} {
        bench::goal "$text, workers $where (the worst)" $worst $comparison $wanted $raw
    }
}

proc rawFigure {rows workers key best} {
    set raw [figure $rows "raw pass" $workers $key]
    return [expr {$raw eq "" ? "-" : $raw / $best}]
}

# What the text says is of these rows, and of these numbers of workers.
proc goals {text rows numbers} {
    set raw {"raw pass" "raw pass epoll" "raw pass stream"}
    set few [lmap n $numbers {expr {$n <= 16 ? $n : [continue]}}]
    set many [lmap n $numbers {expr {$n > 16 ? $n : [continue]}}]
    foreach {server toRaw toBest cpu} {
        "pool blocking" 0.95 0.9 1.3
        "pool events" 0.85 0.85 1.5
    } {
        quotientGoal "$text: conn/s, $server / raw pass, 1 to 16 workers" rate $server \
            {"raw pass"} $rows $few >= $toRaw
        quotientGoal "$text: conn/s, $server / best raw way of passing, more" rate $server \
            $raw $rows $many >= $toBest
        quotientGoal "$text: us/conn, $server / raw pass" cpu $server {"raw pass"} \
            $rows $numbers <= $cpu
        flatGoal $text $server $rows
    }
    foreach {other workers wanted} [list "select workers" 4 1.5 "select workers" 64 4 \
        "Python pass" $numbers 1 "Node cluster" $numbers 2.5] {
        quotientGoal "$text: conn/s, pool blocking / $other" rate "pool blocking" \
            [list $other] $rows $workers >= $wanted
    }
}

proc flatGoal {text server rows} {
    set few [figure $rows $server 4 cpu]
    set many [figure $rows $server 64 cpu]
    if {$few ne "" && $many ne ""} {
        bench::goal "$text: us/conn, $server, 64 workers / 4 workers" [expr {$many / $few}] \
            <= 1.25 [rawFigure $rows 64 cpu [figure $rows "raw pass" 4 cpu]]
    }
}

# ---- the run -----------------------------------------------------------------------------

bench::run $usage $defaults {
    if {$option(-quick)} {
        array set option [dict merge $quick $argv]
    }
    puts "a line of 64 bytes there and back: connect, line, line, close; medians of\
        $option(-rounds) turns of $option(-seconds) s"
    set servers [wantedServers]
    set turnsInAll [countTurns $servers]
    foreach clients $option(-clients) {
        set rows {}
        foreach workers [served $servers $option(-workers)] {
            lappend rows {*}[measure $servers $workers $clients]
        }
        goals "clients $clients" $rows $option(-workers)
    }
    set clients [lindex $option(-clients) 0]
    foreach workers $option(-pin) {
        foreach place [places] {
            measurePinned $servers $workers $clients $place
        }
    }
    foreach workers [served $servers $option(-syscalls)] {
        measureCalls $servers $workers [lindex $option(-clients) 0]
    }
}
