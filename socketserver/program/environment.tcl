# socketserver/program/environment.tcl --
#
#   Settings from the environment: SOCKETSERVER_WORKERS=4. No I/O.

namespace eval socketserver::program::environment {
    variable prefix SOCKETSERVER_
}

# Returns {layer warnings}. An empty value is none.
proc socketserver::program::environment::Read {variables} {
    variable prefix
    set layer [dict create]
    set warnings {}
    foreach variable [lsort [dict keys $variables $prefix*]] {
        set name [string tolower [string range $variable [string length $prefix] end]]
        set isUpper [expr {$variable eq [string toupper $variable]}]
        if {$variable eq $::socketserver::takeoverVariable} {
            continue
        } elseif {!$isUpper || ![::socketserver::program::settings::IsKnown $name environment]} {
            lappend warnings [Unknown $variable $name]
        } elseif {[dict get $variables $variable] ne ""} {
            set layer [::socketserver::program::settings::Put $layer $name \
                [dict get $variables $variable] $variable]
        }
    }
    return [list $layer $warnings]
}

proc socketserver::program::environment::Unknown {variable name} {
    variable prefix
    set message "unknown environment variable $variable"
    set nearest [::socketserver::Nearest $name \
        [::socketserver::program::settings::Names environment]]
    if {$nearest ne ""} {
        append message ": did you mean $prefix[string toupper $nearest]?"
    }
    return $message
}
