# Measurements.

# The most important first.
proc Benches {} {
    set order {connections passing channels slow idle spawn reload http}
    set others [lmap file [lsort [glob -directory [file join $::root bench] *.tcl]] {
        set name [file rootname [file tail $file]]
        expr {$name in {common report} || $name in $order ? [continue] : $name}
    }]
    return [concat [lmap name $order {
        expr {[file exists [file join $::root bench $name.tcl]] ? $name : [continue]}
    }] $others]
}

# Runs a program, which writes its figures to build/bench/NAME.json.
proc Measure {name args} {
    set figures [file join $::root build bench $name.json]
    file mkdir [file dirname $figures]
    BenchProgram $name -json $figures {*}$args
}

proc BenchProgram {name args} {
    set program [file join $::root bench $name.tcl]
    if {[catch {
        exec [info nameofexecutable] $program {*}$args >@stdout 2>@stderr </dev/null
    }]} {
        Fail "bench/$name.tcl failed"
    }
}

# All of them, one after the other; `full` makes doc/benchmarks.md of it.
proc Bench {how} {
    file delete {*}[glob -nocomplain -directory [file join $::root build bench] *.json]
    set counts [Counts 0 0 0]
    foreach name [Benches] {
        set counts [AddCounts $counts [Step $name {
            Measure $name {*}[expr {$how eq "quick" ? {-quick 1} : {}}]
            Counts 1 0 0
        }]]
    }
    if {$how eq "full"} {
        set counts [AddCounts $counts [Step report {
            BenchProgram report
            Counts 1 0 0
        }]]
    }
    return $counts
}

verb bench args "?WHICH OPTIONS?" "measures: quick, full, or one program, see bench/README.md" {
    set arguments [lassign [expr {$args eq {} ? "quick" : $args}] which]
    set known [list quick full {*}[Benches]]
    if {$which ni $known} {
        Misuse "there is no bench \"$which\": it is quick, full, or one of [join [Benches] {, }][
            socketserver::DidYouMean $which $known]"
    }
    if {$which in {quick full} && $arguments ne {}} {
        Misuse "\"$which\" takes no options; a single program does"
    }
    if {$which eq "full" && [auto_execok gnuplot] eq {}} {
        Fail "there is no gnuplot here: ./bootstrap bench full installs what is needed"
    }
    Build
    if {$which in {quick full}} {
        Conclude bench [Bench $which]
    }
    Measure $which {*}$arguments
}
