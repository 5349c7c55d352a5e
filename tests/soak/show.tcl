# What the soak tells: progress, tables, a file of all samples, and a chart.

package require json::write

namespace eval soak {
    variable toldAt 0
    # Kind -> {title colour dash}: as in bench/report.tcl, no colour is needed.
    variable styles {
        parent        {"parent" #000000 1}
        "fork server" {"fork servers" #7f7f7f 2}
        steady        {"workers, steady" #0072b2 1}
        events        {"workers, events" #56b4e9 4}
        web           {"workers, renewed" #d55e00 1}
        each          {"one for each connection" #e69f00 2}
        jobs          {"fork server of jobs" #009e73 1}
        job           {"spare job" #cc79a7 3}
    }
}

# On a terminal a line that changes, else a line a minute.
proc soak::Progress {sample} {
    variable toldAt
    variable option
    set text [format "%.1f of %.1f min: %s" [expr {[dict get $sample time] / 60}] \
        [expr {$option(-seconds) / 60.0}] [Condition $sample]]
    if {![catch {chan configure stdout -mode}]} {
        puts -nonewline "\r\033\[K$text"
    } elseif {[clock seconds] - $toldAt >= 60} {
        set toldAt [clock seconds]
        puts $text
    }
    flush stdout
}

proc soak::Condition {sample} {
    variable counts
    variable findings
    set condition "[tcl::mathop::+ {*}[dict values $counts]] connections,\
        [total $sample count] processes, [total $sample fds] descriptors,\
        [format %.1f [expr {[total $sample pss] / 1024.0}]] MB"
    if {[dict exists $sample p50]} {
        append condition [format ", p50 %.1f ms, p99 %.1f ms" [dict get $sample p50] \
            [dict get $sample p99]]
    }
    set problems [llength [concat {*}[dict values $findings]]]
    return "$condition, $problems problems"
}

# Of all kinds of processes.
proc soak::total {sample what} {
    set sum 0
    dict for {kind size} [dict get $sample kinds] {
        incr sum [dict get $size $what]
    }
    return $sum
}

# Prints and writes all; returns how many kinds of checks have failed.
proc soak::Conclude {} {
    variable option
    variable samples
    variable findings
    puts "\n\n[TrafficTable]\n\n[SizesTable]\n"
    if {![isLong $samples]} {
        puts "too short to tell whether memory grows: that takes 10 minutes"
    }
    Write [file join $option(-out) soak.json] [Json]
    if {[auto_execok gnuplot] eq ""} {
        puts "no chart: there is no gnuplot here"
    } elseif {[llength $samples] > 0} {
        Chart [file join $option(-out) soak.svg]
        puts "wrote soak.json and soak.svg in $option(-out)"
    }
    set failed 0
    dict for {check texts} $findings {
        foreach text $texts {
            puts "$check: $text"
        }
        incr failed [expr {$texts ne ""}]
    }
    puts "[expr {[dict size $findings] - $failed}] passed, $failed failed"
    return $failed
}

proc soak::Write {path text} {
    set file [open $path w]
    puts $file $text
    close $file
}

proc soak::TrafficTable {} {
    variable counts
    variable operationsDone
    variable lastState
    set lines [list "| traffic | ended as | connections |" "|---|---|---:|"]
    foreach {key count} [lsort -stride 2 $counts] {
        lappend lines "| [lindex $key 0] | [lindex $key 1] | $count |"
    }
    if {[info exists lastState]} {
        lappend lines "| jobs | done | [dict get $lastState jobs done] |" \
            "| operations | done | $operationsDone |"
        dict for {name stats} [dict get $lastState pools] {
            lappend lines "| pool $name | workers: [join [dict get $stats exits]] |\
                [dict get $stats served] |"
        }
    }
    return [join $lines \n]
}

proc soak::SizesTable {} {
    variable samples
    variable kinds
    set quiet [lmap sample $samples {
        expr {[dict get $sample quiet] ? [dict get $sample kinds] : [continue]}
    }]
    set lines [list "| at rest, [llength $quiet] times | processes | descriptors |\
        kB each, second quarter | last quarter |" "|---|---:|---:|---:|---:|"]
    foreach kind $kinds {
        set sizes [lmap all $quiet {
            expr {[dict exists $all $kind] ? [dict get $all $kind] : [continue]}
        }]
        if {$sizes ne ""} {
            lassign [quarters [memoryOf $sizes]] before after
            lappend lines "| $kind | [dict get [lindex $sizes end] count] |\
                [dict get [lindex $sizes end] fds] | $before | $after |"
        }
    }
    return [join $lines \n]
}

proc soak::Json {} {
    variable samples
    variable option
    return [json::write object seconds $option(-seconds) pace $option(-pace) \
        tcl [json::write string [info patchlevel]] samples [json::write array {*}[lmap \
        sample $samples {
            json::write object {*}[dict replace $sample kinds [json::write object {*}[dict map \
                {kind size} [dict get $sample kinds] {json::write object {*}$size}]]]
        }]]]
}

# ---- the chart -----------------------------------------------------------------------

proc soak::Chart {path} {
    variable samples
    set ends "\[0:[expr {[dict get [lindex $samples end] time] / 60.0}]]"
    exec gnuplot << "set terminal svg size 900,1150 font 'sans-serif,14' background rgb 'white'
set output '$path'
set border 3 linecolor rgb '#606060'
set tics nomirror
set grid ytics linecolor rgb '#dddddd' linewidth 1
set key at screen 0.73, graph 1 left top Left reverse
set lmargin at screen 0.12
set rmargin at screen 0.71
set xrange $ends
set multiplot layout 4,1
set ylabel 'MB'
set yrange \[0:*]
set title 'Memory of a process (RSS), at rest'
[Plot [MemorySeries]]
set title 'Memory of all together (PSS)'
[Plot [SumSeries pss 1024.0 "#009e73"]]
set title 'Descriptors and processes'
set ylabel 'number'
[Plot [list {*}[SumSeries fds 1 "#0072b2"] {*}[SumSeries count 1 "#d55e00"]]]
set title 'Ordinary requests, from connect to end of file'
set ylabel 'milliseconds'
set xlabel 'minutes'
set logscale y
set yrange \[*:*]
[Plot [LatencySeries]]
unset multiplot
"
}

# {title style {{x y} ...}} of each. Gnuplot refuses a plot without a point: a run that was
# short, or slow, may have none.
proc soak::Plot {series} {
    variable blocks
    set definitions {}
    set plots {}
    foreach one $series {
        lassign $one title style points
        if {$points eq ""} {
            continue
        }
        set name "\$points[incr blocks]"
        append definitions "$name << EOD\n[join $points \n]\nEOD\n"
        lappend plots "$name using 1:2 with $style title '$title'"
    }
    return [expr {$plots eq "" ? "set multiplot next" : "${definitions}plot [join $plots {, }]"}]
}

# {minutes value} of samples at rest or under load that have this.
proc soak::Points {quiet valueCmd} {
    variable samples
    set points {}
    foreach sample $samples {
        if {[dict get $sample quiet] == $quiet && [set value [{*}$valueCmd $sample]] ne ""} {
            lappend points [list [expr {[dict get $sample time] / 60.0}] $value]
        }
    }
    return $points
}

proc soak::MemorySeries {} {
    variable styles
    set series {}
    dict for {kind style} $styles {
        lassign $style title colour dash
        lappend series [list $title "lines linecolor rgb '$colour' linewidth 2 dashtype $dash" \
            [Points 1 [list apply {{kind sample} {
                if {[dict exists $sample kinds $kind]} {
                    return [expr {[soak::memoryOf [list [dict get $sample kinds $kind]]] / 1024.0}]
                }
            }} $kind]]]
    }
    return $series
}

# Of all processes, under load and at rest.
proc soak::SumSeries {what unit colour} {
    set names {pss "memory" fds "descriptors" count "processes"}
    return [lmap {quiet title style} {
        0 "%s under load" "lines linecolor rgb '%s' linewidth 1 dashtype 2"
        1 "%s at rest" "linespoints linecolor rgb '%s' linewidth 2 pointtype 7 pointsize 0.4"
    } {
        list [format $title [dict get $names $what]] [format $style $colour] \
            [Points $quiet [list apply {{what unit sample} {
                expr {[soak::total $sample $what] / $unit}
            }} $what $unit]]
    }]
}

proc soak::LatencySeries {} {
    return [lmap {key title style} {
        p50 "half of them" "linecolor rgb '#0072b2' linewidth 2"
        p99 "99 of 100" "linecolor rgb '#d55e00' linewidth 1"
    } {
        list $title "lines $style" [Points 0 [list apply {{key sample} {
            expr {[dict exists $sample $key] ? [dict get $sample $key] : ""}
        }} $key]]
    }]
}
