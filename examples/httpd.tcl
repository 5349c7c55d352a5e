#!/usr/bin/env tclsh
# httpd.tcl --
#
#   A web application: a procedure for each page, and a table that says which.
#   Change these and it is yours. The HTTP is in http1.tcl. It runs in a pool of
#   worker processes, each of which serves many connections at a time:
#
#     tclsh examples/httpd.tcl --port 8080 --workers 2
#     bin/socketserver --listen 8080 --concurrency 64 examples/httpd.tcl
#
#     curl http://localhost:8080/
#     curl --data-binary @README.md http://localhost:8080/echo
#
#   With --cert and --key it speaks TLS (needs the package tls).

source [file join [file dirname [file normalize [info script]]] http1.tcl]

namespace eval httpd {
    # path -> {method command ...}; a command gets the request, and returns the answer.
    variable routes {
        /       {GET  httpd::hello}
        /echo   {POST httpd::echo}
        /worker {GET  httpd::worker}
        /client {GET  httpd::client}
        /slow   {GET  httpd::slow}
        /stream {GET  httpd::stream}
    }
    variable file [file normalize [info script]]
}

# ---- pages -----------------------------------------------------------------------

proc httpd::hello {request} {
    return [http1::text "hello, world\n"]
}

# What came goes back.
proc httpd::echo {request} {
    set type application/octet-stream
    if {[dict exists $request headers content-type]} {
        set type [dict get $request headers content-type]
    }
    return [http1::reply 200 [dict get $request body] Content-Type $type]
}

# Which process answers.
proc httpd::worker {request} {
    return [http1::text "[pid]\n"]
}

# Whom it answers, as it sees it.
proc httpd::client {request} {
    return [http1::text "[dict get $request address] [dict get $request port]\n"]
}

# Takes its time, in which this process serves others.
proc httpd::slow {request} {
    set parameters [http1::parameters [dict get $request query]]
    set ms [expr {[dict exists $parameters ms] ? [dict get $parameters ms] : 1000}]
    if {![string is integer -strict $ms] || $ms < 0 || $ms > 60000} {
        throw {HTTP 400} "ms must be a number from 0 to 60000"
    }
    http1::sleep $ms
    return [http1::text "waited $ms ms\n"]
}

# An answer in parts, each as soon as it is known.
proc httpd::stream {request} {
    http1::begin $request 200 Content-Type text/plain
    foreach number {1 2 3 4 5 6 7 8 9 10} {
        http1::chunk $request "line $number\n"
        http1::sleep 10
    }
}

# ---- the application ---------------------------------------------------------------

proc httpd::answer {request} {
    variable routes
    return [http1::route $routes $request]
}

# A worker calls this for each connection.
proc httpd::handle {channel address port} {
    http1::serve httpd::answer $channel $address $port
}

# And this before the first one.
proc httpd::begin {number} {
    set ::http1::abortCmd {socketserver::worker hangup}
    socketserver::worker onstop http1::drain
}

proc httpd::configure {options} {
    if {[dict get $options cert] ne ""} {
        http1::secure -certfile [file normalize [dict get $options cert]] \
            -keyfile [file normalize [dict get $options key]]
    }
    socketserver::configure -handler httpd::handle -workerinit httpd::begin -concurrency 64
}

# ---- the program -------------------------------------------------------------------

proc httpd::parseArguments {arguments} {
    package require cmdline
    set declared {
        {port.arg    8080 "port to listen on; 0 picks a free one"}
        {workers.arg 2    "number of worker processes"}
        {cert.arg    ""   "file with the certificate, for TLS"}
        {key.arg     ""   "file with its key"}
    }
    set usage "?options?"
    try {
        set options [cmdline::getoptions arguments $declared $usage]
        if {[llength $arguments] > 0} {
            throw {CMDLINE USAGE} [cmdline::usage $declared $usage]
        }
    } trap {CMDLINE USAGE} {message} {
        if {[lindex $::argv 0] in {--help -help -?}} {
            puts $message
            exit
        }
        puts stderr $message
        exit 1
    }
    return $options
}

proc httpd::main {options} {
    variable file
    package require socketserver
    socketserver::pool create httpd::pool -name httpd -listen [list [dict get $options port]] \
        -workers [dict get $options workers] -preload [list source $file] -onready httpd::ready
    try {
        httpd::pool run
    } on error {message} {
        puts stderr "httpd: $message"
        exit 1
    }
}

proc httpd::ready {pool} {
    foreach listener [$pool listeners] {
        puts "listening on port [lindex [dict get $listener address] end]"
    }
    flush stdout
}

# In the process that loads applications for the pool's workers; as a program, which
# starts a pool that loads this file; or only read, by a test.
if {[llength [info commands socketserver::configure]] > 0} {
    httpd::configure [httpd::parseArguments $argv]
} elseif {[file normalize $argv0] eq $httpd::file} {
    lappend auto_path [file dirname [file dirname $httpd::file]]
    httpd::main [httpd::parseArguments $argv]
}
