# socketserver/control.tcl --
#
#   The control socket: whoever may run the pool tells it what to do, in lines
#   of text. A request is a line; its answer is lines and an empty line; an error
#   is a line "error: message" and an empty line.

oo::class create socketserver::Control {
    superclass socketserver::LineServer

    variable pool uid

    # logCmd is called with level and message, and never throws.
    constructor {poolCommand path {logCmd {}}} {
        set pool $poolCommand
        set path [::socketserver::control::CheckPath $path]
        set uid [::socketserver::control::EffectiveUser]
        next unix:$path {-permissions 0600 -replace stale} $::socketserver::control::limits $logCmd
    }

    # ---- private -------------------------------------------------------------

    # The file's permissions say the same, but root may have changed them.
    method Admit {channel} {
        set peer [chan configure $channel -peercred]
        if {[dict get $peer uid] in [list 0 $uid]} {
            return ""
        }
        my Log warn "control: user [dict get $peer uid] (process [dict get $peer pid])\
            is not allowed"
        return [::socketserver::control::Error "not allowed"]
    }

    method Crowded {} {
        return [::socketserver::control::Error "too many connections"]
    }

    method Overlong {} {
        return [::socketserver::control::Error "the line is longer than\
            [dict get $::socketserver::control::limits line] bytes"]
    }

    method Request {conversation line} {
        set words [regexp -all -inline {\S+} $line]
        if {[llength $words] == 0} {
            $conversation answer ""
            return
        }
        try {
            lassign [::socketserver::commands::Parse $words] name flags arguments
            if {$name in {reload upgrade}} {
                my Renew $conversation $name [dict get $flags wait]
            } else {
                set text [::socketserver::control::$name $pool $flags {*}$arguments]
                ::socketserver::control::Reply $conversation 1 $text
            }
        } on error {message} {
            ::socketserver::control::Reply $conversation 0 $message
        }
    }

    # The pool calls back once it is done.
    method Renew {conversation name wait} {
        if {$wait} {
            $pool $name -wait 0 -command [list ::socketserver::control::Renewed $conversation $name]
        } else {
            $pool $name -wait 0
            ::socketserver::control::Reply $conversation 1 "$name started"
        }
    }
}

namespace eval socketserver::control {
    variable limits {connections 32 line 4096 silence 60000}
}

# ---- what is asked -------------------------------------------------------------------

# Each gets the pool, its flags and arguments, and returns lines.

proc socketserver::control::help {pool flags} {
    return [::socketserver::commands::Help]
}

proc socketserver::control::version {pool flags} {
    return "socketserver [package present socketserver], Tcl [info patchlevel]"
}

proc socketserver::control::status {pool flags} {
    return [::socketserver::report::Table [$pool stats]]
}

proc socketserver::control::workers {pool flags} {
    return [::socketserver::report::Workers [$pool stats]]
}

proc socketserver::control::stats {pool flags} {
    set given [lmap {flag set} $flags {expr {$set ? $flag : [continue]}}]
    switch -- $given {
        {} { return [::socketserver::report::Lines [$pool stats]] }
        json { return [::socketserver::report::Json [$pool stats]] }
        {json indent} { return [::socketserver::report::Json [$pool stats] -indent] }
        prometheus { return [::socketserver::report::Prometheus [$pool stats]] }
    }
    throw {SOCKETSERVER COMMAND stats} \
        "bad options: must be none, -json, -json -indent or -prometheus"
}

proc socketserver::control::scale {pool flags number} {
    return "[$pool scale $number] workers wanted"
}

proc socketserver::control::drain {pool flags} {
    $pool drain
    return [$pool state]
}

proc socketserver::control::pause {pool flags} {
    $pool pause
    return [$pool state]
}

proc socketserver::control::resume {pool flags} {
    $pool resume
    return [$pool state]
}

# The answer goes first: with the pool, this conversation ends.
proc socketserver::control::stop {pool flags} {
    if {[$pool state] in {new stopped failed}} {
        throw [list SOCKETSERVER STATE [$pool state]] "the pool is [$pool state]"
    }
    after 0 [list $pool stop -wait 0 -graceful [expr {![dict get $flags quick]}]]
    return stopping
}

proc socketserver::control::Renewed {conversation name ok {message ""}} {
    Reply $conversation $ok [expr {$ok ? "$name done" : $message}]
}

# ---- answers -------------------------------------------------------------------------

# The client, and the pool with its control socket, may be gone by now.
proc socketserver::control::Reply {conversation ok text} {
    if {[info object isa object $conversation]} {
        $conversation answer [expr {$ok ? [Answer $text] : [Error $text]}]
    }
}

# An empty line would end it early.
proc socketserver::control::Answer {text} {
    return "[regsub -all {\n(?=\n)} [string trim $text \n] {}]\n\n"
}

proc socketserver::control::Error {message} {
    return "error: [::socketserver::report::Printable [string trim $message]]\n\n"
}

# ---- where it listens ----------------------------------------------------------------

# Returns the absolute path. Whoever may write to a directory on the way could
# put a socket of his own in the place of ours. Not by [file join], for which a
# name that begins with "~" may be a user's home.
proc socketserver::control::CheckPath {path} {
    set path [regsub {^unix:} $path {}]
    if {$path eq "" || [string index $path 0] eq "@"} {
        throw [list SOCKETSERVER CONTROL $path] "couldn't open the control socket \"$path\":\
            must be a path, only files have permissions"
    }
    if {[string index $path 0] ne "/"} {
        set path [pwd]/$path
    }
    set directory /
    set names [lrange [Names $path] 0 end-1]
    for {set steps 0} {1} {incr steps} {
        CheckDirectory $path $directory
        if {[llength $names] == 0} {
            return $path
        }
        set names [lassign $names name]
        set next [regsub {/+$} $directory {}]/$name
        if {![catch {file readlink $next} target]} {
            set names [list {*}[Names $target] {*}$names]
            if {[string index $target 0] eq "/"} {
                set directory /
            }
        } elseif {$name eq ".."} {
            set directory [file dirname $directory]
        } else {
            set directory $next
        }
        if {$steps > 1000} {
            throw [list SOCKETSERVER CONTROL $path] "couldn't open the control socket \"$path\":\
                too many levels of symbolic links"
        }
    }
}

proc socketserver::control::Names {path} {
    return [lmap name [split $path /] {expr {$name in {{} .} ? [continue] : $name}}]
}

proc socketserver::control::CheckDirectory {path directory} {
    file stat $directory status
    if {($status(mode) & 0o1002) == 2} {
        throw [list SOCKETSERVER CONTROL $path] "couldn't open the control socket \"$path\":\
            everybody may write to \"$directory\", which has no sticky bit"
    }
}

# The kernel tells of both ends of a socket pair who made it.
proc socketserver::control::EffectiveUser {} {
    lassign [unix_sockets::pair] one other
    try {
        return [dict get [chan configure $one -peercred] uid]
    } finally {
        close $one
        close $other
    }
}
