# socketserver/nearest.tcl --
#
#   "Did you mean": the known name that a wrong one was probably to be. For options,
#   settings, commands and build.tcl's verbs. No I/O, and no other package.

namespace eval socketserver {}

# The name among those that are known that is most like the given one, or nothing.
proc socketserver::Nearest {name known} {
    set best ""
    set most 0.65
    foreach candidate $known {
        set likeness [Likeness [string range $name 0 39] $candidate]
        if {$likeness > $most} {
            set best $candidate
            set most $likeness
        }
    }
    return $best
}

# What to append to a message, with the name in quotes; nothing if none is like it.
proc socketserver::DidYouMean {name known} {
    set nearest [Nearest $name $known]
    return [expr {$nearest eq "" ? "" : "; did you mean \"$nearest\"?"}]
}

# From 0 to 1 for the same: how many letters both have in common, in their order.
proc socketserver::Likeness {a b} {
    set above [lrepeat [expr {[string length $b] + 1}] 0]
    foreach letter [split $a {}] {
        set row 0
        set column 0
        foreach other [split $b {}] {
            lappend row [expr {$letter eq $other ? [lindex $above $column] + 1 :
                max([lindex $row $column], [lindex $above $column+1])}]
            incr column
        }
        set above $row
    }
    return [expr {2.0 * [lindex $above end] / max(1, [string length $a] + [string length $b])}]
}
