# Helpers of pool.test, on top of those in load.tcl. Index:
#
#   newDemo ?-option value ...?
#                          starts a program with the pool `demo`, which is not started. In
#                          it: ::logged, the lines of its log; ::noted, what hooks with
#                          the command `hear WORD` were called with; `errors` of
#                          servers.tcl
#   newDemoWith PREFIX ...  the same under another program
#   runDemo ?-option value ...?
#                          the same, started
#   withDemo OPTIONS SCRIPT
#                          runs SCRIPT with such a program; its control channel is $server,
#                          the port of its first listener $port. Ends it after that
#   failureIn SERVER SCRIPT  {code message errorCode} of a script in the program
#   hasLogged SERVER PATTERN
#                          whether a line of its log matches
#   addressOf SERVER ?NUMBER?
#                          address of its listener with this number, the first is 0
#   dial SERVER ?NUMBER?   a client of that listener
#   tell CLIENT SCRIPT     evaluates SCRIPT in the worker that serves the client: its
#                          result. There, $channel, $address and $port are the handler's
#   order CLIENT SCRIPT    the same without waiting for the result
#   isOver CLIENT ?MS?     waits until its connection is closed; 1, and 0 at the deadline
#   untilDone CLIENT ...   closes them
#   viewFile PATH          what is in a file, without the last newline

set ::askableHandler {
    # Each line of a client is a script, each answer {code result}.
    proc serve {channel address port} {
        chan configure $channel -blocking 0 -buffering line -translation lf
        chan event $channel readable [list Obey $channel $address $port]
    }

    proc Obey {channel address port} {
        if {[gets $channel line] < 0} {
            if {[eof $channel]} {
                close $channel
            }
            return
        }
        set code [catch $line result]
        if {$channel in [chan names]} {
            puts $channel [list $code $result]
        }
    }
}

set ::newDemoScript {
    set logged {}
    set noted {}
    proc note {level message} {
        lappend ::logged "$level: $message"
    }
    proc hear {args} {
        lappend ::noted $args
    }
    socketserver::pool create demo {*}%s
}

proc newDemo {args} {
    return [newDemoWith {} {*}$args]
}

proc newDemoWith {prefix args} {
    set options [dict merge [list -listen 127.0.0.1:0 -handler serve -workers 2 -log note \
        -loglevel debug -preload $::askableHandler] $args]
    return [startServer [list setsid {*}$prefix] [format $::newDemoScript [list $options]]]
}

proc runDemo {args} {
    set server [newDemo {*}$args]
    try {
        ask $server {demo start}
    } on error {message failure} {
        endDemo $server
        return -options $failure $message
    }
    return $server
}

proc withDemo {options script} {
    upvar 1 server server port port
    set server [runDemo {*}$options]
    set port [lindex [demoPort $server] end]
    try {
        uplevel 1 $script
    } finally {
        endDemo $server
    }
}

proc failureIn {server script} {
    return [ask $server "list \[catch {$script} message failure\] \$message \[expr {
        \[dict exists \$failure -errorcode\] ? \[dict get \$failure -errorcode\] : {}}\]"]
}

proc hasLogged {server pattern} {
    return [ask $server [list apply {pattern {
        expr {[lsearch -glob $::logged $pattern] >= 0}
    }} $pattern]]
}

proc addressOf {server {number 0}} {
    return [ask $server "dict get \[lindex \[demo listeners\] $number\] address"]
}

proc dial {server {number 0}} {
    set address [addressOf $server $number]
    if {[llength $address] >= 3} {
        return [connectTo [lindex $address 2]]
    }
    set client [unix_sockets::connect $address]
    chan configure $client -buffering line -blocking 0
    return $client
}

proc tell {client script} {
    set answer [hurry $client [string map {\n { }} $script]]
    if {$answer eq ""} {
        return -code error "the connection is closed"
    }
    lassign $answer code result
    return -code $code $result
}

proc order {client script} {
    puts $client [string map {\n { }} $script]
}

proc isOver {client {ms 30000}} {
    return [expr {![catch {
        waitFor $ms {[catch {gets $client} count] || [eof $client]}
    }]}]
}

proc untilDone {args} {
    foreach client $args {
        close $client
    }
}

proc viewFile {path} {
    set channel [open $path]
    set text [read -nonewline $channel]
    close $channel
    return $text
}
