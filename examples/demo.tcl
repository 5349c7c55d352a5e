#!/usr/bin/env tclsh
# demo.tcl --
#
#   Shows the main job in a few seconds: a parent accepts connections, and
#   worker processes serve them. Starts echo_server.tcl as a program of its own
#   on a free port, connects real clients, prints who served whom, and checks
#   what it prints: the exit status is 0 only if all of it did happen.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require unix_process

if {$argc > 0} {
    puts "usage: demo.tcl\nshows an echo server with worker processes, and checks what it shows"
    exit [expr {$argv ni {--help -help -?}}]
}

set program [file join [file dirname [file normalize [info script]]] echo_server.tcl]
set patienceMs 10000
set started [clock milliseconds]
set failures 0
set printed {} ;# lines of the server, in order
# Per client: its channel, its name, when it connected, and the lines it got.
array set lines {}
array set connectedAt {}

# ---- telling and checking ------------------------------------------------------

proc tell {message} {
    puts [format "%6.2f s  %s" [expr {([clock milliseconds] - $::started) / 1000.0}] $message]
}

proc headline {message} {
    puts "\n$message"
}

proc check {what condition} {
    if {![uplevel 1 [list expr $condition]]} {
        incr ::failures
        tell "FAILED: $what"
    }
}

# Serves events until the condition is true, or for as long as patience lasts.
proc await {condition {ms 0}} {
    set deadline [expr {[clock milliseconds] + ($ms > 0 ? $ms : $::patienceMs)}]
    while {![uplevel 1 [list expr $condition]]} {
        set left [expr {$deadline - [clock milliseconds]}]
        if {$left <= 0} {
            return 0
        }
        set timer [after [expr {min($left, 20)}] {set ::news 1}]
        vwait ::news ;# set by whoever reads something, too
        after cancel $timer
    }
    return 1
}

# ---- the server ------------------------------------------------------------------

proc startServer {workers} {
    set server [open |[list [info nameofexecutable] $::program -port 0 -workers $workers \
        2>@stderr] r]
    chan configure $server -blocking 0
    chan event $server readable [list readServer $server]
    return $server
}

proc readServer {server} {
    while {[gets $server line] >= 0} {
        lappend ::printed $line
        tell "server: $line"
    }
    set ::news 1
    if {[eof $server]} {
        chan event $server readable {}
        set ::serverEnded 1
    }
}

# What the server's lines that match the pattern say in its parentheses.
proc said {pattern} {
    set found {}
    foreach line $::printed {
        if {[regexp $pattern $line -> what]} {
            lappend found $what
        }
    }
    return $found
}

proc workerPids {} {
    return [said {^worker \d+ \(pid (\d+)\) started}]
}

# ---- clients -----------------------------------------------------------------------

proc openClient {number port} {
    # An IPv6 client among them, where the machine has IPv6.
    set before [clock microseconds]
    if {$number != 2 || [catch {socket ::1 $port} client]} {
        set client [socket 127.0.0.1 $port]
    }
    set tookMs [expr {([clock microseconds] - $before) / 1000.0}]
    chan configure $client -blocking 0 -buffering line
    chan event $client readable [list readClient $client]
    set ::lines($client) {}
    set ::connectedAt($client) [clock milliseconds]
    puts $client "hello from client $number"
    lassign [chan configure $client -sockname] address - clientPort
    tell [format "client %d (%s port %d) connected in %.1f ms" \
        $number $address $clientPort $tookMs]
    return $client
}

proc readClient {client} {
    while {[gets $client line] >= 0} {
        lappend ::lines($client) $line
    }
    set ::news 1
    if {[eof $client]} {
        chan event $client readable {}
    }
}

# Waits for the echo of the client's line. Returns the pid of the worker.
proc servedBy {number client} {
    check "client $number got an answer" {[await {[llength $::lines($client)] > 0}]}
    lassign [lindex $::lines($client) 0] pid address port
    set waitedMs [expr {[clock milliseconds] - $::connectedAt($client)}]
    lassign [chan configure $client -sockname] ownAddress - ownPort
    check "the worker saw client $number as $ownAddress port $ownPort" {
        $address eq $ownAddress && $port eq $ownPort
    }
    check "client $number got its own words back" {
        [string match "* hello from client $number" [lindex $::lines($client) 0]]
    }
    tell "client $number was served by worker $pid, $waitedMs ms after it connected"
    return $pid
}

proc isQuiet {client} {
    return [expr {[llength $::lines($client)] == 0}]
}

# ---- the story -----------------------------------------------------------------------

proc story {} {
    headline "A parent that accepts, and three workers that serve:"
    check "the server listens and has three workers" {
        [await {[said {^serving port (\d+)}] ne ""}] && [llength [workerPids]] == 3
    }
    set port [said {^serving port (\d+)}]
    set parent [said {^serving port .* pid (\d+)}]
    set workers [workerPids]

    headline "Three clients connect, and stay connected:"
    foreach number {1 2 3} {
        set client($number) [openClient $number $port]
    }
    foreach number {1 2 3} {
        set worker($number) [servedBy $number $client($number)]
    }
    check "three different workers served them" {
        [lsort [list $worker(1) $worker(2) $worker(3)]] eq [lsort $workers]
    }

    headline "Every worker is busy now. Two more clients connect:"
    foreach number {4 5} {
        set client($number) [openClient $number $port]
    }
    await {0} 700
    set before [llength $::printed]
    unix_process::kill $parent SIGUSR2
    await {[llength $::printed] > $before}
    check "five were accepted and two wait" {[said {^(accepted 5, waiting 2)$}] ne ""}
    check "the waiting clients got no answer yet" {
        [isQuiet $client(4)] && [isQuiet $client(5)]
    }
    tell "clients 4 and 5 are accepted, and no worker answers them yet"

    headline "Client 1 leaves; its worker takes the connection that waited longest:"
    close $client(1)
    set worker(4) [servedBy 4 $client(4)]
    check "the worker that became free served client 4" {$worker(4) eq $worker(1)}
    check "client 5 still waits" {[isQuiet $client(5)]}

    headline "SIGUSR1 asks the parent for one more worker:"
    unix_process::kill $parent SIGUSR1
    check "a fourth worker started" {[await {[llength [workerPids]] == 4}]}
    set worker(5) [servedBy 5 $client(5)]
    check "the new worker served client 5" {$worker(5) eq [lindex [workerPids] 3]}

    headline "The worker of client 5 is killed, and the parent starts another one:"
    unix_process::kill $worker(5) SIGKILL
    check "a fifth worker started" {[await {[llength [workerPids]] == 5}]}
    check "client 5 lost its connection" {[await {[eof $client(5)]}]}

    headline "The clients leave, and nc comes:"
    foreach number {2 3 4 5} {
        close $client($number)
    }
    netcat $port

    headline "SIGTERM ends the parent and its workers:"
    unix_process::kill $parent SIGTERM
    check "the server ended" {[await {[info exists ::serverEnded]}]}
    check "all five workers ended" {
        [lsort [said {^worker \d+ \(pid (\d+)\) ended}]] eq [lsort [workerPids]]
    }
    check "nobody listens any more" {[catch {socket 127.0.0.1 $port}]}
}

# Not every machine has nc: then there is nothing to check.
proc netcat {port} {
    if {[auto_execok nc] eq ""} {
        tell "no nc on this machine"
        return
    }
    set nc [open |[list nc 127.0.0.1 $port] r+]
    chan configure $nc -blocking 0 -buffering line
    chan event $nc readable [list readClient $nc]
    set ::lines($nc) {}
    puts $nc "hello from nc"
    check "nc got its answer" {[await {[llength $::lines($nc)] > 0}]}
    lassign [lindex $::lines($nc) 0] pid
    check "one of the workers served nc" {$pid in [workerPids]}
    tell "nc was served by worker $pid"
    # Some variants would wait for the server to close first.
    catch {unix_process::kill [pid $nc] SIGTERM}
    catch {close $nc}
}

# Whatever happened before, no server is left behind. True if it ended well.
proc endServer {server} {
    if {![info exists ::serverEnded]} {
        catch {unix_process::kill [pid $server] SIGTERM}
        if {![await {[info exists ::serverEnded]}]} {
            catch {unix_process::kill [pid $server] SIGKILL}
        }
    }
    chan configure $server -blocking 1
    return [expr {![catch {close $server}]}]
}

proc interrupted {server signal} {
    catch {unix_process::kill [pid $server] SIGTERM}
    exit 1
}

chan configure stdout -buffering line
set server [startServer 3]
unix_process::onsignal SIGTERM [list interrupted $server]
unix_process::onsignal SIGINT [list interrupted $server]
try {
    story
} on error {message} {
    incr failures
    tell "FAILED: $message"
} finally {
    check "the server's exit status was 0" {[endServer $server]}
}
if {$failures > 0} {
    puts "\n$failures of the things above did not happen as they should."
    exit 1
}
puts "\nAll of this did happen."
