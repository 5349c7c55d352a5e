# Mixed traffic for long, and what must not grow meanwhile.

verb soak {{minutes 30}} "?MINUTES?" "mixed traffic for so long; fails on growth, see\
    doc/reliability.md" {
    if {![string is double -strict $minutes] || $minutes <= 0} {
        Fail "\"$minutes\" is no number of minutes"
    }
    Tool python3
    Build
    set program [file join $::root tests soak soak.tcl]
    if {[catch {
        exec [info nameofexecutable] $program -seconds [expr {60 * $minutes}] \
            >@stdout 2>@stderr </dev/null
    }]} {
        Fail "see above, and build/soak/"
    }
}
