#!/usr/bin/env tclsh
# http.tcl: bench/http.tcl's job with examples/httpd.tcl in a pool.
#
#   tclsh http.tcl WORKERS
#
# Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
# file on standard input.

source [file join [file dirname [file normalize [info script]]] common.tcl]

# What is left are options of the example.
set argv [lassign $argv workers]
runPool -workers $workers -preload [list source [file join $home examples httpd.tcl]]
