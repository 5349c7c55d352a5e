#!/usr/bin/env tclsh
# run.tcl: too many clients and hostile ones, see scenarios.tcl and doc/reliability.md.
#
#   tclsh tests/limits/run.tcl ?NAME?
#
# All scenarios, or that one. The last line is "N passed, M failed": of the promises.

source [file join [file dirname [file normalize [info script]]] scenarios.tcl]

set scenarios {held offered slowloris persource flood}

proc run {name} {
    set began [clock milliseconds]
    set before [llength $bench::goals]
    set failed [catch {limits::$name} message failure]
    if {$failed} {
        puts stderr [dict get $failure -errorinfo]
    }
    puts [format "%-10s %3d promises looked at, %.0f s%s" $name \
        [expr {[llength $bench::goals] - $before}] \
        [expr {([clock milliseconds] - $began) / 1000.0}] [expr {$failed ? ", failed" : ""}]]
    flush stdout
    return $failed
}

if {[llength $argv] > 1 || [llength $argv] == 1 && [lindex $argv 0] ni $scenarios} {
    puts stderr "usage: run.tcl ?[join $scenarios |]?"
    exit 2
}
set failed 0
foreach name [expr {$argv eq "" ? $scenarios : $argv}] {
    incr failed [run $name]
}
limits::showSeen
limits::showFates
bench::ShowGoals
set broken [lsearch -all -exact [lmap goal $bench::goals {dict get $goal met}] no]
puts "\n[expr {[llength $bench::goals] - [llength $broken]}] passed,\
    [expr {[llength $broken] + $failed}] failed"
exit [expr {[llength $broken] + $failed > 0}]
