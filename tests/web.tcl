# Helpers of the suites that run examples/httpd.tcl in a pool. Index:
#
#   startWeb ?OPTION VALUE ...?  starts a pool in a program of its own; options are those
#                           of socketserver::pool. The channel for `ask`, see servers.tcl;
#                           the pool is called `web` there
#   startWebWith ARGUMENTS SCRIPT ?OPTION VALUE ...?
#                           the same with arguments for httpd.tcl; SCRIPT is run after
#                           httpd.tcl was loaded, wherever it is
#   stopWeb SERVER          stops the pool and its program
#   addressOf SERVER        where it listens
#   ownAddress              a loopback address that no other process uses
#   startLoad HOST PORT COUNT
#                           clients that send requests, one after the other, each with a
#                           checked payload; COUNT of them at a time. A channel
#   loadSoFar CHANNEL       {right N wrong N failed N errors {message ...}}
#   endLoad CHANNEL         the same, and ends them
#   logOf NAME              file for the standard error of a program
#   runLogged NAME COMMAND  starts a program that logs there: a channel

source [file join [file dirname [info script]] servers.tcl]

proc startWeb {args} {
    return [startWebWith {} {} {*}$args]
}

proc startWebWith {arguments script args} {
    set file [file join $::projectRoot examples httpd.tcl]
    set preload "[list source $file]\n$script"
    set args [dict merge {-listen 127.0.0.1:0 -workers 2 -name web} [list -preload $preload] $args]
    set server [startServer {} "
        set argv [list $arguments]
        interp bgerror {} ::tcl::Bgerror
        socketserver::pool create web $args
        web start
    "]
    try {
        waitFor 60000 {[ask $server {web state}] eq "running"}
    } on error {message} {
        reap $server
        error "the pool did not start: $message"
    }
    return $server
}

proc stopWeb {server} {
    catch {ask $server {web configure -loglevel error -gracetimeout 200; web stop}}
    reap $server
}

proc addressOf {server} {
    return [dict get [lindex [ask $server {web listeners}] 0] address]
}

proc ownAddress {} {
    return 127.[expr {1 + ([pid] >> 16) % 250}].[expr {([pid] >> 8) % 256}].[expr {
        1 + [pid] % 254}]
}

proc logOf {name} {
    return [tempPath $name.log]
}

proc runLogged {name command} {
    return [open |[list {*}$command </dev/null 2>[logOf $name]] r]
}

# ---- load ------------------------------------------------------------------------

# Prints the counts for each line that it reads, and ends with the last.
set ::loadScript {
    lassign $argv host port count
    array set counts {right 0 wrong 0 failed 0 errors {}}
    set ending 0

    proc note {what {message {}}} {
        incr ::counts($what)
        if {$message ne "" && $message ni $::counts(errors)} {
            lappend ::counts(errors) $message
        }
    }

    proc client {number} {
        for {set i 0} {!$::ending} {incr i} {
            set channel ""
            try {
                set channel [socket $::host $::port]
                chan configure $channel -blocking 0 -translation binary
                chan event $channel readable [info coroutine]
                # Some requests a connection.
                for {set j 0; set last 0} {$j < 20 && !$last && !$::ending} {incr j} {
                    set payload "[string repeat "$number $i $j " [expr {1 + int(rand() * 200)}]]."
                    request $channel $payload
                    lassign [answer $channel] body last
                    note [expr {$body eq $payload ? "right" : "wrong"}]
                }
            } on error {message} {
                note failed $message
                after 20 [info coroutine]
                yield
            } finally {
                catch {close $channel}
            }
        }
        incr ::running -1
    }

    proc request {channel payload} {
        puts -nonewline $channel "POST /echo HTTP/1.1\r\nHost: load\r\nContent-Length:\
            [string length $payload]\r\n\r\n$payload"
        flush $channel
    }

    # The body, and whether the connection ends. Any status but 200 is an error.
    proc answer {channel} {
        set bytes ""
        while {![regexp {^(.*?)\r\n\r\n(.*)$} $bytes -> head body] ||
            ![regexp -nocase {content-length: (\d+)} $head -> length] ||
            [string length $body] < $length} {
            if {[eof $channel]} {
                error "the connection ended after [string length $bytes] bytes"
            }
            yield
            append bytes [read $channel]
        }
        if {![string match "HTTP/1.1 200 *" $head]} {
            error "answered [lindex [split $head \r] 0]"
        }
        return [list $body [regexp -nocase {connection: close} $head]]
    }

    proc control {} {
        if {[gets stdin line] < 0} {
            exit
        }
        if {$line eq "end"} {
            set ::ending 1
            while {$::running > 0} {
                vwait ::running
            }
        }
        puts [array get ::counts]
        flush stdout
    }
    chan event stdin readable control
    set running $count
    for {set i 0} {$i < $count} {incr i} {
        coroutine client$i client $i
    }
    vwait forever
}

proc startLoad {host port count} {
    return [spawn $::loadScript $host $port $count]
}

proc loadSoFar {load {command counts}} {
    puts $load $command
    return [lineFrom $load]
}

proc endLoad {load} {
    try {
        return [loadSoFar $load end]
    } finally {
        reap $load
    }
}
