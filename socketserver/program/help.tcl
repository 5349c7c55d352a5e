# socketserver/program/help.tcl --
#
#   What --help prints, made from the table of settings. No I/O.

namespace eval socketserver::program::help {
    variable usage "usage: socketserver ?options? app.tcl ?args?"
    variable introduction {
        Serves the connections of an application with worker processes. The application,
        a Tcl script, is loaded before the workers are forked, and tells its handler with
        "socketserver::configure -handler cmd ?-option value ...?".
    }
    variable sources {
        Each option may also be given in the file that --config names, as "workers 4", in the
        environment, as SOCKETSERVER_WORKERS=4, and by the application. An option of the
        command line goes before one of the environment, then come the file and the
        application. "--name value" and "--name=value" are the same.
    }
    variable statuses {
        0 "stopped, as it was told to"
        1 "cannot run: cannot listen, cannot write the pid file and the like"
        2 "wrong usage, or an error in the configuration"
        3 "workers do not start"
        4 "the application cannot be loaded"
    }
    variable signals {
        TERM      "stop: no new connections, those that are served are finished"
        INT       "stop at once"
        HUP       "reload: new workers with the application loaded anew"
        "TTIN, TTOU" "one worker more, one fewer"
        USR1      "reopen the log file"
        USR2      "upgrade: start the program anew, to take over the listeners"
        WINCH     "drain: no new connections, then the workers end"
    }
    # Columns of the left side.
    variable left 28
}

# Returns the text for a terminal with so many columns.
proc socketserver::program::help::Text {width} {
    variable usage
    variable introduction
    variable sources
    variable statuses
    variable signals
    set width [expr {min(100, max(40, $width))}]
    set parts [list $usage [Wrapped $introduction $width]]
    dict for {group names} [::socketserver::program::settings::Groups] {
        lappend parts [Section $group [Rows $names] $width]
    }
    lappend parts [Wrapped $sources $width] [Section "Exit status" $statuses $width] \
        [Section "Signals" $signals $width]
    return [join $parts \n\n]
}

proc socketserver::program::help::Rows {names} {
    set rows {}
    foreach name $names {
        if {[::socketserver::program::settings::IsKnown $name flag]} {
            lappend rows [Flag $name] [Summary $name]
        }
    }
    return $rows
}

proc socketserver::program::help::Flag {name} {
    variable ::socketserver::program::flags::short
    set flag --$name
    foreach letter [dict keys $short ?] {
        if {[lindex [dict get $short $letter] 0] eq $name && $letter ne "?"} {
            set flag "-$letter, $flag"
        }
    }
    if {![::socketserver::program::settings::IsBoolean $name]} {
        append flag " [::socketserver::program::settings::Get $name argument]"
    }
    return $flag
}

proc socketserver::program::help::Summary {name} {
    set summary [WithFlags [::socketserver::program::settings::Get $name summary]]
    if {[::socketserver::program::settings::IsMany $name]} {
        append summary "; may be given several times"
    }
    set default [::socketserver::program::settings::Get $name default]
    set isShown [expr {$default ne "" && ![::socketserver::program::settings::IsBoolean $name]}]
    if {$isShown && ![string match *default:* $summary]} {
        set unit [::socketserver::program::settings::Get $name argument]
        append summary " (default $default[expr {$unit in {ms bytes} ? " $unit" : ""}])"
    }
    return $summary
}

# Options are called "-name" in the table.
proc socketserver::program::help::WithFlags {text} {
    set names [join [::socketserver::program::settings::Names flag] |]
    return [regsub -all "(^|\[\\s(\])-($names)\\M" $text {\1--\2}]
}

# ---- layout ----------------------------------------------------------------------

# rows: left right ...
proc socketserver::program::help::Section {title rows width} {
    variable left
    set lines [list $title:]
    foreach {item text} $rows {
        # A narrow terminal has the texts below the items.
        set indent [expr {$width < 2 * $left ? 6 : $left}]
        set wrapped [split [Wrapped $text [expr {$width - $indent}]] \n]
        set begin "  $item"
        if {[string length $begin] + 2 > $indent} {
            lappend lines $begin
            set begin ""
        }
        foreach line $wrapped {
            lappend lines [format "%-*s%s" $indent $begin $line]
            set begin ""
        }
    }
    return [join $lines \n]
}

proc socketserver::program::help::Wrapped {text width} {
    return [textutil::adjust::adjust [string trim $text] -length $width]
}
