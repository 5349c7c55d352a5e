# socketserver/program/flags.tcl --
#
#   The command line: --name value, --name=value or -name value for each setting.
#   Turns words into a layer of settings. No I/O.

namespace eval socketserver::program::flags {
    # Short forms. Each -v more shows more.
    variable short {
        v   {verbose 1}
        vv  {verbose 1 loglevel debug}
        q   {quiet 1}
        h   {help 1}
        ?   {help 1}
    }
    # What other flags mean besides what they are.
    variable implied {
        verbose {loglevel info}
        quiet   {loglevel error}
    }
}

# Returns {layer words}: the words are the application and its arguments.
proc socketserver::program::flags::Parse {words} {
    set layer [dict create]
    while {[set found [cmdline::getKnownOpt words [Declared $words] name value]]} {
        switch -- $found {
            1  {set layer [Note $layer $name $value]}
            -1 {Unknown $name}
            -2 {
                throw {SOCKETSERVER USAGE} "value missing: --$name\
                    [::socketserver::program::settings::Get $name argument]"
            }
        }
    }
    return [list $layer $words]
}

# What cmdline is to know, for the next word. A boolean needs no value, but may
# have one after "=".
proc socketserver::program::flags::Declared {words} {
    variable short
    set hasValue [expr {[string first = [lindex $words 0]] >= 0}]
    set declared [dict keys $short]
    foreach name [::socketserver::program::settings::Names flag] {
        set isAlone [expr {[::socketserver::program::settings::IsBoolean $name] && !$hasValue}]
        lappend declared [expr {$isAlone ? $name : "$name.arg"}]
    }
    return $declared
}

proc socketserver::program::flags::Note {layer name value} {
    variable short
    variable implied
    set pairs [list $name $value]
    set label --$name
    if {[dict exists $short $name]} {
        set pairs [dict get $short $name]
        set label -$name
    }
    foreach {each value} $pairs {
        set layer [::socketserver::program::settings::Put $layer $each $value $label]
        if {[dict exists $implied $each] && [::socketserver::program::settings::Value $layer $each]
            && ![dict exists $pairs loglevel]} {
            set layer [Note $layer {*}[dict get $implied $each]]
        }
    }
    return $layer
}

proc socketserver::program::flags::Unknown {name} {
    set message "unknown option --$name"
    set nearest [::socketserver::Nearest $name [::socketserver::program::settings::Names flag]]
    if {$nearest ne ""} {
        append message ": did you mean --$nearest?"
    }
    throw {SOCKETSERVER USAGE} $message
}
