# socketserver/program/settings.tcl --
#
#   What may be set: the options of the pool, and those of the program itself.
#   A layer is a dict: name (without a dash) -> {value origin}, where the origin
#   is for a reader: "--workers", "app.conf:3", "SOCKETSERVER_WORKERS". No I/O.

namespace eval socketserver::program::settings {
    # name -> {kind K default D argument A group G summary S places P}
    #   places    where it may be set: flag, config, environment
    # The fields are those of socketserver::options::table, whose rows come first.
    variable table [dict create]
}

# ---- questions -------------------------------------------------------------------

proc socketserver::program::settings::Names {{place flag}} {
    variable table
    return [dict keys [dict filter $table script {name row} {
        expr {$place in [dict get $row places]}
    }]]
}

proc socketserver::program::settings::Get {name field} {
    variable table
    return [dict get $table $name $field]
}

proc socketserver::program::settings::IsKnown {name place} {
    variable table
    return [expr {[dict exists $table $name] && $place in [dict get $table $name places]}]
}

proc socketserver::program::settings::IsBoolean {name} {
    return [expr {[Get $name kind] eq "bool"}]
}

# Several values of it come together.
proc socketserver::program::settings::IsMany {name} {
    return [expr {[Get $name kind] eq "endpoints"}]
}

proc socketserver::program::settings::IsOfPool {name} {
    return [expr {"-$name" in [::socketserver::options::Names]}]
}

proc socketserver::program::settings::Groups {} {
    variable table
    set groups [dict create]
    dict for {name row} $table {
        dict lappend groups [dict get $row group] $name
    }
    return $groups
}

# ---- values ----------------------------------------------------------------------

# The normal form of a value; an error calls the setting by this label.
proc socketserver::program::settings::Check {name value label} {
    set arguments [lassign [Get $name kind] kind]
    try {
        return [::socketserver::options::kind::$kind {*}$arguments $value]
    } trap {SOCKETSERVER KIND} {mustBe} {
        throw [list SOCKETSERVER VALUE -$name $value] \
            "bad value \"$value\" for $label: must be $mustBe"
    }
}

# Adds a value to a layer.
proc socketserver::program::settings::Put {layer name value origin {label ""}} {
    set value [Check $name $value [expr {$label eq "" ? $origin : $label}]]
    if {[IsMany $name] && [dict exists $layer $name]} {
        set value [list {*}[Value $layer $name] {*}$value]
    }
    dict set layer $name [list $value $origin]
    return $layer
}

proc socketserver::program::settings::Value {layer name} {
    if {![dict exists $layer $name]} {
        return [Get $name default]
    }
    return [lindex [dict get $layer $name] 0]
}

# What the pool is to be given: -option value ...
proc socketserver::program::settings::PoolOptions {layer} {
    set options [dict create]
    dict for {name entry} $layer {
        if {[IsOfPool $name]} {
            dict set options -$name [lindex $entry 0]
        }
    }
    return $options
}

# ---- the table -------------------------------------------------------------------

proc socketserver::program::settings::own {name kind argument places summary} {
    variable table
    set default [expr {$kind eq "bool" ? 0 : ""}]
    dict set table $name [dict create kind $kind default $default argument $argument \
        group "The program" summary $summary places $places]
}

namespace eval socketserver::program::settings {
    foreach name [::socketserver::options::Names] {
        set row [dict create places {flag config environment}]
        foreach field {kind default argument group summary} {
            dict set row $field [::socketserver::options::Get $name $field]
        }
        dict set table [string range $name 1 end] $row
    }
    unset name row field

    set everywhere {flag config environment}
    own config text file {flag environment} "read this configuration file"
    own app text {file ?args?} {config environment} \
        "the application, when the command line does not name it"
    own check bool {} flag \
        "check the options and load the application, but serve nothing; with -v show all options"
    own daemon bool bool $everywhere "run in the background; returns when the workers are ready"
    own pidfile text file $everywhere "write the process id to this file, and hold it locked"
    own logfile text file $everywhere "append the log to this file instead of writing it to stderr"
    own syslog bool bool $everywhere "log to the system's log, facility daemon"
    own chdir text dir $everywhere \
        "change to this directory first: other relative paths are from there"
    own verbose bool {} flag \
        "log information as well (--loglevel info); -vv: debug"
    own quiet bool {} flag "log errors only (--loglevel error)"
    own version bool {} flag "print the version"
    own help bool {} flag "print this text"
    unset everywhere
}
