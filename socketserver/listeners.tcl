# socketserver/listeners.tcl --
#
#   Opens the endpoints of a pool: those of unix_sockets::listener, and fd:NAME for
#   the sockets that systemd passes under a name.

namespace eval socketserver::listeners {
    # What systemd has passed: name -> descriptors. Known after the first question.
    variable passed
}

# Returns the channels that an endpoint stands for.
proc socketserver::listeners::Open {endpoint options} {
    variable passed
    set flags [list -backlog [dict get $options -backlog]]
    if {[regexp {^fd:([^0-9].*)$} $endpoint -> name]} {
        set descriptors [Descriptors $name]
        dict set passed $name {} ;# those channels' now
        return [lmap fd $descriptors {unix_sockets::listener {*}$flags fd:$fd}]
    }
    if {[IsUnix $endpoint]} {
        lappend flags -replace stale
        if {[dict get $options -permissions] ne ""} {
            lappend flags -permissions [dict get $options -permissions]
        }
    }
    return [list [unix_sockets::listener {*}$flags -- $endpoint]]
}

proc socketserver::listeners::IsUnix {endpoint} {
    return [regexp {^unix:|^@|^[^:]*/} $endpoint]
}

# See sd_listen_fds(3): descriptors from 3 on, for the process named only.
proc socketserver::listeners::Descriptors {name} {
    variable passed
    if {![info exists passed]} {
        set passed [Passed]
    }
    if {![dict exists $passed $name]} {
        throw [list SOCKETSERVER NOFD $name] "couldn't listen on \"fd:$name\": systemd has\
            passed [expr {[dict size $passed] ? [join [dict keys $passed] {, }] : "no socket"}]"
    }
    if {[llength [dict get $passed $name]] == 0} {
        throw [list SOCKETSERVER NOFD $name] "couldn't listen on \"fd:$name\": what systemd\
            has passed was used before"
    }
    return [dict get $passed $name]
}

proc socketserver::listeners::Passed {} {
    global env
    set passed [dict create]
    if {![info exists env(LISTEN_PID)] || $env(LISTEN_PID) ne [pid] ||
        ![info exists env(LISTEN_FDS)] || ![string is integer -strict $env(LISTEN_FDS)]} {
        return $passed
    }
    set names [expr {[info exists env(LISTEN_FDNAMES)] ? [split $env(LISTEN_FDNAMES) :] : ""}]
    for {set i 0} {$i < $env(LISTEN_FDS)} {incr i} {
        set name [lindex $names $i]
        dict lappend passed [expr {$name eq "" ? "unknown" : $name}] [expr {3 + $i}]
    }
    # Not for the programs that this one starts.
    unset -nocomplain env(LISTEN_PID) env(LISTEN_FDS) env(LISTEN_FDNAMES)
    return $passed
}
