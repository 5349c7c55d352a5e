#!/usr/bin/env tclsh
# unix_echo_client.tcl --
#
#   The client of the manual page unix_sockets(3tcl). Start unix_echo_server.tcl
#   first.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require unix_sockets

proc readable {con} {
    set msg [gets $con]
    puts "got response: ($msg)"
    set ::done 1
}

set con     [unix_sockets::connect /tmp/example.socket]
puts $con "hello, world"
flush $con
chan event $con readable [list readable $con]
vwait ::done
