# socketserver/commands.tcl --
#
#   What a pool can be told through its control socket: one table, for the pool,
#   for socketserverctl and for the help texts. No I/O.

namespace eval socketserver::commands {
    # name -> {usage U flags {name ...} arguments N summary S}
    variable table [dict create]
}

proc socketserver::commands::command {usage flags arguments summary} {
    variable table
    dict set table [lindex $usage 0] [dict create usage $usage flags $flags \
        arguments $arguments summary $summary]
}

namespace eval socketserver::commands {
    command "help" {} 0 "this list"
    command "version" {} 0 "the versions of the package and of Tcl"
    command "status" {} 0 "the pool, its listeners and its workers, for people"
    command "workers" {} 0 "the workers, for people"
    command "stats ?-json ?-indent??|?-prometheus?" {json indent prometheus} 0 \
        "all numbers: lines \"key value\", JSON, or metrics"
    command "scale N|+N|-N" {} 1 "N workers, or so many more or less"
    command "reload ?--wait?" {wait} 0 "new workers with the application loaded anew"
    command "drain" {} 0 "accept no more connections, and finish the others"
    command "pause" {} 0 "accept no connections for now: clients wait"
    command "resume" {} 0 "accept connections again"
    command "stop ?--quick?" {quick} 0 "end the pool when its connections are done, or now"
    command "upgrade ?--wait?" {wait} 0 "start the program anew, to take over the listeners"
}

# socketserver::commands::Parse words --
#
#   Returns the command's name, a dict of its flags, each with 0 or 1, and its
#   arguments. Flags begin with one dash or with two.

proc socketserver::commands::Parse {words} {
    variable table
    set rest [lassign $words name]
    if {![dict exists $table $name]} {
        set names [dict keys $table]
        throw [list SOCKETSERVER COMMAND $name] "unknown command \"$name\": must be\
            [unix_process::OneOf $names][::socketserver::DidYouMean $name $names]"
    }
    dict with table $name {
        set given [dict create {*}[concat {*}[lmap flag $flags {list $flag 0}]]]
        set others {}
        foreach word $rest {
            if {[regexp -- {^--?([a-z]+)$} $word -> flag] && $flag in $flags} {
                dict set given $flag 1
            } else {
                lappend others $word
            }
        }
        if {[llength $others] != $arguments} {
            throw [list SOCKETSERVER COMMAND $name] "wrong # args: should be \"$usage\""
        }
    }
    return [list $name $given $others]
}

# socketserver::commands::Help --

proc socketserver::commands::Help {} {
    variable table
    return [join [lmap row [dict values $table] {
        format "%-40s %s" [dict get $row usage] [dict get $row summary]
    }] \n]
}
