#!/usr/bin/env tclsh
# unix_echo_server.tcl --
#
#   The server of the manual page unix_sockets(3tcl): sends back the first line
#   of each client. Its client is unix_echo_client.tcl.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require unix_sockets

proc readable {con} {
    set msg [gets $con]
    puts $con $msg
    close $con
}

proc accept {con} {
    chan event $con readable [list readable $con]
}

set listen   [unix_sockets::listen /tmp/example.socket accept]

vwait ::forever
