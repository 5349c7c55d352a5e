#!/usr/bin/env tclsh
# connections.tcl --
#
#   How many short connections a second a server with worker processes serves, and
#   what one costs: the pool of this project beside others that do the same job, and
#   the same without any script language. README.md says more.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require json
package require json::write

set here [file dirname [file normalize [info script]]]
set built [file join [file dirname $here] build bench]

set usage {usage: tclsh bench/connections.tcl ?option value ...?
    -workers L    numbers of worker processes ({1 4 16 64})
    -clients L    numbers of clients at a time ({32})
    -rounds N     how often each server has its turn (5)
    -seconds S    how long a turn takes (2)
    -servers L    which ones (all)
    -add L        further ones: {NAME COMMAND ...}; in a command %W stands for the
                  number of workers. It prints "ready PORT PID ...", with the pids of
                  its processes, the parent's first, and ends at end of file on
                  standard input. It sends back one line and closes
    -syscalls B   also counts system calls, with strace, in one more turn each (0)
    -json FILE    writes the figures to FILE as well
    --help        shows this}

# ---- servers -----------------------------------------------------------------------

# Name -> command. The first is what the others are compared with.
proc servers {} {
    global here built
    set tclsh [info nameofexecutable]
    return [dict create \
        "raw pass"       "$built/raw pass %W" \
        "pool blocking"  "$tclsh $here/servers/pool.tcl blocking %W" \
        "pool events"    "$tclsh $here/servers/pool.tcl events %W" \
        "socket"         "$tclsh $here/servers/socket.tcl %W" \
        "raw shared"     "$built/raw shared %W" \
        "raw reuseport"  "$built/raw reuseport %W" \
        "Python pass"    "python3 $here/servers/prefork.py pass %W" \
        "Python shared"  "python3 $here/servers/prefork.py shared %W" \
        "Node cluster"   "node $here/servers/cluster.js %W" \
        "Tcl single"     "$tclsh $here/servers/single.tcl"]
}

proc build {} {
    global here built
    file mkdir $built
    foreach program {load raw} {
        set source [file join $here programs $program.cpp]
        set target [file join $built $program]
        if {![file exists $target] || [file mtime $target] < [file mtime $source]} {
            exec g++ -O2 -std=c++17 -o $target $source
        }
    }
}

# Returns {channel port pids}.
proc start {command workers} {
    set channel [open |[list {*}[string map [list %W $workers] $command] 2>@stderr] r+]
    if {[gets $channel line] < 0 || [lindex $line 0] ne "ready"} {
        catch {close $channel}
        error "the server did not start: $command"
    }
    return [list $channel [lindex $line 1] [lrange $line 2 end]]
}

proc stop {channel} {
    catch {close $channel}
}

# ---- what processes have used ---------------------------------------------------------

proc contents {path} {
    if {[catch {open $path} file]} {
        return ""
    }
    catch {read $file} text
    close $file
    return $text
}

# Microseconds on a processor, over all threads.
proc cpuOf {pids} {
    set sum 0
    foreach pid $pids {
        foreach task [glob -nocomplain /proc/$pid/task/*] {
            incr sum [expr {[lindex [contents $task/schedstat] 0] / 1000}]
        }
    }
    return $sum
}

proc switchesOf {pids} {
    set sum 0
    foreach pid $pids {
        foreach task [glob -nocomplain /proc/$pid/task/*] {
            foreach {- count} [regexp -all -inline {ctxt_switches:\s+(\d+)} \
                [contents $task/status]] {
                incr sum $count
            }
        }
    }
    return $sum
}

# Kilobytes of each process, shared pages in parts.
proc memoryOf {pids} {
    set sum 0
    foreach pid $pids {
        regexp {Pss:\s+(\d+)} [contents /proc/$pid/smaps_rollup] -> kilobytes
        incr sum $kilobytes
    }
    return [expr {[llength $pids] ? $sum / [llength $pids] : 0}]
}

# ---- a turn ----------------------------------------------------------------------------

proc turn {command workers clients seconds} {
    global built
    lassign [start $command $workers] channel port pids
    set others [lrange $pids 1 end]
    set before [list [cpuOf [lindex $pids 0]] [cpuOf $others] [switchesOf $pids]]
    catch {exec $built/load 127.0.0.1 $port $clients $seconds 2>@stderr} output
    set load [json::json2dict [lindex [split $output \n] 0]]
    set after [list [cpuOf [lindex $pids 0]] [cpuOf $others] [switchesOf $pids]]
    set memory [memoryOf $others]
    stop $channel
    set answered [expr {max(1, [dict get $load answered])}]
    lassign [lmap a $after b $before {expr {double($a - $b) / $answered}}] parent worker switches
    return [dict merge $load [dict create rate [expr {$answered / [dict get $load seconds]}] \
        cpu [expr {$parent + $worker}] parent $parent worker $worker switches $switches \
        memory $memory load [dict get $load cpu] \
        failed [tcl::mathop::+ {*}[dict values [dict get $load errors]]]]]
}

# System calls for each connection.
proc countCalls {command workers clients} {
    global built
    lassign [start $command $workers] channel port pids
    set log [file join $built strace.[pid]]
    set tracer [open |[list strace -c -f -qq -o $log {*}[concat {*}[lmap pid $pids {
        list -p $pid}]] 2>@stderr] r]
    after 500
    catch {exec $built/load 127.0.0.1 $port $clients 1} output
    set answered [dict get [json::json2dict [lindex [split $output \n] 0]] answered]
    exec kill -INT [pid $tracer]
    catch {close $tracer}
    stop $channel
    set text [contents $log]
    file delete $log
    if {![regexp -line {^100\.00\s+\S+\s+\S*\s+(\d+)\s.*total$} $text -> calls]} {
        return "-"
    }
    return [format %.1f [expr {double($calls) / max(1, $answered)}]]
}

# ---- figures ---------------------------------------------------------------------------

proc median {values} {
    return [lindex [lsort -real $values] [expr {[llength $values] / 2}]]
}

proc field {turns name} {
    return [lmap turn $turns {dict get $turn $name}]
}

proc measure {options} {
    set servers [dict filter [dict merge [servers] [dict get $options -add]] script {name -} {
        expr {[dict get $options -servers] eq "all" || $name in [dict get $options -servers]}
    }]
    set cases {}
    foreach clients [dict get $options -clients] {
        foreach workers [dict get $options -workers] {
            lappend cases {*}[measureCase $servers $workers $clients $options]
        }
    }
    return $cases
}

# In turns, so that what else the machine does hits all alike.
proc measureCase {servers workers clients options} {
    set turns [dict create]
    for {set round 1} {$round <= [dict get $options -rounds]} {incr round} {
        dict for {name command} $servers {
            progress "$workers workers, $clients clients, round $round: $name"
            dict lappend turns $name [turn $command $workers $clients [dict get $options -seconds]]
        }
    }
    set calls [dict create]
    if {[dict get $options -syscalls]} {
        dict for {name command} $servers {
            progress "$workers workers, $clients clients, system calls: $name"
            dict set calls $name [countCalls $command $workers $clients]
        }
    }
    progress ""
    set base [dict get $turns [lindex [dict keys $servers] 0]]
    set cases [lmap name [dict keys $servers] {
        summary $name $workers $clients [dict get $turns $name] $base \
            [expr {[dict exists $calls $name] ? [dict get $calls $name] : "-"}]
    }]
    puts [table $cases]
    return $cases
}

proc summary {name workers clients turns base calls} {
    set case [dict create server $name workers $workers clients $clients calls $calls \
        least [tcl::mathfunc::min {*}[field $turns rate]] \
        most [tcl::mathfunc::max {*}[field $turns rate]]]
    foreach key {rate cpu parent worker switches p50 p99 p999 memory load failed} {
        dict set case $key [median [field $turns $key]]
    }
    dict set case rateRatio [expr {[dict get $case rate] / [median [field $base rate]]}]
    dict set case cpuRatio [expr {[dict get $case cpu] / [median [field $base cpu]]}]
    return $case
}

proc progress {text} {
    if {![catch {chan configure stderr -mode}]} {
        puts -nonewline stderr "\r\033\[K$text"
        flush stderr
    }
}

# Title, format, and the key of a case.
set columns {
    {server %-15s server} {workers %7d workers} {clients %7d clients} {conn/s %7.0f rate}
    {ratio %5.2f rateRatio} {us/conn %7.1f cpu} {ratio %5.2f cpuRatio} {parent %6.1f parent}
    {worker %6.1f worker} {switches %8.2f switches} {calls %5s calls} {p50/us %7.0f p50}
    {p99/us %7.0f p99} {p99.9/us %8.0f p999} {kB/worker %9.0f memory} {load %4.2f load}
    {failed %6.0f failed}
}

proc table {cases} {
    set titles [lmap column $::columns {
        lassign $column title form
        format [regsub {\.?\d*[dfs]$} $form s] $title
    }]
    set lines [list [join $titles "  "]]
    foreach case $cases {
        lappend lines [join [lmap column $::columns {
            lassign $column title form key
            format $form [dict get $case $key]
        }] "  "]
    }
    return [join $lines \n]\n
}

proc writeJson {file cases} {
    set rows [lmap case $cases {
        json::write object {*}[concat {*}[lmap {key value} $case {
            list $key [expr {[string is double -strict $value] ? $value :
                [json::write string $value]}]
        }]]
    }]
    set channel [open $file w]
    puts $channel [json::write array {*}$rows]
    close $channel
}

proc parseOptions {words} {
    set options {-workers {1 4 16 64} -clients 32 -rounds 5 -seconds 2 -servers all -add {}
        -syscalls 0 -json {}}
    if {"--help" in $words} {
        puts $::usage
        exit
    }
    if {[llength $words] % 2 != 0 ||
        [catch {dict size [dict merge $options $words]} size] || $size != [dict size $options]} {
        puts stderr $::usage
        exit 2
    }
    return [dict merge $options $words]
}

set options [parseOptions $argv]
build
puts "[clock format [clock seconds] -format %Y-%m-%d], Tcl [info patchlevel],\
    [exec uname -sr], [exec nproc] processors, load [lrange [contents /proc/loadavg] 0 2]"
puts "64-byte line echo: connect, line, line, close; medians of\
    [dict get $options -rounds] turns of [dict get $options -seconds] s\n"
set cases [measure $options]
if {[dict get $options -json] ne ""} {
    writeJson [dict get $options -json] $cases
}
