# The suites, all that CI runs, and Tcl's own event tests.

# The arguments are those of tests/all.tcl.
proc RunSuites {directory shell arguments {environment {}}} {
    set program [file join $directory tests all.tcl]
    return [CountsOf [Stream [list env {*}$environment {*}$shell $program {*}$arguments]]]
}

proc Suites {pattern {order longest}} {
    Build
    return [RunSuites $::root [list [info nameofexecutable]] [list -order $order $pattern]]
}

verb test {{pattern {}} {order longest}} "?PATTERN? ?ORDER?" \
    "all that CI needs; with a pattern these only (ORDER: random)" {
    if {$pattern ne {}} {
        Conclude test [Suites $pattern $order]
    }
    set counts [Step lint Lint]
    foreach {title script} {
        "suites" {Suites *}
        "suites, portable build" {Portable *}
        "suites, address and undefined behaviour sanitizers" {Sanitize *}
        "suites with threads, sanitizer of threads" {Races {}}
        "core suites, valgrind" {Valgrind {}}
        "fuzz targets, 5 seconds each" {Fuzz 5}
        "suites, Tcl 9" {Tcl9 *}
        "Debian package" DebHere
    } {
        set counts [AddCounts $counts [Step $title $script]]
    }
    Conclude test $counts
}

verb test-tcl-events {{pattern *}} "?PATTERN?" "Tcl's own event tests on our notifier" {
    Build
    set command [list [info nameofexecutable] [file join $::root tests tcl_events.tcl] $pattern]
    Conclude test-tcl-events [CountsOf [Stream $command]]
}
