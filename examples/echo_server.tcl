#!/usr/bin/env tclsh
# echo_server.tcl --
#
#   An echo server with worker processes, a pool of socketserver. Talk to it with
#   telnet, nc or echo_client.tcl:
#
#     tclsh examples/echo_server.tcl
#     nc localhost 8888
#
#   Each worker serves one connection after another, and answers every line with
#   its own process id, the client's address and port, and the line. With
#   --mode perconnection each client has a process of its own, at most
#   --maxchildren at a time, and gets the bytes back as they are:
#
#     tclsh examples/echo_server.tcl --mode perconnection --daemon --syslog --maxchildren 10
#     tclsh examples/echo_client.tcl localhost < README.md
#
#   SIGUSR1 to the parent allows one more worker, SIGUSR2 has it log how many
#   connections it accepted and how many of them wait. SIGTERM ends it when the
#   clients have left, or after 10 seconds; SIGINT ends it at once.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require cmdline
package require socketserver

set toSyslog 0

proc main {arguments} {
    set options [parseArguments $arguments]
    set ::toSyslog [dict get $options syslog]
    if {[dict get $options daemon]} {
        becomeDaemon [dict get $options pidfile]
    }
    try {
        socketserver::pool create server {*}[poolOptions $options]
        server start
    } on error {message} {
        fail $message
    }
    foreach {signal cmd} {SIGUSR1 addWorker SIGUSR2 report SIGTERM stop SIGINT stop} {
        unix_process::onsignal $signal $cmd
    }
    server configure -onstop ended
    log notice "serving port [port], pid [pid]"
    unix_process::ready
    vwait forever
}

proc parseArguments {arguments} {
    set declared {
        {port.arg        8888    "port to listen on; 0 picks a free one"}
        {host.arg        ""      "address to listen on; default: every address"}
        {mode.arg        prefork "prefork, or perconnection: a process for each client"}
        {workers.arg     3       "processes, with prefork"}
        {maxchildren.arg 10      "most processes at a time, with perconnection"}
        {overload.arg    queue   "clients beyond that: queue, or refuse ?text?"}
        {daemon                  "run in the background"}
        {pidfile.arg     ""      "where the daemon writes its process id"}
        {syslog                  "write to the system's log, not to standard output"}
    }
    try {
        set options [cmdline::getoptions arguments $declared "?options?"]
    } trap {CMDLINE USAGE} usage {
        if {[lindex $::argv 0] in {--help -help -?}} {
            puts $usage
            exit
        }
        puts stderr $usage
        exit 1
    }
    if {[llength $arguments] > 0} {
        fail "unexpected argument \"[lindex $arguments 0]\", see --help"
    }
    if {[dict get $options pidfile] ne "" && ![dict get $options daemon]} {
        fail "--pidfile is for --daemon"
    }
    return $options
}

# Returns in the daemon. Its starter waits until it serves, or has failed.
proc becomeDaemon {pidFile} {
    try {
        set pid [unix_process::daemonize -pidfile $pidFile]
    } on error {message} {
        fail $message
    }
    if {$pid != 0} {
        exit
    }
}

proc poolOptions {options} {
    dict with options {
        set endpoint $port
        if {$host ne ""} {
            set endpoint [expr {[string match *:* $host] ? "\[$host\]:$port" : "$host:$port"}]
        }
        set handler [expr {$mode eq "prefork" ? "answerLines" : "echoBytes"}]
        return [list -name echo_server -listen [list $endpoint] -handler [list serve $handler] \
            -mode $mode -workers $workers -maxchildren $maxchildren -overload $overload \
            -gracetimeout 10000 -log log -loglevel info]
    }
}

proc fail {message} {
    unix_process::ready $message
    puts stderr "echo_server: $message"
    exit 1
}

# For this program and for the pool. Whoever reads it may be gone: no reason to
# stop serving.
proc log {level message} {
    catch {
        if {$::toSyslog} {
            unix_process::syslog -ident echo_server -facility daemon $level $message
        } else {
            puts $message
            flush stdout
        }
    }
}

# ---- parent ------------------------------------------------------------------

proc port {} {
    return [lindex [dict get [lindex [server listeners] 0] address] 2]
}

proc addWorker {signal} {
    server scale +1
}

proc report {signal} {
    set stats [server stats]
    log info "accepted [dict get $stats accepted], waiting [dict get $stats queued]"
}

proc stop {signal} {
    log notice "stopping: $signal"
    server stop -graceful [expr {$signal eq "SIGTERM"}] -wait 0
}

proc ended {pool} {
    exit [expr {[$pool state] eq "failed"}]
}

# ---- worker ------------------------------------------------------------------

# The worker has nothing else to do, so it may wait for its client.
proc serve {handler client address port} {
    log info "accepted $address port $port"
    chan configure $client -translation binary -buffering line
    try {
        set bytes [$handler $client $address $port]
        close $client
        log info "served $address port $port: $bytes bytes"
    } on error {message} {
        log warn "lost $address port $port: $message" ;# such as: connection reset by peer
        catch {close $client}
    }
}

proc answerLines {client address port} {
    set bytes 0
    while {[gets $client line] >= 0} {
        puts $client "[pid] $address $port $line"
        incr bytes [string length $line]
    }
    return $bytes
}

proc echoBytes {client address port} {
    return [chan copy $client $client]
}

main $argv
