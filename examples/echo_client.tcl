#!/usr/bin/env tclsh
# echo_client.tcl --
#
#   Sends its standard input to a server, and prints what the server answers:
#
#     tclsh examples/echo_client.tcl localhost ?--port 8888? < README.md
#
#   At the end of the input it closes its half of the connection, so that the
#   server knows, and reads on until the server has closed the other half. It sends
#   and reads at the same time: else each side might wait for the other to read.
#   The exit status is 0 if all was sent and all of the answer came.

proc main {arguments} {
    lassign [parseArguments $arguments] host port
    try {
        set server [socket $host $port]
    } on error {message} {
        fail $message
    }
    foreach channel [list stdin stdout $server] {
        chan configure $channel -translation binary
    }
    chan copy stdin $server -command [list sent $server]
    chan copy $server stdout -command answered
    vwait forever
}

proc parseArguments {arguments} {
    set usage "usage: echo_client.tcl host ?--port N?"
    if {[lindex $arguments 0] in {--help -help -?}} {
        puts "$usage\nsends standard input to an echo server, and prints what it answers"
        exit
    }
    set port 8888
    set at [lsearch -regexp $arguments {^--?port$}]
    if {$at >= 0} {
        set port [lindex $arguments $at+1]
        set arguments [lreplace $arguments $at $at+1]
    }
    if {[llength $arguments] != 1 || [string match -* $arguments]} {
        puts stderr $usage
        exit 1
    }
    return [list [lindex $arguments 0] $port]
}

proc fail {message} {
    puts stderr "echo_client: $message"
    exit 1
}

proc sent {server bytes {message ""}} {
    set ::allSent [expr {$message eq ""}]
    catch {close $server write} ;# the server may have closed it all
}

proc answered {bytes {message ""}} {
    flush stdout
    if {$message ne ""} {
        fail $message
    }
    if {![info exists ::allSent] || !$::allSent} {
        fail "the server closed the connection before all was sent"
    }
    exit
}

main $argv
