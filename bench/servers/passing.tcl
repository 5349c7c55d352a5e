# passing.tcl --
#
#   Open files from one process to another with unix_sockets, for bench/passing.tcl:
#
#     passing.tcl raw|channels flood|pingpong BATCH SECONDS
#
#   does and says the same as programs/passing.cpp. `raw` receives descriptor numbers,
#   `channels` makes a channel of each.

source [file join [file dirname [file normalize [info script]]] pair.tcl]

set fileCount 4

# What recvfd is told, and what closes what it returns.
set ways {raw {-raw forkserver::CloseDescriptor} channels {{} close}}

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

proc takeAll {way channel} {
    lassign [dict get $::ways $way] options closeCmd
    set received 0
    for {set messages 0} {[llength [set handles [unix_sockets::recvfd {*}$options $channel]]]} \
        {incr messages} {
        if {$messages % 64 == 0} {
            check $way $handles $messages
        }
        foreach handle $handles {
            $closeCmd $handle
        }
        incr received [llength $handles]
    }
    return $received
}

proc giveBack {way channel} {
    lassign [dict get $::ways $way] options closeCmd
    set received 0
    while {[llength [set handles [unix_sockets::recvfd {*}$options $channel]]]} {
        unix_sockets::sendfd $channel $handles
        foreach handle $handles {
            $closeCmd $handle
        }
        incr received [llength $handles]
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
    lassign [dict get $::ways $way] options closeCmd
    set rounds 0
    set cpu [cpu]
    set began [now]
    for {set ended $began} {$ended < $began + $seconds} {set ended [now]} {
        unix_sockets::sendfd $channel [batchFrom $files $rounds $count]
        set handles [unix_sockets::recvfd {*}$options $channel]
        if {[llength $handles] != $count} {
            error "descriptors were lost"
        }
        if {$rounds % 64 == 0} {
            check $way $handles $rounds
        }
        foreach handle $handles {
            $closeCmd $handle
        }
        incr rounds
    }
    set cpu [expr {[cpu] - $cpu + [ask $channel [expr {$rounds * $count}]]}]
    puts "descriptors [expr {2 * $rounds * $count}] seconds [expr {$ended - $began}] cpu $cpu"
}

proc main {way mode count seconds} {
    set files [openFiles]
    set work [dict get {flood takeAll pingpong giveBack} $mode]
    set channel [withChild [unix_sockets::pair] [list $work $way]]
    $mode $way $channel $files $count $seconds
}

main {*}$argv
