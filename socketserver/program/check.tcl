# socketserver/program/check.tcl --
#
#   --check: loads the application in a fork server as the pool does, and serves
#   nothing.

namespace eval socketserver::program::check {
    # Set when the fork server is ready or has failed: {} or {message options}.
    variable outcome
}

# Returns the settings with those of the application below them, and the defaults.
proc socketserver::program::check::Effective {settings poolOptions} {
    set defaults [::socketserver::options::Defaults]
    set told [Load [dict merge $defaults $poolOptions]]
    ::socketserver::options::CheckAll [dict merge $defaults $told $poolOptions]
    set all [dict create]
    foreach name [::socketserver::program::settings::Names config] {
        if {[dict exists $settings $name]} {
            dict set all $name [dict get $settings $name]
        } elseif {[dict exists $told -$name]} {
            dict set all $name [list [dict get $told -$name] application]
        } else {
            dict set all $name \
                [list [::socketserver::program::settings::Get $name default] default]
        }
    }
    return $all
}

# Returns the options that the application wants.
proc socketserver::program::check::Load {options} {
    variable outcome
    unset -nocomplain outcome
    set generation [::socketserver::Generation new 1 $options {} {} \
        ::socketserver::program::check::Loaded ::socketserver::program::check::Loaded]
    try {
        while {![info exists outcome]} {
            vwait [namespace current]::outcome
        }
        if {$outcome ne ""} {
            lassign $outcome message failure
            dict set failure -errorcode [LoadCode [dict get $failure -errorcode]]
            return -options [dict merge $failure {-code error -level 1}] $message
        }
        return [$generation appOptions]
    } finally {
        $generation destroy
    }
}

proc socketserver::program::check::Loaded {args} {
    variable outcome $args
}

# As the pool has it.
proc socketserver::program::check::LoadCode {code} {
    set isOwn [expr {[lrange $code 0 1] eq {SOCKETSERVER VALUE} || [lindex $code 0] eq "POSIX"}]
    return [expr {$isOwn ? $code : [list SOCKETSERVER LOAD {*}$code]}]
}

# As a configuration file, with the origin of each setting.
proc socketserver::program::check::Text {settings} {
    set lines {}
    dict for {name entry} $settings {
        lassign $entry value origin
        lappend lines [format "%-40s ;# %s" [list $name $value] $origin]
    }
    return [join $lines \n]
}
