# socketserver/program/config.tcl --
#
#   The configuration file: Tcl in an interpreter that has nothing but `set` and a
#   command for each setting. Turns a file into a layer of settings.

namespace eval socketserver::program::config {
    # What a file can cost is bounded by these: characters of the file and of a
    # variable's value, commands, and seconds.
    variable maxFile 65536
    variable maxVariable 4096
    variable maxCommands 10000
    variable maxSeconds 5

    # While a file is evaluated: its interpreter, its name, the line at which the
    # command begins that is running, and the layer so far.
    variable interp
    variable file
    variable line
    variable layer
}

# Reads a file.
proc socketserver::program::config::Read {path} {
    return [Evaluate $path [Load $path]]
}

proc socketserver::program::config::Load {path} {
    variable maxFile
    if {[file exists $path] && ![file isfile $path]} {
        throw [list SOCKETSERVER CONFIG $path] "couldn't read \"$path\": not a file"
    }
    try {
        set channel [open $path]
    } trap POSIX {message} {
        throw [list SOCKETSERVER CONFIG $path] \
            [regsub {^couldn't open} $message {couldn't read}]
    }
    try {
        chan configure $channel -encoding utf-8
        set text [read $channel [expr {$maxFile + 1}]]
    } on error {message} {
        throw [list SOCKETSERVER CONFIG $path] "couldn't read \"$path\": $message"
    } finally {
        close $channel
    }
    if {[string length $text] > $maxFile} {
        throw [list SOCKETSERVER CONFIG $path] \
            "couldn't read \"$path\": longer than $maxFile characters"
    }
    return $text
}

# Command by command, so that an error has the line at which its command begins.
proc socketserver::program::config::Evaluate {path text} {
    variable interp [MakeInterp]
    variable file $path
    variable line 1
    variable layer [dict create]
    set script ""
    set last 0
    try {
        foreach row [split $text \n] {
            incr last
            append script $row \n
            if {[info complete $script]} {
                interp eval $interp $script
                set script ""
                set line [expr {$last + 1}]
            }
        }
        if {$script ne ""} {
            throw {SOCKETSERVER CONFIG} "no end of what begins here: a brace, quote or bracket\
                is not closed"
        }
    } on error {message failure} {
        throw [list SOCKETSERVER CONFIG $path $line] "$path:$line: $message"
    } finally {
        interp delete $interp
    }
    return $layer
}

proc socketserver::program::config::MakeInterp {} {
    variable maxCommands
    variable maxSeconds
    set interp [interp create -safe]
    foreach command [interp eval $interp {info commands}] {
        interp hide $interp $command
    }
    interp invokehidden $interp namespace delete {*}[interp invokehidden $interp namespace children]
    interp alias $interp set {} ::socketserver::program::config::Set
    interp alias $interp unknown {} ::socketserver::program::config::Unknown
    foreach name [::socketserver::program::settings::Names config] {
        interp alias $interp $name {} ::socketserver::program::config::Put $name
    }
    interp limit $interp commands -value $maxCommands
    interp limit $interp time -seconds [expr {[clock seconds] + $maxSeconds}]
    return $interp
}

# ---- commands of the file --------------------------------------------------------

# One word is the value, several are a list.
proc socketserver::program::config::Put {name args} {
    variable layer
    variable file
    variable line
    set value [lindex $args 0]
    if {[llength $args] == 0} {
        if {![::socketserver::program::settings::IsBoolean $name]} {
            throw {TCL WRONGARGS} "value missing: $name\
                [::socketserver::program::settings::Get $name argument]"
        }
        set value 1
    } elseif {[llength $args] > 1} {
        set value $args
    }
    set layer [::socketserver::program::settings::Put $layer $name $value $file:$line $name]
    return
}

proc socketserver::program::config::Set {args} {
    variable interp
    variable maxVariable
    if {[string length [lindex $args 1]] > $maxVariable} {
        throw {SOCKETSERVER CONFIG} \
            "the value of variable \"[lindex $args 0]\" has more than $maxVariable characters"
    }
    interp invokehidden $interp set {*}$args
}

proc socketserver::program::config::Unknown {name args} {
    set message "unknown option \"$name\""
    set nearest [::socketserver::Nearest $name [::socketserver::program::settings::Names config]]
    if {$nearest ne ""} {
        append message ": did you mean \"$nearest\"?"
    }
    throw {SOCKETSERVER CONFIG} $message
}
