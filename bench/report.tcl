#!/usr/bin/env tclsh
# report.tcl --
#
#   Makes a page with tables and charts of the figures that the other programs here
#   wrote as JSON. README.md says more.

source [file join [file dirname [file normalize [info script]]] common.tcl]

set root [file dirname $bench::here]
set usage {usage: tclsh bench/report.tcl ?option value ...?
    -from DIR     where the programs' JSON files are (build/bench)
    -to DIR       where benchmarks.md and the charts go (doc)}
set defaults [list -from [file join $root build bench] -to [file join $root doc]]

# ---- figures ---------------------------------------------------------------------------

# Name of the program -> its JSON, in the order in which they were written.
proc readAll {directory} {
    set files [lsort -command {apply {{a b} {
        expr {[file mtime $a] - [file mtime $b]}
    }}} [glob -nocomplain -directory $directory *.json]]
    if {$files eq ""} {
        error "there are no figures in $directory: run tclsh build.tcl bench full"
    }
    return [dict create {*}[concat {*}[lmap file $files {
        list [file rootname [file tail $file]] [json::json2dict [bench::contents $file]]
    }]]]
}

proc rowsOf {all program table} {
    if {[dict exists $all $program tables $table]} {
        return [dict get $all $program tables $table]
    }
}

# Rows in which these keys have these values.
proc selected {rows args} {
    return [lmap row $rows {
        foreach {key value} $args {
            if {![dict exists $row $key] || [dict get $row $key] ne $value} {
                break
            }
            unset key
        }
        expr {[info exists key] ? [continue] : $row}
    }]
}

# The different values of a key, in the order of the rows.
proc valuesOf {rows key} {
    return [dict keys [dict create {*}[concat {*}[lmap row $rows {list [dict get $row $key] 1}]]]]
}

# ---- tables ----------------------------------------------------------------------------

# Columns of numbers are aligned to the right.
proc markdown {titles forms lines} {
    set rule [lmap form $forms {expr {[string match %*s $form] ? "---" : "---:"}}]
    return [join [lmap line [list $titles $rule {*}$lines] {
        string cat "| " [join [lmap word $line {string map {| \\|} $word}] " | "] " |"
    }] \n]
}

proc markdownOf {columns rows} {
    set keys [lmap column $columns {dict get $column key}]
    set forms [lmap column $columns {dict get $column format}]
    return [markdown [lmap column $columns {dict get $column title}] $forms [lmap row $rows {
        lmap key $keys form $forms {
            bench::cell $form [expr {[dict exists $row $key] ? [dict get $row $key] : "-"}]
        }
    }]]
}

# All that a program printed, except for its goals: {title text} of each table.
proc tablesOf {figures} {
    set taken [dict create]
    set tables {}
    foreach table [dict get $figures shown] {
        set name [dict get $table name]
        set first [expr {[dict exists $taken $name] ? [dict get $taken $name] : 0}]
        dict incr taken $name [dict get $table rows]
        if {$name ne "goals"} {
            set rows [lrange [dict get $figures tables $name] $first [dict get $taken $name]-1]
            lappend tables [dict get $table title] [markdownOf [dict get $table columns] $rows]
        }
    }
    return $tables
}

# One figure of each server, by the number of workers.
proc byWorkers {rows form} {
    set workers [lsort -integer [valuesOf $rows workers]]
    return [markdown [list "workers" {*}$workers] [list %s {*}[lmap - $workers {string cat %f}]] \
        [lmap server [valuesOf $rows server] {
            list $server {*}[lmap number $workers {
                set row [lindex [selected $rows server $server workers $number] 0]
                expr {$row eq "" ? "" : [Filled $form $row]}
            }]
        }]]
}

# {format key ...} with the values of a row.
proc Filled {form row} {
    return [format [lindex $form 0] {*}[lmap key [lrange $form 1 end] {dict get $row $key}]]
}

proc goalsTable {all} {
    set lines {}
    dict for {program figures} $all {
        foreach row [rowsOf $all $program goals] {
            dict with row {
                lappend lines [list $program $goal [format %.2f $measured] $wanted \
                    [expr {$met eq "yes" ? "yes" : "**no**"}] [bench::cell %.2f $raw]]
            }
        }
    }
    return [markdown {program goal measured wanted met "raw C++"} {%s %s %f %s %s %f} $lines]
}

proc goalsText {all} {
    set met [concat {*}[lmap program [dict keys $all] {
        lmap row [rowsOf $all $program goals] {dict get $row met}
    }]]
    return "[llength [lsearch -all $met yes]] of [llength $met] are met."
}

# ---- the page --------------------------------------------------------------------------

# Without where the project is on this machine.
proc Relative {command} {
    return [string map [list [file dirname $bench::here]/ ""] $command]
}

proc conditionsText {figures} {
    dict with figures {
        return "$date, $machine, $processors processors, $system, Tcl $tcl, load average\
            before it $load:\n\n```sh\n[Relative [string trimright $command]]\n```"
    }
}

proc folded {summary text} {
    return "<details><summary>$summary</summary>\n\n$text\n\n</details>"
}

proc connectionsSection {figures} {
    set parts {}
    set rows [dict get $figures tables connections]
    foreach clients [valuesOf $rows clients] {
        set some [selected $rows clients $clients]
        lappend parts "Connections a second, $clients clients at a time, and the ratio to the raw\
            server with the same number of workers:" \
            [byWorkers $some {{%.0f (%.2f)} rate rateRatio}] \
            "Microseconds of the server's processor time for a connection, $clients clients, and\
            the same ratio:" [byWorkers $some {{%.1f (%.2f)} cpu cpuRatio}]
    }
    foreach {title table} [tablesOf $figures] {
        lappend parts [folded $title $table]
    }
    return [join $parts \n\n]
}

proc section {program figures} {
    if {$program eq "connections"} {
        return [connectionsSection $figures]
    }
    set parts {}
    foreach {title table} [tablesOf $figures] {
        lappend parts "[string toupper $title 0 0]:" $table
    }
    return [join $parts \n\n]
}

proc page {all charts} {
    set parts [list "# Benchmarks" \
        "Made by `bench/report.tcl` of the runs that are named below; `tclsh build.tcl bench full`\
        repeats all of them at length. \[bench/README.md\](../bench/README.md) says what each\
        program does, and \[performance.md\](performance.md) where the time goes. Figures of\
        different machines do not compare; the ratios do, more or less." "## Goals" \
        "[goalsText $all] The last column is what raw pass, the server without any script\
        language, reached of the same." \
        [goalsTable $all]]
    dict for {program figures} $all {
        lappend parts "## $program" [conditionsText $figures]
        if {[dict exists $charts $program]} {
            foreach {name title} [dict get $charts $program] {
                lappend parts "!\[$title\]($name.svg)"
            }
        }
        lappend parts [section $program $figures]
    }
    return "[join $parts \n\n]\n"
}

# ---- charts ----------------------------------------------------------------------------

# Server -> {colour line-width dash point}: colours that the colour-blind can tell apart,
# and a dash and a mark of its own for each, so that no colour is needed.
set styles {
    "raw pass"        {#000000 2   1     7}
    "raw pass epoll"  {#7f7f7f 2   2     6}
    "raw pass stream" {#7f7f7f 2   3     4}
    "pool blocking"   {#0072b2 3.5 1     5}
    "pool events"     {#56b4e9 3.5 2     9}
    "select workers"  {#d55e00 2   4     11}
    "Python pass"     {#009e73 2   1     13}
    "Node cluster"    {#cc79a7 2   5     3}
}

# Charts of bars: file, program, table, {key value ...} of the rows that are wanted, key of
# the labels, key of the values, key of the groups or nothing, title, what is measured.
set barCharts {
    {passing passing passing {mode flood} way rate batch
        "Passing descriptors, so many in a message" "descriptors a second"}
    {channels channels bulk {} way rate job "Blocks in one direction" "MB a second"}
    {slow slow slow {} server waited99 load "How long clients wait, some requests being slow"
        "milliseconds, 99th percentile"}
    {idle idle idle {} server memory idle "Connections that do nothing"
        "kB of memory for a connection"}
    {spawn spawn spawn {} way median {} "From the request to the first line of a new process"
        "milliseconds, median"}
    {reload reload reload {} server busy {} "Until new workers serve, with clients"
        "milliseconds, median"}
    {http http http {} server rate connections "HTTP, connections kept, or one for each request"
        "requests a second"}
}

# Of groups of bars: dark and light in turn.
set barColours {#0072b2 #e69f00 #56b4e9 #d55e00 #009e73}

proc quoted {text} {
    return "\"[string map {\\ \\\\ \" \\\"} $text]\""
}

# settings: of gnuplot. series: {title style data} of each, data: lines of x y.
proc plot {path settings series} {
    set blocks {}
    set plots {}
    foreach one $series {
        lassign $one title style lines
        lappend blocks "\$data[llength $blocks] << EOD\n[join $lines \n]\nEOD"
        lappend plots "\$data[llength $plots] $style title [quoted $title]"
    }
    gnuplot "set terminal svg size 900,480 font 'sans-serif,14' background rgb 'white'
set output [quoted $path]
set border 3 linecolor rgb '#606060'
set tics nomirror
set grid ytics linecolor rgb '#dddddd' linewidth 1
set key outside right center Left reverse
[join $blocks \n]
$settings
plot [join $plots {, }]
"
}

proc gnuplot {script} {
    exec gnuplot << $script
}

proc lineStyle {server} {
    lassign [dict get $::styles $server] colour width dash
    return "linecolor rgb '$colour' linewidth $width dashtype $dash"
}

proc pointStyle {server} {
    return "pointtype [lindex [dict get $::styles $server] 3] pointsize 0.8"
}

# {title style data} of each server that has a style.
proc seriesByWorkers {rows key} {
    return [lmap server [dict keys $::styles] {
        set lines [lmap row [selected $rows server $server] {
            list [dict get $row workers] [dict get $row $key]
        }]
        expr {$lines eq "" ? [continue] : [list $server \
            "using 1:2 with linespoints [lineStyle $server] [pointStyle $server]" $lines]}
    }]
}

proc workersAxis {rows} {
    return "set logscale x 2
set xlabel 'worker processes'
set xtics ([join [lsort -integer [valuesOf $rows workers]] {, }])
set xrange \[[tcl::mathfunc::min {*}[valuesOf $rows workers]] / 1.2:\
[tcl::mathfunc::max {*}[valuesOf $rows workers]] * 1.2]"
}

proc cpuChart {path rows} {
    plot $path "[workersAxis $rows]
set logscale y
set yrange \[10:*]
set ytics (10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000)
set ylabel 'microseconds of processor time for a connection'
set title 'What a connection costs the server,\
    [dict get [lindex $rows 0] clients] clients at a time'" \
        [seriesByWorkers $rows cpu]
}

proc rateChart {path rows} {
    plot $path "[workersAxis $rows]
set yrange \[0:*]
set ylabel 'connections a second / those of raw pass'
set title 'Connections a second, [dict get [lindex $rows 0] clients] clients at a time'" \
        [seriesByWorkers $rows rateRatio]
}

# Share of the connections that took longer -> ms, from a histogram {microseconds count ...}.
proc latencies {histogram} {
    set all [tcl::mathop::+ {*}[dict values $histogram]]
    set longer $all
    set lines {}
    foreach {from count} $histogram {
        # The last few are chance.
        if {$longer >= 5} {
            lappend lines [list [expr {double($all) / $longer}] [expr {$from / 1000.0}]]
        }
        incr longer -$count
    }
    return $lines
}

proc latencyChart {path rows} {
    plot $path "set logscale xy
set xlabel 'share of the connections that took no longer'
set xtics ('0' 1, '50 %%' 2, '90 %%' 10, '99 %%' 100, '99.9 %%' 1000, '99.99 %%' 10000)
set ylabel 'milliseconds'
set title 'From connect to end of file, [dict get [lindex $rows 0] workers] workers,\
    [dict get [lindex $rows 0] clients] clients at a time'" \
        [lmap server [dict keys $::styles] {
            set row [lindex [selected $rows server $server] 0]
            if {$row eq ""} {
                continue
            }
            list $server "using 1:2 with lines [lineStyle $server]" \
                [latencies [dict get $row histogram]]
        }]
}

# The bars of one group, x being their distance from the labels' places, and the values
# above them.
proc barSeries {title colour rows labels labelKey valueKey x} {
    set lines [lmap row $rows {
        set value [dict get $row $valueKey]
        list [expr {[lsearch -exact $labels [dict get $row $labelKey]] + $x}] $value \
            [format [expr {$value < 10 ? "%.2f" : "%.0f"}] $value]
    }]
    return [list [list $title "using 1:2 with boxes linecolor rgb '$colour'" $lines] \
        [list "" "using 1:2:3 with labels offset 0,0.7 font ',11'" $lines]]
}

# Values that are far apart get a logarithmic axis.
proc barAxis {values} {
    set least [tcl::mathfunc::min {*}$values]
    set most [tcl::mathfunc::max {*}$values]
    if {$least > 0 && $most > 50 * $least} {
        return "set logscale y\nset yrange \[$least / 3:$most * 3]"
    }
    return "set yrange \[0:$most * 1.1]"
}

# The rows that have a value, in thousands when it is large.
proc barRows {rows valueKey unitName} {
    upvar 1 $unitName unit
    set rows [lmap row $rows {
        expr {[string is double -strict [dict get $row $valueKey]] ? $row : [continue]}
    }]
    if {[tcl::mathfunc::max {*}[lmap row $rows {dict get $row $valueKey}]] < 100000} {
        return $rows
    }
    set unit "thousand $unit"
    return [lmap row $rows {
        dict replace $row $valueKey [expr {[dict get $row $valueKey] / 1000}]
    }]
}

proc barChart {path rows labelKey valueKey groupKey heading unit} {
    set rows [barRows $rows $valueKey unit]
    set labels [valuesOf $rows $labelKey]
    set groups [expr {$groupKey eq "" ? {{}} : [valuesOf $rows $groupKey]}]
    set count [llength $groups]
    set series {}
    for {set i 0} {$i < $count} {incr i} {
        set group [lindex $groups $i]
        set title [expr {[string is double $group] ? "$groupKey $group" : $group}]
        lappend series {*}[barSeries $title \
            [lindex $::barColours [expr {$i % [llength $::barColours]}]] \
            [expr {$groupKey eq "" ? $rows : [selected $rows $groupKey $group]}] \
            $labels $labelKey $valueKey [expr {($i - ($count - 1) / 2.0) * 0.8 / $count}]]
    }
    set ticks [lmap label $labels {string cat [quoted $label] " " [lsearch -exact $labels $label]}]
    plot $path "set boxwidth [expr {0.72 / $count}]
set style fill solid
set xtics ([join $ticks {, }]) rotate by [expr {[llength $labels] > 5 ? -30 : 0}]
set xrange \[-0.6:[expr {[llength $labels] - 0.4}]]
[barAxis [lmap row $rows {dict get $row $valueKey}]]
set ylabel [quoted $unit]
set title [quoted $heading]
[expr {$groupKey eq "" ? "set nokey" : ""}]" $series
}

# Makes the charts for which there are figures: program -> {name title ...}.
proc charts {all directory} {
    set charts [connectionCharts $all $directory]
    foreach chart $::barCharts {
        lassign $chart name program table wanted labelKey valueKey groupKey title unit
        set rows [selected [rowsOf $all $program $table] {*}$wanted]
        if {$rows ne ""} {
            set path [file join $directory $name.svg]
            barChart $path $rows $labelKey $valueKey $groupKey $title $unit
            dict lappend charts $program $name $title
        }
    }
    return $charts
}

proc connectionCharts {all directory} {
    set charts [dict create]
    set rows [rowsOf $all connections connections]
    if {$rows ne ""} {
        set clients [lindex [valuesOf $rows clients] 0]
        set rows [selected $rows clients $clients]
        set most [lindex [lsort -integer [lmap n [valuesOf $rows workers] {
            expr {$n <= 64 ? $n : [continue]}
        }]] end]
        cpuChart [file join $directory connections.svg] $rows
        rateChart [file join $directory rate.svg] $rows
        latencyChart [file join $directory latency.svg] [selected $rows workers $most]
        dict set charts connections {connections "server time for a connection"
            rate "connections a second" latency "latencies"}
    }
    return $charts
}

# ---- the run ---------------------------------------------------------------------------

array set option [bench::options $usage $defaults $argv]
bench::orEnd {
    bench::need gnuplot
    set all [readAll $option(-from)]
    file mkdir $option(-to)
    set charts [charts $all $option(-to)]
    set file [open [file join $option(-to) benchmarks.md] w]
    puts -nonewline $file [page $all $charts]
    close $file
    puts "wrote [file join $option(-to) benchmarks.md]"
}
