#!/usr/bin/env tclsh
# ssh_proxy.tcl --
#
#   Makes the connection for ssh, and passes it: ssh then talks to the server itself,
#   and this program has ended. In ~/.ssh/config:
#
#     Host *.example.org
#         ProxyUseFdpass yes
#         ProxyCommand tclsh /path/to/ssh_proxy.tcl %h %p 3>&1
#
#   This is the place to choose an address or to knock at a door before.

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require unix_sockets

if {$argc != 2} {
    puts stderr "usage: ssh_proxy.tcl HOST PORT"
    exit 2
}
lassign $argv host port

try {
    set connection [socket $host $port]
    # With ProxyUseFdpass standard output is a unix socket, and ssh waits at its other end.
    # As descriptor 3 it is not Tcl's.
    unix_sockets::sendfd [unix_sockets::adopt 3] $connection
} on error {message} {
    puts stderr "ssh_proxy.tcl: $message"
    exit 1
}
