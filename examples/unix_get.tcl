#!/usr/bin/env tclsh
# unix_get.tcl --
#
#   HTTP over a unix-domain socket, as Docker and others speak it.
#
#     tclsh examples/unix_get.tcl /run/docker.sock /containers/json
#     tclsh examples/unix_get.tcl @abstract /

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require unix_sockets

if {$argc != 2} {
    puts stderr "usage: unix_get.tcl SOCKET PATH"
    exit 2
}

# {status body}; the server closes the connection after its answer, as HTTP/1.0 has it.
proc get {socket path} {
    set channel [unix_sockets::connect $socket]
    try {
        chan configure $channel -translation binary
        puts -nonewline $channel "GET $path HTTP/1.0\r\nHost: localhost\r\n\r\n"
        flush $channel
        set answer [read $channel]
    } finally {
        close $channel
    }
    set form {^HTTP/1\.\d (\d{3})[^\n]*\n(.*?)\r?\n\r?\n(.*)$}
    if {![regexp $form $answer -> status headers body]} {
        error "the answer is no HTTP"
    }
    return [list $status $body]
}

try {
    lassign [get {*}$argv] status body
} on error {message} {
    puts stderr "unix_get.tcl: $message"
    exit 1
}
chan configure stdout -translation binary
puts -nonewline $body
if {$status >= 400} {
    puts stderr "unix_get.tcl: status $status"
    exit 1
}
