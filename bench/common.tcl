# common.tcl --
#
#   What the measurements here have in common: options, turns, figures, tables,
#   goals, JSON. Each program sources this file, and runs its part with `bench::run`.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require json
package require json::write

namespace eval bench {
    variable here [file dirname [file normalize [info script]]]
    # Programs in C++ are built into this.
    variable built [file join [file dirname $here] build bench]
    # {title goal value met} of each `goal`
    variable goals {}
    # name -> rows of each `show`
    variable tables [dict create]
    # {name title columns rows} of each `show`
    variable shown {}
}

source [file join [file dirname $bench::here] socketserver nearest.tcl]

# ---- running -------------------------------------------------------------------------

# bench::run usage defaults script --
#
#   Runs script in ::, with the array ::option: defaults, changed by those of the
#   command line. -json FILE and --help are options of each program. Ends the
#   process with 1 after an error (BENCH_DEBUG in the environment tells where), and
#   with 2 after a bad option.

proc bench::run {usage defaults script} {
    append usage "\n    -json FILE    writes the figures to FILE as well"
    array set ::option [options $usage [dict merge $defaults {-json {}}] $::argv]
    variable conditions [Conditions]
    dict with conditions {
        puts "$date, Tcl $tcl, $system, $processors processors, load $load"
    }
    orEnd {
        uplevel #0 $script
        ShowGoals
        if {$::option(-json) ne ""} {
            WriteJson $::option(-json)
        }
    }
}

# bench::orEnd script -- runs it; after an error says so, and ends the process with 1.

proc bench::orEnd {script} {
    try {
        uplevel 1 $script
    } on error {message failure} {
        progress ""
        puts stderr "[file tail $::argv0]: $message"
        if {[info exists ::env(BENCH_DEBUG)]} {
            puts stderr [dict get $failure -errorinfo]
        }
        exit 1
    }
}

# bench::options usage defaults arguments -- the defaults, changed by the arguments.

proc bench::options {usage defaults arguments} {
    append usage "\n    --help        shows this" \
        "\n    --version     shows the version of the packages"
    if {"--help" in $arguments} {
        puts $usage
        exit 0
    }
    if {"--version" in $arguments} {
        puts "[file tail $::argv0], unix_sockets [package require unix_sockets]"
        exit 0
    }
    if {[llength $arguments] % 2 != 0} {
        puts stderr "value of [lindex $arguments end] missing\n$usage"
        exit 2
    }
    dict for {name value} $arguments {
        if {![dict exists $defaults $name]} {
            puts stderr "unknown option $name[socketserver::DidYouMean $name \
                [dict keys $defaults]]\n$usage"
            exit 2
        }
    }
    return [dict merge $defaults $arguments]
}

proc bench::Conditions {} {
    return [dict create date [clock format [clock seconds] -format %Y-%m-%d] \
        tcl [info patchlevel] system "$::tcl_platform(os) $::tcl_platform(osVersion)" \
        processors [exec getconf _NPROCESSORS_ONLN] machine [Machine] \
        load [lrange [contents /proc/loadavg] 0 2] \
        command "tclsh bench/[file tail $::argv0] $::argv"]
}

proc bench::Machine {} {
    if {![regexp -line {^model name\s*: (.*)$} [contents /proc/cpuinfo] -> model]} {
        return $::tcl_platform(machine)
    }
    return $model
}

proc bench::has {tool} {
    return [expr {[auto_execok $tool] ne ""}]
}

# bench::addIfHas waysName name tool value -- a way that needs a tool; without it that is said.

proc bench::addIfHas {waysName name tool value} {
    upvar 1 $waysName ways
    if {[has $tool]} {
        dict set ways $name $value
    } else {
        puts "no rows for $name: there is no $tool here"
    }
}

# Ends the run with a reason when a tool that it needs is not there.
proc bench::need {tool} {
    if {![has $tool]} {
        error "there is no $tool here: ./bootstrap bench installs what is needed"
    }
}

# What is being done, on a terminal.
proc bench::progress {text} {
    if {![catch {chan configure stderr -mode}]} {
        puts -nonewline stderr "\r\033\[K$text"
        flush stderr
    }
}

# bench::turns ways rounds script --
#
#   Runs script, with the variable `way` set to each way in turn, so many rounds,
#   each round in another order: what else the machine does hits all alike. Returns
#   way -> list of the results.

proc bench::turns {ways rounds script} {
    upvar 1 way way
    set results [dict create]
    for {set round 0} {$round < $rounds} {incr round} {
        set first [expr {$round % [llength $ways]}]
        foreach way [list {*}[lrange $ways $first end] {*}[lrange $ways 0 $first-1]] {
            progress "round [expr {$round + 1}] of $rounds: $way"
            dict lappend results $way [uplevel 1 $script]
        }
    }
    progress ""
    return $results
}

# ---- programs and processes ------------------------------------------------------------

# bench::program name ?flag ...? -- the path of programs/NAME.cpp, compiled.

proc bench::program {name args} {
    variable here
    return [compiled [file join $here programs $name.cpp] {*}$args]
}

# bench::compiled source ?flag ...? -- the same for a source elsewhere, which may use the
# headers here. Others may be at it, too: the program appears complete.

proc bench::compiled {source args} {
    variable here
    variable built
    file mkdir $built
    set target [file join $built [file rootname [file tail $source]]]
    set changed [lmap file [list $source {*}[glob -nocomplain -directory $here programs/*.h]] {
        file mtime $file
    }]
    if {![file exists $target] || [file mtime $target] < [tcl::mathfunc::max {*}$changed]} {
        need g++
        exec g++ -O2 -std=c++17 -Wall -Wextra -I[file join $here programs] {*}$args \
            -o $target.[pid] $source
        file rename -force $target.[pid] $target
    }
    return $target
}

proc bench::server {name} {
    variable here
    return [file join $here servers $name]
}

# bench::start command -- starts a server, which says "ready WORD ...". Returns its
# channel and the words; it ends when the channel is closed, see bench::stop.

proc bench::start {command} {
    set channel [open |[list {*}$command 2>@stderr] r+]
    if {[gets $channel line] < 0 || [lindex $line 0] ne "ready"} {
        catch {close $channel}
        error "couldn't start \"$command\": it said \"$line\""
    }
    return [list $channel {*}[lrange $line 1 end]]
}

proc bench::stop {channel} {
    catch {close $channel}
}

# All there is in a file of /proc, empty once the process has gone.
proc bench::contents {path} {
    if {[catch {open $path} file]} {
        return ""
    }
    set text ""
    catch {set text [read $file]}
    close $file
    return $text
}

# Microseconds on a processor, over all threads.
proc bench::cpuOf {pids} {
    set sum 0
    foreach pid $pids {
        foreach task [glob -nocomplain /proc/$pid/task/*] {
            set nanoseconds [lindex [contents $task/schedstat] 0]
            if {$nanoseconds ne ""} {
                incr sum [expr {$nanoseconds / 1000}]
            }
        }
    }
    return $sum
}

# Kilobytes of all, shared pages in parts.
proc bench::memoryOf {pids} {
    set sum 0
    foreach pid $pids {
        if {[regexp {Pss:\s+(\d+)} [contents /proc/$pid/smaps_rollup] -> kilobytes]} {
            incr sum $kilobytes
        }
    }
    return $sum
}

# ---- figures ---------------------------------------------------------------------------

# bench::quantile values share -- 0.5 for the median.

proc bench::quantile {values share} {
    set sorted [lsort -real $values]
    return [lindex $sorted [expr {int($share * ([llength $sorted] - 1) + 0.5)}]]
}

proc bench::median {values} {
    return [quantile $values 0.5]
}

# bench::summary turns base -- rate and cpu of turns, and the ratio of rates to those of
# base in the same round.

proc bench::summary {turns base} {
    set rates [lmap turn $turns {dict get $turn rate}]
    return [dict create rate [median $rates] \
        min [tcl::mathfunc::min {*}$rates] max [tcl::mathfunc::max {*}$rates] \
        ratio [median [lmap rate $rates turn $base {expr {$rate / [dict get $turn rate]}}]] \
        cpu [median [lmap turn $turns {dict get $turn cpu}]]]
}

# bench::show name title columns rows --
#
#   Prints rows, which are dictionaries, as a table, and keeps them for -json under
#   name. columns: {title format key} of each; a value that is no number is shown
#   as it is.

proc bench::show {name title columns rows} {
    variable tables
    puts "\n$title\n"
    set lines [list [lmap column $columns {lindex $column 0}]]
    foreach row $rows {
        lappend lines [lmap column $columns {
            lassign $column - form key
            cell $form [expr {[dict exists $row $key] ? [dict get $row $key] : "-"}]
        }]
    }
    set widths [lmap column $columns {expr 0}]
    foreach line $lines {
        set widths [lmap width $widths word $line {expr {max($width, [string length $word])}}]
    }
    foreach line $lines {
        set cells [lmap width $widths word $line column $columns {
            format [expr {[string match %*s [lindex $column 1]] ? "%-*s" : "%*s"}] $width $word
        }]
        puts [string trimright [join $cells "  "]]
    }
    dict lappend tables $name {*}$rows
    variable shown
    lappend shown [list $name $title $columns $rows]
}

# bench::cell format value -- as it stands in a table.

proc bench::cell {form value} {
    # No `expr`: it would make 1.0 of 1.00.
    if {[string match %*s $form] || ![string is double -strict $value]} {
        return $value
    }
    return [format $form $value]
}

# bench::goal text value comparison wanted --
#
#   Something that this measurement is to show: value is to be `>=` or `<=` wanted. What
#   the same is without any script language, where that is known: nobody can do better.

proc bench::goal {text value comparison wanted {raw -}} {
    variable goals
    set met [expr {$comparison eq ">=" ? $value >= $wanted : $value <= $wanted}]
    lappend goals [dict create goal $text measured $value wanted "$comparison $wanted" \
        met [expr {$met ? "yes" : "no"}] raw $raw]
}

proc bench::ShowGoals {} {
    variable goals
    if {[llength $goals] > 0} {
        show goals "goals" {{goal %s goal} {measured %.2f measured} {wanted %s wanted}
            {met %s met} {"raw C++" %.2f raw}} $goals
    }
}

# The conditions, "tables": name -> rows, and "shown": the same as it was printed, name,
# title, columns, and number of rows.
proc bench::WriteJson {path} {
    variable conditions
    variable tables
    variable shown
    set file [open $path w]
    puts $file [json::write object {*}[Strings $conditions] \
        tables [json::write object {*}[dict map {name rows} $tables {
            json::write array {*}[lmap row $rows {json::write object {*}[Values $row]}]
        }]] \
        shown [json::write array {*}[lmap table $shown {
            lassign $table name title columns rows
            json::write object {*}[Strings [dict create name $name title $title]] \
                rows [llength $rows] columns [json::write array {*}[lmap column $columns {
                    lassign $column heading form key
                    json::write object {*}[Strings \
                        [dict create title $heading format $form key $key]]
                }]]
        }]]]
    close $file
}

# Numbers remain numbers.
proc bench::Values {row} {
    return [dict map {key value} $row {
        expr {[string is double -strict $value] ? $value : [json::write string $value]}
    }]
}

proc bench::Strings {values} {
    return [dict map {name value} $values {json::write string $value}]
}
