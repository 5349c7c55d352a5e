# passing.tcl --
#
#   Open files from one process to another with unix_sockets, for bench/passing.tcl:
#
#     passing.tcl raw|channels flood|pingpong BATCH SECONDS
#
#   does and says the same as programs/passing.cpp. `raw` receives descriptor numbers,
#   `channels` makes a channel of each.

lappend auto_path [file dirname [file dirname [file dirname [file normalize [info script]]]]]
package require unix_sockets
package require unix_process

set fileCount 4

proc now {} {
    return [expr {[clock microseconds] / 1e6}]
}

proc cpu {} {
    set sum 0
    foreach path [glob /proc/[pid]/task/*/schedstat] {
        set file [open $path]
        incr sum [lindex [read $file] 0]
        close $file
    }
    return [expr {$sum / 1e9}]
}

# Each file's text is its number.
proc openFiles {} {
    for {set i 0} {$i < $::fileCount} {incr i} {
        set file [file tempfile path]
        puts -nonewline $file $i
        flush $file
        file delete $path
        lappend files $file
    }
    return $files
}

proc batchFrom {files first count} {
    set batch {}
    for {set i 0} {$i < $count} {incr i} {
        lappend batch [lindex $files [expr {($first + $i) % $::fileCount}]]
    }
    return $batch
}

# ---- receiving ---------------------------------------------------------------------------

proc takeAll-raw {channel} {
    set received 0
    for {set messages 0} {[llength [set numbers [unix_sockets::recvfd -raw $channel]]]} \
        {incr messages} {
        if {$messages % 64 == 0} {
            check raw $numbers $messages
        }
        foreach number $numbers {
            forkserver::CloseDescriptor $number
        }
        incr received [llength $numbers]
    }
    return $received
}

proc takeAll-channels {channel} {
    set received 0
    for {set messages 0} {[llength [set files [unix_sockets::recvfd $channel]]]} \
        {incr messages} {
        if {$messages % 64 == 0} {
            check channels $files $messages
        }
        foreach file $files {
            close $file
        }
        incr received [llength $files]
    }
    return $received
}

proc giveBack-raw {channel} {
    set received 0
    while {[llength [set numbers [unix_sockets::recvfd -raw $channel]]]} {
        unix_sockets::sendfd $channel $numbers
        foreach number $numbers {
            forkserver::CloseDescriptor $number
        }
        incr received [llength $numbers]
    }
    return $received
}

proc giveBack-channels {channel} {
    set received 0
    while {[llength [set files [unix_sockets::recvfd $channel]]]} {
        unix_sockets::sendfd $channel $files
        foreach file $files {
            close $file
        }
        incr received [llength $files]
    }
    return $received
}

proc text-raw {number} {
    set file [open /dev/fd/$number]
    set text [read $file]
    close $file
    return $text
}

proc text-channels {channel} {
    seek $channel 0
    return [read $channel]
}

proc check {way handles message} {
    set which [expr {$message / 64 % [llength $handles]}]
    if {[text-$way [lindex $handles $which]] != ($message + $which) % $::fileCount} {
        error "a descriptor is not that of its file"
    }
}

# ---- flood, and there and back -----------------------------------------------------------

# The other process's processor time, once nothing more comes from here.
proc ask {channel sent} {
    close $channel write
    lassign [gets $channel] received cpu
    if {$received != $sent} {
        error "descriptors were lost"
    }
    return $cpu
}

proc flood {way channel files count seconds} {
    for {set i 0} {$i < $::fileCount} {incr i} {
        lappend batches [batchFrom $files $i $count]
    }
    set cpu [cpu]
    set began [now]
    for {set messages 0} {$messages % 16 || [now] < $began + $seconds} \
        {incr messages $::fileCount} {
        foreach batch $batches {
            unix_sockets::sendfd $channel $batch
        }
    }
    set childCpu [ask $channel [expr {$messages * $count}]]
    puts "descriptors [expr {$messages * $count}] seconds [expr {[now] - $began}]\
        cpu [expr {[cpu] - $cpu + $childCpu}]"
}

proc pingpong {way channel files count seconds} {
    set rounds 0
    set cpu [cpu]
    set began [now]
    for {set ended $began} {$ended < $began + $seconds} {set ended [now]} {
        unix_sockets::sendfd $channel [batchFrom $files $rounds $count]
        if {$way eq "raw"} {
            set handles [unix_sockets::recvfd -raw $channel]
        } else {
            set handles [unix_sockets::recvfd $channel]
        }
        if {[llength $handles] != $count} {
            error "descriptors were lost"
        }
        if {$rounds % 64 == 0} {
            check $way $handles $rounds
        }
        if {$way eq "raw"} {
            foreach number $handles {
                forkserver::CloseDescriptor $number
            }
        } else {
            foreach file $handles {
                close $file
            }
        }
        incr rounds
    }
    set cpu [expr {[cpu] - $cpu + [ask $channel [expr {$rounds * $count}]]}]
    puts "descriptors [expr {2 * $rounds * $count}] seconds [expr {$ended - $began}] cpu $cpu"
}

proc main {way mode count seconds} {
    set files [openFiles]
    lassign [unix_sockets::pair] ours theirs
    if {[unix_process::fork] == 0} {
        close $ours
        set work [dict get {flood takeAll pingpong giveBack} $mode]
        puts $theirs "[$work-$way $theirs] [cpu]"
        close $theirs
        unix_process::exit
    }
    close $theirs
    $mode $way $ours $files $count $seconds
}

main {*}$argv
