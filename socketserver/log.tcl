# socketserver/log.tcl --
#
#   Where a pool's messages go: to a command, to a service of tcllib's logger, or
#   to standard error.

namespace eval socketserver::log {
    variable levels {debug info notice warn error critical alert emergency}
}

# Whether a message of this level is to be written.
proc socketserver::log::Wanted {level least} {
    variable levels
    return [expr {[lsearch -exact $levels $level] >= [lsearch -exact $levels $least]}]
}

# Lines after the first are indented, so that no text can pass for another message, and
# what a terminal would obey is not there. Part of a message may be a client's.
proc socketserver::log::Shown {message} {
    set text [string map [list \n "\n    "] [string trimright $message \n]]
    return [regsub -all {[\x00-\x08\x0b-\x1f\x7f-\x9f]} $text ?]
}

# A log that fails must not stop the server.
proc socketserver::log::Write {logCmd name level message} {
    if {$logCmd eq ""} {
        catch {puts stderr "$name\[[pid]\]: $level: [Shown $message]"}
        return
    }
    set service [Service $logCmd]
    set words [expr {$service eq "" ? [list {*}$logCmd $level] : [list ${service}::$level]}]
    if {[catch {uplevel #0 [list {*}$words $message]} problem failure]} {
        ::socketserver::Report $problem $failure
    }
}

# The namespace of the logger service that the option names; empty for a command.
proc socketserver::log::Service {logCmd} {
    if {[llength $logCmd] != 1 || [llength [info commands ::logger::services]] == 0} {
        return ""
    }
    set name [regsub {^(::)?logger::tree::} [lindex $logCmd 0] {}]
    return [expr {$name in [logger::services] ? "::logger::tree::$name" : ""}]
}
