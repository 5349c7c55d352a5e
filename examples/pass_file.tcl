#!/usr/bin/env tclsh
# pass_file.tcl --
#
#   A process opens files and passes them to another one, which reads them
#   without opening anything itself. It could have given up its right to do so.
#
#     tclsh examples/pass_file.tcl FILE ...

lappend auto_path [file dirname [file dirname [file normalize [info script]]]]
package require unix_sockets
package require unix_process

# Each message holds one open file, and its name as data.
proc passFiles {channel names} {
    foreach name $names {
        set file [open $name]
        unix_sockets::sendfd $channel $file [encoding convertto utf-8 $name]
        close $file ;# the receiver has its own
    }
    close $channel
}

proc printFiles {channel} {
    while {1} {
        set file [unix_sockets::recvfd $channel data]
        if {$file eq ""} break ;# the sender has closed its end
        puts "==> [encoding convertfrom utf-8 $data] <=="
        puts -nonewline [read $file]
        close $file
    }
}

if {[lindex $argv 0] in {--help -help -?}} {
    puts "usage: pass_file.tcl ?FILE ...?\npasses open files to a process that prints them"
    exit
}
if {$argc == 0} {
    set argv [list [file normalize [info script]]]
}
lassign [unix_sockets::pair] sender receiver
set pid [unix_process::fork]
if {$pid == 0} {
    close $sender
    printFiles $receiver
    unix_process::exit
}
close $receiver
passFiles $sender $argv
exit [expr {[unix_process::wait $pid] ne "exit 0"}]
